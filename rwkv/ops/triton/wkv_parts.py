"""What the walks over chunks need of each chunk, computed for all chunks at once, so that the walks only multiply."""
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

from rwkv.ops.triton.blocks import dot, launch
from rwkv.ops.triton.run_plan import RunPlan
from rwkv.ops.triton.tuning import CHUNK_LENGTH, wkv_options
from rwkv.ops.triton.wkv_chunk import LOG2_E, strictly_lower
from rwkv.ops.triton.wkv_lanes import (
    constants,
    flipped,
    load_places,
    load_right,
    store_first,
    store_places,
    unit_lower_inverse,
)
from rwkv.ops.wkv import WkvInputs


@triton.jit
def _sums(which, one, zero, high, low):
    """Sums of the rows of high + low that each row of which, bool [T, T], selects."""
    which = tl.where(which, one, zero).to(tl.bfloat16)
    return tl.dot(which, low, tl.dot(which, high))


@triton.jit
def _log_decays(log_w, bits, one, zero, T: tl.constexpr, precision: tl.constexpr):
    """From log2 w [T, K] of a chunk's rows log2 of the decays, [T, K], before each row, through it, and to the end.

    They begin at the chunk's start. Other rows than the last of a decay through it count if they change the state.
    """
    t, s = tl.arange(0, T)[:, None], tl.arange(0, T)[None, :]
    if precision == "tf32x3":
        decay = tl.where(((bits >> t) & 1) != 0, log_w, 0.0)
        before = tl.cumsum(decay, 0) - decay
        return before, before + log_w, tl.sum(decay, 0)[None, :] + tl.zeros_like(decay)
    else:
        # Products take fewer instructions than a cumulative sum. Two terms of 8 bits keep 16.
        cut = (log_w.to(tl.int32, bitcast=True) & -65536).to(tl.float32, bitcast=True)
        high, low = cut.to(tl.bfloat16), (log_w - cut).to(tl.bfloat16)
        wrote = ((bits >> s) & 1) != 0
        before = _sums((s < t) & wrote, one, zero, high, low)
        # Another zero, or the compiler copies one register of both matrices for each product.
        through = _sums((s == t) | ((s < t) & wrote), one, -zero, high, low)
        return before, through, _sums(wrote, one, zero, high, low)


@triton.jit
def _parts_kernel(
    r,
    log_decay,
    k_hat,
    v,
    b,
    chunks,
    inverse,
    p_end,
    read,
    k_solved,
    v_solved,
    b_end,
    u_in,
    log_w,
    r_stride: tl.constexpr,
    heads: tl.constexpr,
    K: tl.constexpr,
    T: tl.constexpr,
    precision: tl.constexpr,
    solving: tl.constexpr,
    reading: tl.constexpr,
):
    """Write the parts of each chunk and head, with one program for each; inverse and log_w may be None."""
    chunk = tl.program_id(0) // heads
    head = tl.program_id(0) % heads
    row, end = tl.load(chunks + chunk * 3), tl.load(chunks + chunk * 3 + 1)
    if row == end:
        return
    count = (end - row).to(tl.int32)
    bits = tl.load(chunks + chunk * 3 + 2).to(tl.int32)
    # The last of these is needed first, so that the compiler cannot put the others off.
    v_rows = load_right(v, row, count, head, heads, K, T, precision)
    k = load_places(k_hat, row, count, head, heads * K, K, T, precision)
    b_rows = load_places(b, row, count, head, heads * K, K, T, precision)
    r_rows = load_places(r, row, count, head, r_stride, K, T, precision)
    log_rows = load_right(log_decay, row, count, head, heads, K, T, precision) * LOG2_E

    one, zero = constants(T, precision)
    log_before, log_through, log_last = _log_decays(log_rows, bits, one, zero, T, precision)
    through, p_last = libdevice.exp2(log_through), libdevice.exp2(log_last)
    t, s = tl.arange(0, T)[:, None], tl.arange(0, T)[None, :]
    # As in `chunk_factors` and `read_factors`, with fewer exponentials: P after a row that changes the state is the
    # decay through it.
    b_scaled = libdevice.fast_dividef(tl.where(((bits >> t) & 1) != 0, b_rows, 0.0), through)
    k_in = k * libdevice.exp2(log_before)
    u = through * r_rows - k_in * tl.sum(b_rows * r_rows, 1)[:, None]
    at = (chunk.to(tl.int64) * heads + head) * T * T + (t * T + s)
    reads = strictly_lower(dot(u, flipped(b_scaled, T, K, reading), reading), T)
    tl.store(read + at, reads.to(read.dtype.element_ty))
    store_places(u_in, u, row, count, head, heads, K, T, precision)
    # L and its inverse are small, though B is not.
    minus_lower = tl.where(s < t, -dot(k_in, flipped(b_scaled, T, K, precision), precision), zero)
    solved = unit_lower_inverse(minus_lower, one, zero, T, solving)
    if inverse is not None:
        tl.store(inverse + at, solved.to(inverse.dtype.element_ty))
    store_first(p_end + (chunk.to(tl.int64) * heads + head) * K, p_last, K, T, precision)
    store_places(b_end, b_scaled * p_last, row, count, head, heads, K, T, precision)
    store_places(k_solved, dot(solved, k_in, solving), row, count, head, heads, K, T, precision)
    store_places(v_solved, dot(solved, v_rows, solving), row, count, head, heads, K, T, precision)
    if log_w is not None:
        store_places(log_w, log_through - log_before, row, count, head, heads, K, T, precision)


