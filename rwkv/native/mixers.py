"""The mixers of a layer, forward and backward, defined by rwkv/ops/time_mix.py and channel_mix.py.

Rows lie in places of a stream. `source` is the row from which each row takes its shift, int64 [N]: itself, the row
before it or that one's source, or N + i for row i of `before`. `before` has normalised rows of an earlier batch,
float32 [M, C]; rows that take their shift from there have no gradient.
"""

from collections.abc import Sequence
from typing import NamedTuple

from rwkv.arrays import Bools, Float32s, Ints
from rwkv.native.library import arrays, native

# Index of v among what the time mixer keeps; in the first layer it is the stream's v0.
V = 2


class TimeMixed(NamedTuple):
    """The results of `time_mix_forward`.

    Attributes:
        y: Output, float32 [N, C].
        normed: The normalised x, float32 [N, C].
        final: States of the recurrence after the rows, float32 [G, H, K (key), K (value)].
        kept: What `time_mix_backward` needs.
    """

    y: Float32s
    normed: Float32s
    final: Float32s
    kept: list[Float32s]


def time_mix_forward(
    x: Float32s,
    v0: Float32s | None,
    weights: Sequence[Float32s],
    source: Ints,
    before: Float32s,
    offsets: Ints,
    is_query: Bools,
    initial: Float32s | None,
    keep: bool,
    threads: int,
) -> TimeMixed:
    """Run a time mixer.

    Args:
        x: Rows, float32 [N, C].
        v0: v of the stream's first layer, float32 [N, C]; None in that layer.
        weights: The weights in the order of csrc/time_mix.h, float32.
        source: See above.
        before: See above.
        offsets: Start of each group and N, int64 [G + 1].
        is_query: Whether each row only reads the state, bool [N].
        initial: States before the rows, float32 [G, H, K (key), K (value)]; zero if None.
        keep: Whether the gradient will be asked for.
        threads: Most threads.
    """
    inputs = x, v0, list(weights), source, before, offsets, is_query
    y, normed, final, *kept = arrays(native().time_mix_forward(*inputs, initial, keep, threads))
    return TimeMixed(y, normed, final, kept)


def time_mix_backward(
    x: Float32s,
    v0: Float32s | None,
    weights: Sequence[Float32s],
    source: Ints,
    before: Float32s,
    offsets: Ints,
    is_query: Bools,
    kept: Sequence[Float32s],
    grad_y: Float32s,
    grad_first_v: Float32s | None,
    threads: int,
) -> list[Float32s]:
    """The gradients of x, of v0 (empty in the first layer) and of the weights.

    Args:
        x: As in `time_mix_forward`, like all that are not named here.
        v0: As above.
        weights: As above.
        source: As above.
        before: Without rows.
        offsets: As above.
        is_query: As above.
        kept: From `time_mix_forward` with `keep`.
        grad_y: Gradient of y, float32 [N, C].
        grad_first_v: Gradient of the first layer's v as the v0 of other layers, float32 [N, C]; None if there is none.
        threads: Most threads.
    """
    inputs = x, v0, list(weights), source, before, offsets, is_query
    return arrays(native().time_mix_backward(*inputs, list(kept), grad_y, grad_first_v, threads))


class ChannelMixed(NamedTuple):
    """The results of `channel_mix_forward`.

    Attributes:
        y: Output, float32 [N, C].
        normed: The normalised x, float32 [N, C].
        h: Hidden columns before their activation, float32 [N, inner].
        statistics: Mean and reciprocal deviation of each row, float32 [N, 2].
    """

    y: Float32s
    normed: Float32s
    h: Float32s
    statistics: Float32s


def channel_mix_forward(
    x: Float32s, weights: Sequence[Float32s], source: Ints, before: Float32s, threads: int
) -> ChannelMixed:
    """Run a channel mixer.

    Args:
        x: Rows, float32 [N, C].
        weights: Weight and bias of the LayerNorm [C], lerp [C], W_k [inner, C] and W_v [C, inner], float32.
        source: See above.
        before: See above.
        threads: Most threads.
    """
    return ChannelMixed(*arrays(native().channel_mix_forward(x, list(weights), source, before, threads)))


def channel_mix_backward(
    x: Float32s,
    weights: Sequence[Float32s],
    source: Ints,
    h: Float32s,
    statistics: Float32s,
    grad_y: Float32s,
    threads: int,
) -> list[Float32s]:
    """The gradients of x and of the weights, from that of y [N, C]; other arguments as in `channel_mix_forward`."""
    return arrays(native().channel_mix_backward(x, list(weights), source, h, statistics, grad_y, threads))
