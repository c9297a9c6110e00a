"""The whole network for a few rows with one past, by the native kernel, with flat weights and states.

The definition is `rwkv.model.network.Network.step`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rwkv.native import step
from rwkv.ops.cpu.tensors import array, arrays, tensors

# The widths of panels in rwkv/native/csrc/panels.h; outputs are padded to a multiple of the narrow one.
PANEL, NARROW_PANEL = 32, 16


@dataclass(frozen=True)
class FlatNetwork:
    """The weights of a network in the form of rwkv/native/csrc/step.cpp.

    Attributes:
        weights: All weights in the order in which they are read, float32 [weights].
        sizes: The sizes of the network.
    """

    weights: Tensor
    sizes: tuple[int, ...]


def flat_linear(weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Cut a map [out, in] into flat panels [in, PANEL], the last perhaps [in, NARROW_PANEL], followed by the bias."""
    outputs, inputs = weight.shape
    padding = -outputs % NARROW_PANEL
    panels = F.pad(weight, (0, 0, 0, padding)).split(PANEL)
    biases = [] if bias is None else [F.pad(bias, (0, padding))]
    return [*(panel.T.reshape(inputs * len(panel)) for panel in panels), *biases]


def network_step(
    network: FlatNetwork, inputs: Tensor, before: Sequence[Tensor], seen: Sequence[bool], writes: int
) -> tuple[Tensor, list[Tensor]]:
    """Run rows that share one past, independently of one another, in float32 on the CPU.

    A flat state has for each layer time_shift [C], channel_shift [C] and wkv [H, K (key), K (value)].

    Args:
        network: The flat weights.
        inputs: The network's inputs, [N, E].
        before: Flat state [1, state] of the rows' entity in each stream.
        seen: Whether each of these entities has a review row.
        writes: Number of last rows whose new states are returned.

    Returns:
        The joined outputs of the heads [N, outputs], and for each stream the states [writes, state] after these rows.
    """
    given = array(network.weights), network.sizes, array(inputs), arrays(before)
    outputs, after = step.network_step(*given, seen, writes)
    return torch.from_numpy(outputs), tensors(after)


def flat_weights(parts: Sequence[Tensor]) -> Tensor:
    """Join tensors into one flat float32 tensor [weights]."""
    return torch.cat([part.detach().reshape(-1).to(torch.float32) for part in parts])
