"""Functions of the WKV kernels: loading rows, and the decays and factors of a chunk.

Letters as in wkv_chunked.py: X = S^T [K (key), K (value)], P the decay since the chunk's start, and within a chunk
    (I + L) y = v - K_in X,   L = strictly lower part of K_in B^T,   K_in = k_hat P_before,   B = b / P.
The walks over chunks keep S. A decay of ln w >= -5 a row keeps 1 / P within float32 over a chunk of 16; the model's is
at least -0.61.

Strides of rows are constants of the kernels: of other numbers Triton knows only whether they are multiples of 16, and
multiples of 8 allow loads of 16 bytes.
"""
# Arguments of kernels are pointers, integers and compile-time constants, which have no useful Python type.
# mypy: allow-untyped-defs, allow-untyped-calls

import math

import triton
import triton.language as tl
from triton.language.extra import libdevice

from rwkv.ops.time_mix import GROUP_NORM_EPS
from rwkv.ops.triton.blocks import dot

GROUP_NORM = tl.constexpr(GROUP_NORM_EPS)
# Decays are powers of two in the kernels, since the GPU's instruction is 2^x; that of libdevice needs no other.
LOG2_E = tl.constexpr(math.log2(math.e))


@triton.jit
def load_rows(x, row, inside, head, stride, K: tl.constexpr, T: tl.constexpr):
    """Load one head of T rows from `row` of [N, H, K] with a stride, float32 [T, K]; zero where not inside."""
    at = tl.arange(0, T)[:, None] * stride + tl.arange(0, K)[None, :]
    return for_products(tl.load(x + row * stride + head * K + at, mask=inside[:, None], other=0), T)


@triton.jit
def transposed(x, K: tl.constexpr):
    """x [T, K], float16 or float32, as [K, T], exactly.

    The product of float16 rows with the identity leaves them where products leave results.
    """
    if x.dtype == tl.float16:
        key = tl.arange(0, K)
        return dot(tl.where(key[:, None] == key[None, :], 1.0, 0.0), tl.trans(x), "fp16")
    else:
        return tl.trans(x)


@triton.jit
def for_products(x, T: tl.constexpr):
    """x [T, K] in float32, where products leave their results, so that neither side has to move to meet the other.

    The product of bfloat16 rows with the identity is exact, and takes fewer instructions than to convert the rows.
    """
    if x.dtype == tl.bfloat16:
        t = tl.arange(0, T)
        return tl.dot(tl.where(t[:, None] == t[None, :], 1.0, 0.0).to(tl.bfloat16), x)
    else:
        return x.to(tl.float32)


@triton.jit
def store_rows(x, value, row, inside, head, stride, K: tl.constexpr, T: tl.constexpr):
    """Write float32 [T, K] to one head of T rows from `row` of [N, H, K] with a stride, in the dtype of x."""
    at = tl.arange(0, T)[:, None] * stride + tl.arange(0, K)[None, :]
    tl.store(x + row * stride + head * K + at, value.to(x.dtype.element_ty), mask=inside[:, None])


@triton.jit
def load_channels(x, head, K: tl.constexpr):
    """One head of [H, K], float32 [1, K]."""
    return tl.load(x + head * K + tl.arange(0, K)).to(tl.float32)[None, :]


@triton.jit
def standardised(x, K: tl.constexpr):
    """Standardise rows [.., K] for the GroupNorm: (x - mean) / deviation, and 1 / deviation [.., 1]."""
    centred = x - tl.sum(x, 1)[:, None] / K
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, 1)[:, None] / K + GROUP_NORM)
    return centred * rstd, rstd


@triton.jit
def load_writes(chunks, chunk, T: tl.constexpr):
    """Whether each of a chunk's T rows changes the state, bool [T]."""
    return ((tl.load(chunks + chunk * 3 + 2).to(tl.int32) >> tl.arange(0, T)) & 1) != 0