class Parts(NamedTuple):
    """The parts of chunks, float16 if r is bfloat16, or float32, unless another dtype is given.

    Attributes:
        k_solved: (I + L)^-1 K_in, [N, H, K], so that y = v_solved - k_solved X.
        v_solved: (I + L)^-1 v, [N, H, K].
        b_end: B times the decay from the chunk's start to its end, [N, H, K].
        p_end: This decay, float32 [B, H, K].
        u_in: U_in in the dtype of r, [N, H, K].
        read: The strictly lower part of U_in B^T in the dtype of r, [B, H, T, T].
        inverse: (I + L)^-1, [B, H, T, T]; None if not kept.
        log_w: log2 of the decay of each row, [N, H, K]; None if not kept.
    """

    k_solved: Tensor
    v_solved: Tensor
    b_end: Tensor
    p_end: Tensor
    u_in: Tensor
    read: Tensor
    inverse: Tensor | None
    log_w: Tensor | None

    def of_states(self) -> dict[str, Tensor]:
        """The parts by which a state changes, by name."""
        return {"k_solved": self.k_solved, "v_solved": self.v_solved, "b_end": self.b_end, "p_end": self.p_end}


def chunk_parts(inputs: WkvInputs, plan: RunPlan, reading: str, keep: bool) -> Parts:
    """Compute the parts of all chunks; `reading` is the rounding of what is read, and `keep` adds inverse and log_w."""
    r = inputs.r
    rows, heads, width = r.shape
    chunks, squares = len(plan.chunks), (len(plan.chunks), heads, CHUNK_LENGTH, CHUNK_LENGTH)
    rough = r.dtype == torch.bfloat16
    exact = torch.float16 if rough else torch.float32
    k_solved, v_solved, b_end = r.new_empty(3, rows, heads, width, dtype=exact).unbind()
    parts = Parts(
        k_solved=k_solved,
        v_solved=v_solved,
        b_end=b_end,
        p_end=r.new_empty(chunks, heads, width, dtype=torch.float32),
        u_in=r.new_empty(rows, heads, width),
        read=r.new_empty(squares),
        inverse=r.new_empty(squares, dtype=exact) if keep else None,
        log_w=r.new_empty(rows, heads, width, dtype=exact) if keep else None,
    )
    launch(
        _parts_kernel,
        chunks * heads,
        **inputs._asdict(),
        **parts._asdict(),
        chunks=plan.chunks,
        r_stride=r.stride(0),
        heads=heads,
        T=CHUNK_LENGTH,
        solving="fp16" if rough else "tf32x3",
        reading=reading,
        **wkv_options("parts", width, r.dtype),
    )
    return parts
