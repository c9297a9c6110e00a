"""AdamW with the published constants (spec 5)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

BETAS = (0.90, 0.999)
EPS = 1e-18


class AdamW(torch.optim.AdamW):
    """torch's AdamW with the members that `Optimizer` requires.

    Args:
        groups: Parameter groups, each with its weight decay.
        rate: Learning rate of all groups. With a tensor on a GPU, a step can be recorded as a CUDA graph.
    """

    # Both are read by torch's fused kernel.
    found_inf: Tensor | None = None
    grad_scale: Tensor | None = None

    def __init__(self, groups: list[dict[str, Any]], rate: float | Tensor) -> None:
        on_gpu = isinstance(rate, Tensor)
        super().__init__(groups, lr=rate, betas=BETAS, eps=EPS, fused=on_gpu or None, capturable=on_gpu)

    def state_shapes(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, torch.Size]:
        """Shapes of the state tensors of a parameter in a group."""
        return {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
