"""A whole network over rows from given states in one call, defined by rwkv/model/network.py."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Bools, Float32s, Ints
from rwkv.native.library import arrays, native


@dataclass(frozen=True)
class PackedNetwork:
    """The weights of a network, packed once for all calls.

    Attributes:
        weights: All weights in the form of csrc/network.h, float32 [weights].
        sizes: Inputs, hidden columns of the encoder, channels, heads, ranks of decay, a, v and gate, hidden columns of
            the heads, curves, then layers and hidden columns of the channel mixers for each stream.
    """

    weights: Float32s
    sizes: tuple[int, ...]


def pack_network(weights: Sequence[Float32s], sizes: Sequence[int]) -> PackedNetwork:
    """Pack the weights of a network.

    Args:
        weights: All weights in order, float32, maps as [out, in]: of the encoder (map, norm, map), of each layer those
            of the time mixer in the order of csrc/time_mix.h and of the channel mixer (norm, lerp, W_k, W_v), and of
            the heads (norm; map, norm, map, map of the curve; map, map of the corrections; map, map of the ratings).
            A norm is weight and bias; a map of the encoder or of a head is followed by its bias.
        sizes: See `PackedNetwork`.
    """
    return PackedNetwork(np.asarray(native().pack_network(list(weights), list(sizes))), tuple(sizes))


def network_rows(
    network: PackedNetwork,
    inputs: Float32s,
    is_query: Bools,
    groups: Ints,
    before: Sequence[Sequence[Float32s | None]],
    keep: bool,
    threads: int,
    ratings_only: bool = False,
) -> tuple[Float32s, list[list[Float32s]]]:
    """Run rows in time order.

    A flat state has for each layer time_shift [C], channel_shift [C] and wkv [H, K (key), K (value)].

    Args:
        network: The packed network.
        inputs: The network's inputs, float32 [N, E].
        is_query: Whether each row only reads the states, bool [N].
        groups: Number of each row's group in each stream, int64 [streams, N], from 0.
        before: For each stream the flat state of each group before the rows, float32 [1, state]; None without a review.
        keep: Whether to return the states after the rows.
        threads: Most threads.
        ratings_only: Whether the other heads are not asked for.

    Returns:
        The joined outputs of the heads, float32 [N, outputs], or the rating logits alone, [N, 4]; and for each stream
        the states of its groups after the rows, in memory of their own, or empty lists if they are not kept.
    """
    counts = [len(states) for states in before]
    joined = [state for states in before for state in states]
    given = network.weights, list(network.sizes), inputs, is_query, groups, counts, joined
    outputs, *after = arrays(native().network_rows(*given, keep, ratings_only, threads))
    ends = np.cumsum(counts) if keep else np.zeros(len(counts), np.int64)
    return outputs, [after[end - (count if keep else 0) : end] for end, count in zip(ends, counts, strict=True)]
