"""AdamW with the published parameter groups, and the learning rate of each step (spec 5)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rwkv.errors import CheckpointError

BETAS = (0.90, 0.999)
EPS = 1e-18
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


def make_optimizer(parameters: Mapping[str, nn.Parameter]) -> torch.optim.AdamW:
    """AdamW over named parameters, in the published groups and order. The learning rate is set step by step."""
    members: dict[str, list[Tensor]] = {group: [] for group in GROUPS}
    for name, parameter in parameters.items():
        members[parameter_group(name, parameter.shape)].append(parameter)
    groups = [
        {"params": members[group], "weight_decay": 0.0 if group == "other" else WEIGHT_DECAY, "name": group}
        for group in GROUPS
    ]
    device = next(iter(parameters.values())).device
    if device.type != "cuda":
        return torch.optim.AdamW(groups, lr=0.0, betas=BETAS, eps=EPS)
    # In this form a step can be recorded: nothing of it is read by the host.
    rate = torch.zeros((), device=device)
    return torch.optim.AdamW(groups, lr=rate, betas=BETAS, eps=EPS, fused=True, capturable=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the next step, in all groups."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def set_peak_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate to which torch's schedulers warm up, for the published trainer; ours is set step by step."""
    for group in optimizer.param_groups:
        group["initial_lr"] = rate


def published_state(optimizer: torch.optim.AdamW) -> dict[str, Any]:
    """The optimiser's state_dict as the published trainer goes on from it, on whatever device it was made."""
    state = optimizer.state_dict()
    plain = {"fused": None, "capturable": False}
    return {**state, "param_groups": [{**group, **plain, "lr": float(group["lr"])} for group in state["param_groups"]]}


def load_moments(optimizer: torch.optim.AdamW, state: dict[str, Any], where: str) -> None:
    """Take over the running averages of a saved optimiser; rates, decay and betas stay as they are configured.

    state: as `read_optimizer` gives it. Raises CheckpointError where it belongs to other parameters.
    """
    here = optimizer.state_dict()["param_groups"]
    sizes, saved_sizes = ([len(group["params"]) for group in groups] for groups in (here, state["param_groups"]))
    if saved_sizes != sizes:
        raise CheckpointError("The optimiser's state belongs to another network.", where=where)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    order = [index for group in state["param_groups"] for index in group["params"]]
    if not all(_fits(state["state"].get(index), parameter) for index, parameter in zip(order, parameters, strict=True)):
        raise CheckpointError("The optimiser's state is not one of AdamW over this network.", where=where)
    groups = [{**ours, "params": saved["params"]} for ours, saved in zip(here, state["param_groups"], strict=True)]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})


def _fits(moments: dict[str, Any] | None, parameter: Tensor) -> bool:
    """Whether these are averages of a parameter; None: it has had no gradient yet."""
    if moments is None:
        return True
    shapes = {name: value.shape for name, value in moments.items() if isinstance(value, Tensor)}
    return shapes == {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}


def learning_rate(mode: str, n: int, peak: float, warmup_steps: int, total: int) -> float:
    """The rate in force at step n = 1, 2, ... of a run: "WS" warms up, then holds; "D" falls along a cosine to 0."""
    if mode == "D":
        return peak * (1 + math.cos(math.pi / 2 * (1 + (n - 1) / total)))
    share = min(n - 1, warmup_steps) / warmup_steps if warmup_steps else 1.0
    return peak * (_FIRST_SHARE + (1 - _FIRST_SHARE) * share)
