"""Muon: orthogonalised momentum for the mixers' matrices, AdamW for all other weights (spec 5).

Source: K. Jordan, "Muon: An optimizer for hidden layers in neural networks", 2024 (momentum, Newton-Schulz iteration);
J. Liu and others, "Muon is Scalable for LLM Training", 2025 (size of the update, weight decay).
"""

import math
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from rwkv.training.adamw import AdamW

MATRIX_GROUPS = ("decay", "channel_mixer")
MOMENTUM = 0.95
# Root mean square of an update, about that of AdamW, so that AdamW's learning rates and weight decay apply.
UPDATE_RMS = 0.2

# x -> a x + (b x x' + c (x x')^2) x moves singular values in 0..1 towards 1, small ones fastest.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5
# Smaller than any relevant norm of a momentum; it keeps a zero matrix zero.
_LEAST_NORM = 1e-30


class Muon(torch.optim.Optimizer):
    """Muon for the groups MATRIX_GROUPS and AdamW for the others, with the members that `Optimizer` requires.

    Args:
        groups: Parameter groups, each with its weight decay.
        rate: Learning rate of all groups. With a tensor on a GPU, a step can be recorded as a CUDA graph.
    """

    found_inf: Tensor | None = None

    def __init__(self, groups: list[dict[str, Any]], rate: float | Tensor) -> None:
        matrices = [{**group, "lr": rate, "momentum": MOMENTUM} for group in groups if _is_of_matrices(group)]
        self._rest = AdamW([group for group in groups if not _is_of_matrices(group)], rate)
        super().__init__([*matrices, *self._rest.param_groups], {})

    def state_shapes(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, torch.Size]:
        """Shapes of the state tensors of a parameter in a group."""
        if _is_of_matrices(group):
            return {"momentum_buffer": parameter.shape}
        return self._rest.state_shapes(group, parameter)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step. A parameter without a gradient is not changed."""
        skipped = None if self.found_inf is None else self.found_inf != 0
        for group in filter(_is_of_matrices, self.param_groups):
            learning = sorted((w for w in group["params"] if w.grad is not None), key=_shape)
            for _, members in groupby(learning, _shape):
                weights = list(members)
                _step_matrices(weights, [self._momentum(w) for w in weights], group, skipped)
        # Loading a saved state replaces both.
        self._rest.state = self.state
        self._rest.param_groups = [group for group in self.param_groups if not _is_of_matrices(group)]
        self._rest.found_inf = self.found_inf
        self._rest.step()

    def _momentum(self, weight: Tensor) -> Tensor:
        state: dict[str, Tensor] = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        return state["momentum_buffer"]


def orthogonalised(x_MAB: Tensor) -> Tensor:
    """Bring all singular values near 1 and keep the singular vectors, by Newton-Schulz iterations.

    On a GPU the products are in bfloat16.

    Args:
        x_MAB: M matrices of A rows and B columns, float32 [M, A, B].

    Returns:
        Matrices of the same shape and dtype. Their singular values lie between 0.6 and 1.3, except those that were tiny
        beside the others.
    """
    is_tall = x_MAB.shape[1] > x_MAB.shape[2]
    x = x_MAB.mT if is_tall else x_MAB
    # This norm is an upper bound of the largest singular value.
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=_LEAST_NORM)
    if x.is_cuda:
        x = x.bfloat16()
    for _ in range(_ITERATIONS):
        square = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=_B, alpha=_C), x, beta=_A)
    return (x.mT if is_tall else x).to(x_MAB.dtype)


def _step_matrices(
    weights: list[Tensor], momenta: list[Tensor], group: Mapping[str, Any], skipped: Tensor | None
) -> None:
    """Take a step of matrices of one shape, batched to save launches. skipped: bool tensor on their device, or None."""
    gradient, before = torch.stack([_gradient(w) for w in weights]), torch.stack(momenta)
    momentum = before.lerp(gradient, 1 - group["momentum"])
    size = UPDATE_RMS * math.sqrt(max(gradient.shape[1:]))
    change = orthogonalised(gradient.lerp(momentum, group["momentum"])) * (group["lr"] * size)
    kept = 1 - group["lr"] * group["weight_decay"]
    if skipped is not None:
        momentum = torch.where(skipped, before, momentum)
        change, kept = change.masked_fill(skipped, 0.0), kept.masked_fill(skipped, 1.0)
    torch._foreach_copy_(momenta, momentum.unbind())
    torch._foreach_mul_(weights, kept)
    torch._foreach_sub_(weights, change.unbind())


def _is_of_matrices(group: Mapping[str, Any]) -> bool:
    return group["name"] in MATRIX_GROUPS


def _shape(weight: Tensor) -> torch.Size:
    return weight.shape


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad
