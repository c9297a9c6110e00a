"""The optimisers by name, their parameter groups and saved states, and the learning rate of each step (spec 5)."""

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

# In the order of the published optimiser state. "decay" has the time mixers' matrices; "other" has no weight decay.
GROUPS = ("decay", "channel_mixer", "head", "encode", "other")

_FIRST_SHARE = 1e-4
_OTHER_STATE = "load the state that was saved with the weights"


def parameter_group(name: str, shape: torch.Size) -> str:
    """The group of a parameter. Matrices decay, except LoRAs and scales; everything else is in "other"."""
    if "weight" not in name or "lora" in name or "scale" in name or sum(size > 1 for size in shape) < 2:
        return "other"
    if name.startswith("features2card"):
        return "encode"
    if not name.startswith("rwkv_modules"):
        return "head"
    return "channel_mixer" if ".channel_mixer." in name else "decay"


class Optimizer(Protocol):
    """The interface of an optimiser: that of torch, plus `found_inf` and `state_shapes`.

    Its class takes parameter groups and a learning rate, see `AdamW`. If the rate is a tensor, it must be possible to
    record a step as a CUDA graph: the step reads no tensor on the host, and no shape depends on a value.
    """

    param_groups: list[dict[str, Any]]
    # Used if the rate is a tensor: while it is 1, a step changes neither weights nor state.
    found_inf: Tensor | None

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def step(self) -> object: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...

    def state_shapes(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, torch.Size]:
        """Shapes of the state tensors of a parameter in a group."""
        ...


_PUBLISHED = "adamw"
OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], float | Tensor], Optimizer]] = {_PUBLISHED: AdamW, "muon": Muon}


def make_optimizer(parameters: Mapping[str, nn.Parameter], name: str = _PUBLISHED) -> Optimizer:
    """Make an optimiser over named parameters in the published groups, with learning rate 0.

    Args:
        parameters: The parameters by name, all on one device.
        name: A key of OPTIMIZERS.
    """
    members: dict[str, list[Tensor]] = {group: [] for group in GROUPS}
    for parameter_name, parameter in parameters.items():
        members[parameter_group(parameter_name, parameter.shape)].append(parameter)
    # The published state does not name its optimiser.
    mark = {} if name == _PUBLISHED else {"optimizer": name}
    groups = [
        {"params": members[group], "weight_decay": 0.0 if group == "other" else WEIGHT_DECAY, "name": group, **mark}
        for group in GROUPS
    ]
    device = next(iter(parameters.values())).device
    return OPTIMIZERS[name](groups, torch.zeros((), device=device) if device.type == "cuda" else 0.0)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of the next step in all groups."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def set_peak_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the peak rate that torch's schedulers read, for the published trainer."""
    for group in optimizer.param_groups:
        group["initial_lr"] = rate


def saved_state(optimizer: Optimizer) -> dict[str, Any]:
    """The optimiser's state_dict in a form independent of the device; the published trainer can load that of AdamW."""
    state = optimizer.state_dict()
    return {**state, "param_groups": [{**group, **_plain(group)} for group in state["param_groups"]]}


def _plain(group: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a group that differ for recorded steps, in their usual form."""
    plain = {"fused": None, "capturable": False, "lr": float(group["lr"])}
    return {key: value for key, value in plain.items() if key in group}


def load_moments(optimizer: Optimizer, state: dict[str, Any], where: str) -> None:
    """Load the running averages of a saved optimiser; learning rates, decay and betas keep their configured values.

    Args:
        optimizer: The optimiser to change.
        state: A state_dict from `read_optimizer`.
        where: Path for error messages.

    Raises:
        CheckpointError: The state belongs to other parameters or to another optimiser.
    """
    own = optimizer.state_dict()["param_groups"]
    _check_name(_name(state["param_groups"]), _name(own), where)
    sizes, saved_sizes = ([len(group["params"]) for group in groups] for groups in (own, state["param_groups"]))
    if saved_sizes != sizes:
        what = "The optimiser's state belongs to another network."
        raise CheckpointError(what, where=where, hint=_OTHER_STATE)
    parameters = [(group, parameter) for group in optimizer.param_groups for parameter in group["params"]]
    order = [index for group in state["param_groups"] for index in group["params"]]
    for index, (group, parameter) in zip(order, parameters, strict=True):
        if not _fits(state["state"].get(index), optimizer.state_shapes(group, parameter)):
            what = f"The optimiser's state does not fit {_name(own)} for this network."
            raise CheckpointError(what, where=where, hint=_OTHER_STATE)
    groups = [{**ours, "params": saved["params"]} for ours, saved in zip(own, state["param_groups"], strict=True)]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})


def _name(groups: list[dict[str, Any]]) -> object:
    """The optimiser that a state with these groups names; a damaged file may name anything."""
    return groups[0].get("optimizer", _PUBLISHED) if groups else _PUBLISHED


def _check_name(saved: object, ours: object, where: str) -> None:
    if saved != ours:
        raise CheckpointError(
            "The file holds the state of another optimiser.",
            where=where,
            got=repr(saved)[:80],
            expected=f"{ours!r}, as OPTIMIZER says",
            hint="set OPTIMIZER to that of this model's training, or load another model",
        )


def _fits(moments: dict[str, Any] | None, expected: Mapping[str, torch.Size]) -> bool:
    """Whether saved tensors have the expected shapes; None, of a parameter without a gradient so far, always fits."""
    if moments is None:
        return True
    return {name: value.shape for name, value in moments.items() if isinstance(value, Tensor)} == expected


def learning_rate(mode: str, n: int, peak: float, warmup_steps: int, total: int) -> float:
    """The learning rate of step n = 1, 2, ... of a run.

    Args:
        mode: "WS" warms up and then stays at the peak; "D" falls from the peak along a cosine to 0.
        n: Number of the step.
        peak: Highest rate.
        warmup_steps: Steps of the warm-up.
        total: Steps of the run.
    """
    if mode == "D":
        return peak * (1 + math.cos(math.pi / 2 * (1 + (n - 1) / total)))
    share = min(n - 1, warmup_steps) / warmup_steps if warmup_steps else 1.0
    return peak * (_FIRST_SHARE + (1 - _FIRST_SHARE) * share)
