"""Parameter groups, learning rates, and loading a saved optimiser's averages."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rwkv import config_values
from rwkv.config import TrainConfig
from rwkv.errors import CheckpointError
from rwkv.model.checkpoint import read_optimizer, write_optimizer
from rwkv.model.network import Network
from rwkv.training.adamw import BETAS, EPS
from rwkv.training.optimizer import (
    GROUPS,
    OPTIMIZERS,
    Optimizer,
    learning_rate,
    load_moments,
    make_optimizer,
    parameter_group,
    saved_state,
    set_learning_rate,
)
from rwkv.training.step import clipped_gradients, train_step
from tests.networks import small_network
from tests.training.learners import dropout_masks, optimizer_of, some_batch

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


NAMES = pytest.mark.parametrize("name", OPTIMIZERS)


@NAMES
def test_every_parameter_is_in_one_group(name: str) -> None:
    parameters = dict(small_network().named_parameters())
    groups = make_optimizer(parameters, name).param_groups
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


def trained(steps: int = 2, name: str = "adamw") -> Optimizer:
    network = small_network()
    optimizer = optimizer_of(network, name=name)
    for _ in range(steps):
        train_step(network, optimizer, some_batch(), torch.float32, "all", dropout_masks())
    return optimizer


def test_the_configuration_accepts_every_optimiser() -> None:
    assert get_args(get_args(config_values.Optimizer)[0]) == tuple(OPTIMIZERS)
    assert TrainConfig.optimizer == "adamw"


def test_adamw_is_torchs_over_the_published_groups(tmp_path: Path) -> None:
    """The weights and the bytes of the saved state are equal."""
    ours, theirs = small_network(), small_network()
    optimizer = optimizer_of(ours)
    members: dict[str, list[Tensor]] = {group: [] for group in GROUPS}
    for name, weight in theirs.named_parameters():
        members[parameter_group(name, weight.shape)].append(weight)
    groups = [
        {"params": members[group], "weight_decay": 0.0 if group == "other" else 0.01, "name": group} for group in GROUPS
    ]
    expected = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.999), eps=1e-18)
    for n in range(3):
        train_step(ours, optimizer, some_batch(), torch.float32, "all", dropout_masks(n))
        clipped_gradients(theirs, some_batch(), torch.float32, "all", dropout_masks(n))
        expected.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    write_optimizer(tmp_path / "ours.pth", saved_state(optimizer))
    write_optimizer(tmp_path / "theirs.pth", expected.state_dict())
    assert (tmp_path / "ours.pth").read_bytes() == (tmp_path / "theirs.pth").read_bytes()


@NAMES
def test_only_averages_are_loaded(name: str) -> None:
    state = copy.deepcopy(trained(name=name).state_dict())
    for group in state["param_groups"]:
        group.update({key: 9.0 for key in ("lr", "weight_decay", "eps", "momentum") if key in group})
    fresh = optimizer_of(small_network(), name=name)
    configured = [{**group, "params": None} for group in fresh.param_groups]
    load_moments(fresh, state, "a file")
    set_learning_rate(fresh, 0.25)
    loaded = fresh.state_dict()
    assert loaded["state"].keys() == state["state"].keys()
    for index, moments in state["state"].items():
        assert moments.keys() == loaded["state"][index].keys()
        assert all(torch.equal(value, loaded["state"][index][name]) for name, value in moments.items())
    assert [{**group, "params": None} for group in fresh.param_groups] == [
        {**group, "lr": 0.25} for group in configured
    ]
    for group in fresh.param_groups:
        assert group["weight_decay"] == (0.0 if group["name"] == "other" else 0.01)
        assert "momentum" in group or (group["betas"], group["eps"]) == (BETAS, EPS)


def test_the_published_form_has_groups_without_names_and_its_own_numbers() -> None:
    """Parameters are numbered as in the file."""
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
    state["state"][0] |= {key: torch.zeros(3) for key in state["state"][0]}


def _other_moments(state: dict[str, Any]) -> None:
    """State tensors of the right shapes under other names."""
    for index, moments in state["state"].items():
        state["state"][index] = {f"{key}_of_another": value for key, value in moments.items()}


def _no_tensor(state: dict[str, Any]) -> None:
    state["state"][0] = dict.fromkeys(state["state"][0], "text")


@NAMES
@pytest.mark.parametrize("change", [_drop_group, _move_parameter, _other_shape, _other_moments, _no_tensor])
def test_other_states_are_refused_and_change_nothing(change: Callable[[dict[str, Any]], None], name: str) -> None:
    state = copy.deepcopy(trained(1, name).state_dict())
    change(state)
    fresh = optimizer_of(small_network(), name=name)
    with pytest.raises(CheckpointError, match="a file"):
        load_moments(fresh, state, "a file")
    assert fresh.state_dict()["state"] == {}


@pytest.mark.parametrize(("saved", "ours"), [("adamw", "muon"), ("muon", "adamw")])
@pytest.mark.parametrize("steps", [0, 1])
def test_the_state_of_another_optimiser_is_refused(saved: str, ours: str, steps: int) -> None:
    """Also a state from before the first step, which holds no averages."""
    fresh = optimizer_of(small_network(), name=ours)
    with pytest.raises(CheckpointError) as caught:
        load_moments(fresh, saved_state(trained(steps, saved)), "a file")
    lines = str(caught.value).splitlines()
    assert lines[0] == "The file holds the state of another optimiser."
    assert lines[1:4] == ["  where: a file", f"  got: '{saved}'", f"  expected: '{ours}', as OPTIMIZER says"]
    assert fresh.state_dict()["state"] == {}


@pytest.mark.parametrize("name", [["muon"], {}, 3, None, "adamw" * 1000])
def test_an_invalid_name_of_an_optimiser_is_refused(name: object) -> None:
    state = saved_state(trained(0))
    for group in state["param_groups"]:
        group["optimizer"] = name
    with pytest.raises(CheckpointError, match="another optimiser") as caught:
        load_moments(optimizer_of(small_network()), state, "a file")
    assert len(str(caught.value)) < 500


@NAMES
def test_a_loaded_state_continues_bit_for_bit(tmp_path: Path, name: str) -> None:
    unbroken, first = small_network(), small_network()
    _take_steps(unbroken, optimizer_of(unbroken, name=name), range(4))
    optimizer = optimizer_of(first, name=name)
    _take_steps(first, optimizer, range(2))
    write_optimizer(tmp_path / "optim.pth", saved_state(optimizer))
    second = small_network()
    second.load_state_dict(first.state_dict())
    optimizer = optimizer_of(second, name=name)
    load_moments(optimizer, read_optimizer([tmp_path / "optim.pth"]), "a file")
    _take_steps(second, optimizer, range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(unbroken.parameters(), second.parameters(), strict=True))


def _take_steps(network: Network, optimizer: Optimizer, numbers: range) -> None:
    for n in numbers:
        train_step(network, optimizer, some_batch(), torch.float32, "all", dropout_masks(n))