@triton.jit
def state_offsets(index, head, heads, K: tl.constexpr):
    """The offsets of a matrix [K, K] of a tensor [.., H, K, K]."""
    return (index * heads + head) * K * K + (tl.arange(0, K)[:, None] * K + tl.arange(0, K)[None, :])


@triton.jit
def transposed_offsets(index, head, heads, K: tl.constexpr):
    """The offsets by which a matrix [K, K] of a tensor [.., H, K, K] is transposed, between S and X."""
    return (index * heads + head) * K * K + (tl.arange(0, K)[None, :] * K + tl.arange(0, K)[:, None])


@triton.jit
def load_inverse(inverse, chunk, head, heads, T: tl.constexpr):
    """(I + L)^-1 of a chunk, or another matrix [T, T] of a tensor [B, H, T, T]."""
    t = tl.arange(0, T)
    return tl.load(inverse + (chunk * heads + head) * T * T + (t[:, None] * T + t[None, :]))


@triton.jit
def strictly_lower(x, T: tl.constexpr):
    """x [T, T] with zeros on and above the diagonal."""
    t = tl.arange(0, T)
    return tl.where(t[:, None] > t[None, :], x, 0.0)


@triton.jit
def sums(which, x, precision: tl.constexpr):
    """The sums of the rows of x [T, K] that each row of which, bool [T, T], selects; x keeps 11 bits, 16, or all.

    Products take fewer instructions than a cumulative sum.
    """
    if precision == "tf32x3" or precision == "fp16":
        return dot(tl.where(which, 1.0, 0.0), x, precision)
    else:
        which = tl.where(which, 1.0, 0.0).to(tl.bfloat16)
        high = x.to(tl.bfloat16)
        return tl.dot(which, (x - high.to(tl.float32)).to(tl.bfloat16), tl.dot(which, high))


@triton.jit
def load_operand(x, row, inside, head, heads, K: tl.constexpr, T: tl.constexpr):
    """Load one head of T rows from `row` of [N, H, K], [T, K] in the dtype of x; zero where not inside."""
    at = tl.arange(0, T)[:, None] * (heads * K) + tl.arange(0, K)[None, :]
    return tl.load(x + row * (heads * K) + head * K + at, mask=inside[:, None], other=0)


@triton.jit
def load_decays(log_w, row, inside, writes, head, heads, K: tl.constexpr, T: tl.constexpr, precision: tl.constexpr):
    """From log2 w [N, H, K]: log2 w of T rows from `row`, and log2 P before and after each, float32 [T, K]."""
    own = load_operand(log_w, row, inside, head, heads, K, T)
    if precision == "tf32x3":
        decay = tl.where(writes[:, None], own, 0.0)
        log_p = tl.cumsum(decay, 0)
        return own, log_p - decay, log_p
    else:
        # Where products round to 8 bits, decays of 11 will do.
        bits: tl.constexpr = "fp16" if precision == "bf16" else precision
        t, s = tl.arange(0, T)[:, None], tl.arange(0, T)[None, :]
        log_before = sums((s < t) & writes[None, :], own, bits)
        return sums(t == s, own, bits), log_before, sums((s <= t) & writes[None, :], own, bits)


@triton.jit
def chunk_factors(log_before, log_p, k, b, writes):
    """K_in, B and P_before of a chunk, [T, K]."""
    p_before = libdevice.exp2(log_before)
    b_scaled = tl.where(writes[:, None], b, 0.0) * libdevice.exp2(-log_p)
    return k * p_before, b_scaled, p_before


@triton.jit
def read_factors(r, log_w, k, b, p_before):
    """U_in [T, K] and c [T, 1] of a chunk: a row reads X_0^T U_in + c v + the writes of the chunk's earlier rows."""
    c = tl.sum(b * r, 1)[:, None]
    return (libdevice.exp2(log_w) * r - k * c) * p_before, c


@triton.jit
def load_p_end(p_end, chunk, head, heads, K: tl.constexpr):
    """P at the end of a chunk, float32 [K]."""
    return tl.load(p_end + (chunk * heads + head) * K + tl.arange(0, K))
