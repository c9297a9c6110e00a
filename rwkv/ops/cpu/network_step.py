"""The whole network by the native kernels, with packed weights and flat states.

The definition is `rwkv.model.network.Network`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rwkv.native import network as native
from rwkv.native.network import PackedNetwork
from rwkv.native.step import network_step as native_step
from rwkv.ops.cpu.tensors import array, arrays, optional_array, tensors
from rwkv.ops.cpu.threads import threads


def pack_network(weights: Sequence[Tensor], sizes: Sequence[int]) -> PackedNetwork:
    """Pack the weights of a network, see `rwkv.native.network.pack_network`."""
    return native.pack_network(arrays([weight.contiguous() for weight in weights]), sizes)


def network_rows(
    network: PackedNetwork,
    inputs: Tensor,
    is_query: Tensor,
    groups: Tensor,
    before: Sequence[Sequence[Tensor | None]],
    keep: bool,
    ratings_only: bool,
) -> tuple[Tensor, list[list[Tensor]]]:
    """Run rows in time order in float32 on the CPU, see `rwkv.native.network.network_rows`."""
    given = array(inputs), array(is_query), array(groups)
    states = [[optional_array(state) for state in of_stream] for of_stream in before]
    outputs, after = native.network_rows(network, *given, states, keep, threads(), ratings_only)
    return torch.from_numpy(outputs), [tensors(of_stream) for of_stream in after]


def network_step(
    network: PackedNetwork, inputs: Tensor, before: Sequence[Tensor], seen: Sequence[bool], writes: int
) -> tuple[Tensor, list[Tensor]]:
    """Run rows that share one past, independently of one another, in float32 on the CPU.

    A flat state has for each layer time_shift [C], channel_shift [C] and wkv [H, K (key), K (value)].

    Args:
        network: The packed weights.
        inputs: The network's inputs, [N, E].
        before: Flat state [1, state] of the rows' entity in each stream.
        seen: Whether each of these entities has a review row.
        writes: Number of last rows whose new states are returned.

    Returns:
        The joined outputs of the heads [N, outputs], and for each stream the states [writes, state] after these rows.
    """
    # Without the checks of `array`, which take as long as a layer.
    outputs, after = native_step(network, inputs.numpy(), [state.numpy() for state in before], seen, writes)
    return torch.from_numpy(outputs), tensors(after)
