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
from rwkv.ops.triton.wkv_chunk import (
    LOG2_E,
    chunk_factors,
    decays,
    load_operand,
    load_rows,
    load_writes,
    read_factors,
    store_rows,
    strictly_lower,
    unit_lower_inverse,
)
from rwkv.ops.wkv import WkvInputs


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
    r_stride,
    heads,
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
    inside = tl.arange(0, T) < (end - row).to(tl.int32)
    writes = load_writes(chunks, chunk, T)
    decay = load_operand(log_decay, row, inside, head, heads, K, T).to(tl.float32) * LOG2_E
    decay, log_before, log_p = decays(decay, writes, T, precision)
    k = load_rows(k_hat, row, inside, head, heads * K, K, T)
    b_rows = load_rows(b, row, inside, head, heads * K, K, T)
    v_rows = load_rows(v, row, inside, head, heads * K, K, T)
    r_rows = load_rows(r, row, inside, head, r_stride, K, T)
    k_in, b_scaled, p_before = chunk_factors(log_before, log_p, k, b_rows, writes)
    p_last = libdevice.exp2(tl.sum(tl.where(writes[:, None], decay, 0.0), 0))
    u, _ = read_factors(r_rows, decay, k, b_rows, p_before)
    # L and its inverse are small, though B is not.
    solved = unit_lower_inverse(strictly_lower(dot(k_in, tl.trans(b_scaled), precision), T), T, solving)
    t = tl.arange(0, T)
    at = (chunk.to(tl.int64) * heads + head) * T * T + (t[:, None] * T + t[None, :])
    if inverse is not None:
        tl.store(inverse + at, solved.to(inverse.dtype.element_ty))
    reads = strictly_lower(dot(u, tl.trans(b_scaled), reading), T)
    tl.store(read + at, reads.to(read.dtype.element_ty))
    tl.store(p_end + (chunk.to(tl.int64) * heads + head) * K + tl.arange(0, K), p_last)
    store_rows(k_solved, dot(solved, k_in, solving), row, inside, head, heads * K, K, T)
    store_rows(v_solved, dot(solved, v_rows, solving), row, inside, head, heads * K, K, T)
    store_rows(b_end, b_scaled * p_last[None, :], row, inside, head, heads * K, K, T)
    store_rows(u_in, u, row, inside, head, heads * K, K, T)
    if log_w is not None:
        store_rows(log_w, decay, row, inside, head, heads * K, K, T)


class Parts(NamedTuple):
    """The parts of chunks; those of the states are float16 if r is bfloat16, or float32.

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
