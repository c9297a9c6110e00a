"""Groups, learning rates, and the taking over of a saved optimiser's averages."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwkv.errors import CheckpointError
from rwkv.training.optimizer import (
    BETAS,
    EPS,
    GROUPS,
    learning_rate,
    load_moments,
    make_optimizer,
    parameter_group,
    set_learning_rate,
)
from rwkv.training.step import train_step
from tests.networks import small_network
from tests.training.learners import dropout_source, optimizer_of, some_batch

PEAK = 7e-4
# One rounding or two.
EXACT = 1e-14


@pytest.mark.parametrize(
    ("name", "shape", "group"),
    [
        ("rwkv_modules.0.blocks.0.time_mixer.W_k.weight", (128, 128), "decay"),
        ("rwkv_modules.0.blocks.0.channel_mixer.W_k.weight", (192, 128), "channel_mixer"),
        ("head_w.0.weight", (128, 128), "head"),
        ("features2card.0.weight", (512, 92), "encode"),
        ("features2card.2.weight", (512,), "other"),
        ("rwkv_modules.0.blocks.0.time_mixer.W_k.bias", (128, 128), "other"),
        ("rwkv_modules.0.blocks.0.time_mixer.d_lora_mlp.A.weight", (16, 128), "other"),
        ("rwkv_modules.0.blocks.0.time_mixer.k_scale_linear.weight", (4, 128), "other"),
        # A matrix is what has two dimensions after squeezing.
        ("head_x.weight", (1, 128), "other"),
        ("head_x.weight", (128, 1, 1), "other"),
        ("head_x.weight", (8, 1, 1, 128), "head"),
    ],
)
def test_groups(name: str, shape: tuple[int, ...], group: str) -> None:
    assert parameter_group(name, torch.Size(shape)) == group


def test_every_parameter_is_in_one_group() -> None:
    parameters = dict(small_network().named_parameters())
    groups = make_optimizer(parameters).param_groups
    assert [group["name"] for group in groups] == list(GROUPS)
    assert all(group["params"] for group in groups)
    members = [id(one) for group in groups for one in group["params"]]
    assert sorted(members) == sorted(map(id, parameters.values()))


@pytest.mark.parametrize(
    ("n", "share"), [(1, 1e-4), (2, 1e-4 + 0.9999 / 20), (11, 0.50005), (21, 1.0), (22, 1.0), (10**6, 1.0)]
)
def test_ws_warms_up_then_holds(n: int, share: float) -> None:
    assert learning_rate("WS", n, PEAK, 20, 7) == pytest.approx(PEAK * share, rel=EXACT)


def test_ws_without_warm_up_starts_at_the_peak() -> None:
    assert learning_rate("WS", 1, PEAK, 0, 7) == PEAK


@given(total=st.integers(2, 10**6))
def test_d_falls_from_the_peak_to_nearly_nothing(total: int) -> None:
    rates = [learning_rate("D", n, PEAK, 20_000, total) for n in (1, 1 + total // 2, total)]
    assert rates[0] == pytest.approx(PEAK, rel=EXACT)
    assert rates[0] > rates[1] > rates[2] > 0 or total == 2
    # The rate would be 0 one step later; the cosine is no steeper than pi/2 a run.
    assert rates[2] <= PEAK * 1.5708 / total


def trained(steps: int = 2) -> torch.optim.AdamW:
    network = small_network()
    optimizer = optimizer_of(network)
    for _ in range(steps):
        train_step(network, optimizer, some_batch(), torch.float32, "all", dropout_source())
    return optimizer


def test_averages_are_taken_over_and_nothing_else() -> None:
    state = copy.deepcopy(trained().state_dict())
    for group in state["param_groups"]:
        group.update(lr=9.0, weight_decay=9.0, betas=(0.1, 0.1), eps=9.0)
    fresh = optimizer_of(small_network())
    load_moments(fresh, state, "a file")
    set_learning_rate(fresh, 0.25)
    loaded = fresh.state_dict()
    assert loaded["state"].keys() == state["state"].keys()
    for index, moments in state["state"].items():
        assert moments.keys() == loaded["state"][index].keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(value, loaded["state"][index][name]) for name, value in moments.items())
    for group in fresh.param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.25, BETAS, EPS)
        assert group["weight_decay"] == (0.0 if group["name"] == "other" else 0.01)


def test_the_published_form_has_groups_without_names_and_its_own_numbers() -> None:
    """Parameters are numbered as the file numbers them."""
    state = copy.deepcopy(trained().state_dict())
    for group in state["param_groups"]:
        del group["name"]
        group["params"] = [index + 1000 for index in group["params"]]
    state["state"] = {index + 1000: moments for index, moments in state["state"].items()}
    fresh = optimizer_of(small_network())
    load_moments(fresh, state, "a file")
    assert len(fresh.state_dict()["state"]) == len(state["state"])
    assert [group["name"] for group in fresh.param_groups] == list(GROUPS)


def test_a_state_before_the_first_step_holds_no_averages() -> None:
    fresh = optimizer_of(small_network())
    load_moments(fresh, optimizer_of(small_network()).state_dict(), "a file")
    assert fresh.state_dict()["state"] == {}


def _drop_group(state: dict[str, Any]) -> None:
    state["param_groups"].pop()


def _move_parameter(state: dict[str, Any]) -> None:
    state["param_groups"][0]["params"].append(state["param_groups"][1]["params"].pop())


def _other_shape(state: dict[str, Any]) -> None:
    state["state"][0]["exp_avg"] = torch.zeros(3)


def _momentum(state: dict[str, Any]) -> None:
    state["state"] = {index: {"momentum_buffer": moments["exp_avg"]} for index, moments in state["state"].items()}


def _no_tensor(state: dict[str, Any]) -> None:
    state["state"][0]["exp_avg"] = "text"


@pytest.mark.parametrize("change", [_drop_group, _move_parameter, _other_shape, _momentum, _no_tensor])
def test_other_states_are_refused_and_change_nothing(change: Callable[[dict[str, Any]], None]) -> None:
    state = copy.deepcopy(trained(1).state_dict())
    change(state)
    fresh = optimizer_of(small_network())
    with pytest.raises(CheckpointError, match="a file"):
        load_moments(fresh, state, "a file")
    assert fresh.state_dict()["state"] == {}
