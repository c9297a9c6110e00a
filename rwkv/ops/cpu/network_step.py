"""The whole network for a few rows with one past, by the native kernel: weights packed once, states flat.

The definition is `rwkv.model.network.Network.step`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rwkv.ops.cpu.native import native

# The widths of panels in rwkv/ops/cpu/csrc/panels.h; outputs are padded to a multiple of the narrow one.
PANEL, NARROW_PANEL = 32, 16


@dataclass(frozen=True)
class FlatNetwork:
    """The weights in the order in which rwkv/ops/cpu/csrc/step.cpp reads them, float32 [P], and the sizes it needs."""

    weights: Tensor
    sizes: tuple[int, ...]


def flat_linear(weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    """weight [out, in] as panels of [in, PANEL], the last perhaps [in, NARROW_PANEL]; then the bias. Each flat."""
    outputs, inputs = weight.shape
    padding = -outputs % NARROW_PANEL
    panels = F.pad(weight, (0, 0, 0, padding)).split(PANEL)
    biases = [] if bias is None else [F.pad(bias, (0, padding))]
    return [*(panel.T.reshape(inputs * len(panel)) for panel in panels), *biases]


def network_step(
    network: FlatNetwork, inputs: Tensor, before: Sequence[Tensor], seen: Sequence[bool], writes: int
) -> tuple[Tensor, list[Tensor]]:
    """Rows that share one past, float32 on the CPU.

    inputs: [N, 92]. before: by stream the state [1, S] of the rows' entity, and seen: whether it had a review row.
    writes: how many of the last rows leave a state behind; they do not see one another.
    Returns (w_logits, ahead_logits and p_logits side by side [N, 260], by stream the states after those rows
    [writes, S]). A state is flat, by layer: time_shift [C], channel_shift [C], wkv [H, K (key), K (value)].
    """
    outputs, *after = native().network_step(network.weights, network.sizes, inputs, before, seen, writes)
    return outputs, after


def flat_weights(parts: Sequence[Tensor]) -> Tensor:
    """The parts one after another, float32 [P]."""
    return torch.cat([part.detach().reshape(-1).to(torch.float32) for part in parts])
