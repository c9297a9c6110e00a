"""The whole network for a few rows that share one past, defined by `rwkv.model.network.Network.step`."""

from collections.abc import Sequence

from rwkv.arrays import Float32s
from rwkv.native.library import arrays, native
from rwkv.native.network import PackedNetwork


def network_step(
    network: PackedNetwork,
    inputs: Float32s,
    before: Sequence[Float32s],
    seen: Sequence[bool],
    writes: int,
) -> tuple[Float32s, list[Float32s]]:
    """Run rows that share one past, independently of one another, on the calling thread.

    A flat state has for each layer time_shift [C], channel_shift [C] and wkv [H, K (key), K (value)].

    Args:
        network: The packed network.
        inputs: The network's inputs, float32 [N, E], at most 4,096 rows.
        before: Flat state of the rows' entity in each stream, float32 [1, state].
        seen: Whether each of these entities has a review row.
        writes: Number of last rows whose new states are returned.

    Returns:
        The joined outputs of the heads, float32 [N, outputs], and for each stream the states [writes, state] after
        these rows.
    """
    given = network.weights, list(network.sizes)
    known = [int(entity) for entity in seen]
    outputs, *after = arrays(native().network_step(*given, inputs, list(before), known, writes))
    return outputs, after
