"""The recurrence of RWKV-7 over packed groups, defined by `rwkv.ops.wkv`.

States are transposed against that definition: [G, H, K (key), K (value)].
"""

from typing import NamedTuple

from rwkv.arrays import Bools, Float32s, Ints
from rwkv.native.library import arrays, native


class WkvRows(NamedTuple):
    """The rows of the recurrence, float32 [N, H, K] each; K is 16, 32 or 64.

    Attributes:
        r: Receptance.
        log_decay: Natural logarithm of the decay.
        k_hat: Normalised keys.
        v: Values.
        b: Keys times the in-context learning rate.
    """

    r: Float32s
    log_decay: Float32s
    k_hat: Float32s
    v: Float32s
    b: Float32s


class WkvResults(NamedTuple):
    """The results of `wkv_forward`.

    Attributes:
        out: Output, float32 [N, H, K].
        final: States after the rows, float32 [G, H, K, K].
        checkpoints: States within the groups for `wkv_backward`, float32 [checkpoints, H, K, K].
    """

    out: Float32s
    final: Float32s
    checkpoints: Float32s


def wkv_forward(
    rows: WkvRows, offsets: Ints, is_query: Bools, initial: Float32s | None, keep: bool, threads: int
) -> WkvResults:
    """Run the recurrence.

    Args:
        rows: The rows, group after group.
        offsets: Start of each group and N, int64 [G + 1].
        is_query: Whether each row only reads the state, bool [N].
        initial: States before the rows, float32 [G, H, K, K]; zero if None.
        keep: Whether to keep checkpoints; otherwise there are none.
        threads: Most threads.
    """
    return WkvResults(*arrays(native().wkv_forward(*rows, offsets, is_query, initial, keep, threads)))


def wkv_backward(
    rows: WkvRows,
    offsets: Ints,
    is_query: Bools,
    initial: Float32s | None,
    checkpoints: Float32s,
    grad_out: Float32s,
    grad_final: Float32s | None,
    threads: int,
) -> list[Float32s]:
    """The gradients of r, log_decay, k_hat, v, b and initial; arguments as those and the results of `wkv_forward`."""
    groups = offsets, is_query, initial
    return arrays(native().wkv_backward(*rows, *groups, checkpoints, grad_out, grad_final, threads))
