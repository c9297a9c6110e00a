"""Learning rates, decay and group of every parameter, and the optimiser's constants: the file's own, to 1e-12."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rwkv.model.network import Network
from rwkv.training.optimizer import CLIP_NORM, GROUPS, learning_rate, make_optimizer, parameter_group
from tests.conformance.model_vectors import weight_shapes

# The same few operations in float64 on both sides.
TOLERANCE = 1e-12
# ws_lr_at_step_1_to_30
RATES = "_lr_at_step_1_to_"

Record = Callable[[str, float], None]


@pytest.fixture
def schedule(vectors: Path) -> dict[str, Any]:
    path = vectors / "scheduler.json"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    return json.loads(path.read_text())


@pytest.mark.parametrize("mode", ["WS", "D"])
def test_learning_rates(schedule: dict[str, Any], mode: str, differences: Record) -> None:
    (expected,) = (rates for name, rates in schedule.items() if name.startswith(mode.lower() + RATES))
    assert expected
    peak, warmup, total = schedule["peak_lr"], schedule["ws_warmup_steps"], schedule["d_total_steps"]
    ours = [learning_rate(mode, n, peak, warmup, total) for n in range(1, len(expected) + 1)]
    worst = max(abs(rate / wanted - 1) for rate, wanted in zip(ours, expected, strict=True))
    differences(f"schedule: {mode}, relative", worst)
    assert worst <= TOLERANCE


def test_group_and_decay_of_every_parameter(schedule: dict[str, Any], vectors: Path, differences: Record) -> None:
    shapes = {name: torch.Size(shape) for name, shape in weight_shapes(vectors).items()}
    assert schedule["group"].keys() == schedule["weight_decay"].keys() == shapes.keys()
    assert tuple(schedule["groups"]) == GROUPS
    parameters = dict(Network().named_parameters())
    optimizer = make_optimizer(parameters)
    decay = {id(one): group["weight_decay"] for group in optimizer.param_groups for one in group["params"]}
    ours = {name: (GROUPS.index(parameter_group(name, shapes[name])), decay[id(parameters[name])]) for name in shapes}
    expected = {name: (schedule["group"][name], schedule["weight_decay"][name]) for name in shapes}
    differences("schedule: groups and decay", sum(ours[name] != expected[name] for name in shapes))
    assert ours == expected


def test_constants(schedule: dict[str, Any]) -> None:
    optimizer = make_optimizer(dict(Network().named_parameters()))
    for group in optimizer.param_groups:
        assert list(group["betas"]) == schedule["betas"]
        assert group["eps"] == schedule["eps"]
        assert not group["amsgrad"]
    assert schedule["clip_norm"] == CLIP_NORM
