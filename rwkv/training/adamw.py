"""AdamW with the published constants (spec 5)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

BETAS = (0.90, 0.999)
EPS = 1e-18


class AdamW(torch.optim.AdamW):
    """torch's AdamW; see `Optimizer` for what a training step asks of it.

    Args:
        groups: parameter groups, each with its weight decay.
        rate: the learning rate of all groups. With a tensor, on a GPU, a step can be recorded: the host reads nothing.
    """

    # torch's fused kernel reads both.
    found_inf: Tensor | None = None
    grad_scale: Tensor | None = None

    def __init__(self, groups: list[dict[str, Any]], rate: float | Tensor) -> None:
        on_gpu = isinstance(rate, Tensor)
        super().__init__(groups, lr=rate, betas=BETAS, eps=EPS, fused=on_gpu or None, capturable=on_gpu)

    def state_shapes(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, torch.Size]:
        """Shapes of the tensors that are kept for a parameter of a group."""
        return {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
