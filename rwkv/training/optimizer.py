"""Optimisers by name, their parameter groups and saved states, and the learning rate of each step (spec 5)."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rwkv.errors import CheckpointError
from rwkv.training.adamw import AdamW
from rwkv.training.muon import Muon

CLIP_NORM = 0.5
WEIGHT_DECAY = 0.01

# In the order of the published optimiser state. "decay": the time mixers' matrices, "other": all that does not decay.
GROUPS = ("decay", "channel_mixer", "head", "encode", "other")

_FIRST_SHARE = 1e-4


def parameter_group(name: str, shape: torch.Size) -> str:
    """The group of a parameter: matrix weights decay, but for LoRAs and scales; all else is in "other"."""
    if "weight" not in name or "lora" in name or "scale" in name or sum(size > 1 for size in shape) < 2:
        return "other"
    if name.startswith("features2card"):
        return "encode"
    if not name.startswith("rwkv_modules"):
        return "head"
    return "channel_mixer" if ".channel_mixer." in name else "decay"


class Optimizer(Protocol):
    """What a training step asks of an optimiser: what torch's own have, and two members more.

    Its class takes parameter groups and a learning rate, see `AdamW`. Where the rate is a tensor, a step can be
    recorded as a CUDA graph: it reads no tensor on the host, and its shapes depend on no value.
    """

    param_groups: list[dict[str, Any]]
    # With a rate that is a tensor. A step while it is 1 changes neither weights nor state, whatever the gradients.
    found_inf: Tensor | None

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def step(self) -> object: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...

    def state_shapes(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, torch.Size]:
        """Shapes of the tensors that are kept for a parameter of a group."""
        ...


_PUBLISHED = "adamw"
OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], float | Tensor], Optimizer]] = {_PUBLISHED: AdamW, "muon": Muon}


def make_optimizer(parameters: Mapping[str, nn.Parameter], name: str = _PUBLISHED) -> Optimizer:
    """An optimiser of OPTIMIZERS over named parameters, in the published groups. The rate is set step by step."""
    members: dict[str, list[Tensor]] = {group: [] for group in GROUPS}
    for parameter_name, parameter in parameters.items():
        members[parameter_group(parameter_name, parameter.shape)].append(parameter)
    # The published state does not say whose it is.
    mark = {} if name == _PUBLISHED else {"optimizer": name}
    groups = [
        {"params": members[group], "weight_decay": 0.0 if group == "other" else WEIGHT_DECAY, "name": group, **mark}
        for group in GROUPS
    ]
    device = next(iter(parameters.values())).device
    return OPTIMIZERS[name](groups, torch.zeros((), device=device) if device.type == "cuda" else 0.0)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """The rate of the next step, in all groups."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def set_peak_rate(optimizer: Optimizer, rate: float) -> None:
    """The rate to which torch's schedulers warm up, for the published trainer; ours is set step by step."""
    for group in optimizer.param_groups:
        group["initial_lr"] = rate


def saved_state(optimizer: Optimizer) -> dict[str, Any]:
    """The optimiser's state_dict on whatever device it was made; the published trainer goes on from that of AdamW."""
    state = optimizer.state_dict()
    return {**state, "param_groups": [{**group, **_plain(group)} for group in state["param_groups"]]}


def _plain(group: Mapping[str, Any]) -> dict[str, Any]:
    """What a group holds in another form where steps are recorded, as it is elsewhere."""
    plain = {"fused": None, "capturable": False, "lr": float(group["lr"])}
    return {key: value for key, value in plain.items() if key in group}


def load_moments(optimizer: Optimizer, state: dict[str, Any], where: str) -> None:
    """Take over the running averages of a saved optimiser; rates, decay and betas stay as they are configured.

    state: as `read_optimizer` gives it. Raises CheckpointError where it belongs to other parameters, or to another
    optimiser.
    """
    here = optimizer.state_dict()["param_groups"]
    _check_name(_name(state["param_groups"]), _name(here), where)
    sizes, saved_sizes = ([len(group["params"]) for group in groups] for groups in (here, state["param_groups"]))
    if saved_sizes != sizes:
        raise CheckpointError("The optimiser's state belongs to another network.", where=where)
    parameters = [(group, parameter) for group in optimizer.param_groups for parameter in group["params"]]
    order = [index for group in state["param_groups"] for index in group["params"]]
    for index, (group, parameter) in zip(order, parameters, strict=True):
        if not _fits(state["state"].get(index), optimizer.state_shapes(group, parameter)):
            raise CheckpointError(f"The optimiser's state is not one of {_name(here)} over this network.", where=where)
    groups = [{**ours, "params": saved["params"]} for ours, saved in zip(here, state["param_groups"], strict=True)]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})


def _name(groups: list[dict[str, Any]]) -> object:
    """Which optimiser a state with these groups belongs to; what is read from a file may be anything."""
    return groups[0].get("optimizer", _PUBLISHED) if groups else _PUBLISHED


def _check_name(saved: object, ours: object, where: str) -> None:
    if saved != ours:
        raise CheckpointError(
            "The file holds the state of another optimiser.",
            where=where,
            got=repr(saved)[:80],
            expected=f"{ours!r}, as OPTIMIZER says",
            hint="set OPTIMIZER to the one that this model was trained with, or load another model",
        )


def _fits(moments: dict[str, Any] | None, expected: Mapping[str, torch.Size]) -> bool:
    """Whether these are averages of a parameter; None: it has had no gradient yet."""
    if moments is None:
        return True
    return {name: value.shape for name, value in moments.items() if isinstance(value, Tensor)} == expected


def learning_rate(mode: str, n: int, peak: float, warmup_steps: int, total: int) -> float:
    """The rate in force at step n = 1, 2, ... of a run: "WS" warms up, then holds; "D" falls along a cosine to 0."""
    if mode == "D":
        return peak * (1 + math.cos(math.pi / 2 * (1 + (n - 1) / total)))
    share = min(n - 1, warmup_steps) / warmup_steps if warmup_steps else 1.0
    return peak * (_FIRST_SHARE + (1 - _FIRST_SHARE) * share)
