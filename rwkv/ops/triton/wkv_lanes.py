"""Chunks in the registers where products need them: loads, stores and transposes by which no value changes its lane.

A product of a warp leaves columns 8 j + 2 q and 8 j + 2 q + 1 of a row in lane q of the row's four. There the next
product expects its left factor, and the transpose of its right factor. But a load of 16 bytes gives a lane neighbouring
columns. So bfloat16 rows are taken in another order: column (K / 4) q + (K / 8) i + j of memory has place 8 j + 2 q + i
while its chunk is computed. Sums over columns do not notice, and stores undo it. Otherwise a chunk passes through
shared memory some twenty times. Float32 rows keep their order, since their products take most of the time.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

import triton
import triton.language as tl

from rwkv.ops.triton.blocks import dot


@triton.jit
def to_places(x, K: tl.constexpr, T: tl.constexpr, precision: tl.constexpr):
    """x [T, K] from the order of memory to that of places."""
    if precision == "tf32x3":
        return x
    else:
        return tl.reshape(tl.permute(tl.reshape(x, (T, 4, 2, K // 8)), (0, 3, 1, 2)), (T, K))


@triton.jit
def from_places(x, K: tl.constexpr, T: tl.constexpr, precision: tl.constexpr):
    """x [T, K] from the order of places to that of memory."""
    if precision == "tf32x3":
        return x
    else:
        return tl.reshape(tl.permute(tl.reshape(x, (T, K // 8, 4, 2)), (0, 2, 3, 1)), (T, K))


@triton.jit
def load_places(x, row, count, head, stride: tl.constexpr, K: tl.constexpr, T: tl.constexpr, precision: tl.constexpr):
    """Load one head of `count` rows from `row` of [N, H, K] with a stride, float32 [T, K]; zero from `count` on.

    Loads are volatile, since the compiler keeps the order of these.
    """
    t = tl.arange(0, T)[:, None]
    at = t * stride + tl.arange(0, K)[None, :]
    rows = tl.load(x + (row * stride + head * K) + at, mask=t < count, other=0, volatile=True)
    return to_places(rows, K, T, precision).to(tl.float32)


@triton.jit
def store_places(
    x, value, row, count, head, heads: tl.constexpr, K: tl.constexpr, T: tl.constexpr, precision: tl.constexpr
):
    """Write float32 [T, K] to one head of `count` rows from `row` of [N, H, K], in the dtype of x."""
    t = tl.arange(0, T)[:, None]
    at = t * (heads * K) + tl.arange(0, K)[None, :]
    value = from_places(value.to(x.dtype.element_ty), K, T, precision)
    tl.store(x + (row * heads + head) * K + at, value, mask=t < count)


@triton.jit
def along(n: tl.constexpr, axis: tl.constexpr, axes: tl.constexpr):
    """0 to n - 1 along one of several axes."""
    x = tl.arange(0, n)
    for other in tl.static_range(axes):
        if other != axis:
            x = tl.expand_dims(x, other)
    return x


@triton.jit
def load_right(x, row, count, head, heads: tl.constexpr, K: tl.constexpr, T: tl.constexpr, precision: tl.constexpr):
    """Load like `load_places` where the right factor of a product is expected."""
    if precision == "tf32x3":
        return load_places(x, row, count, head, heads * K, K, T, precision)
    else:
        # A lane takes rows 8 h + 2 q + i, and of each the neighbouring columns (K / 8) g + j. Axes are q, g, i, h, j.
        q, g, i, h, j = along(4, 0, 5), along(8, 1, 5), along(2, 2, 5), along(T // 8, 3, 5), along(K // 8, 4, 5)
        t = 8 * h + 2 * q + i
        at = (2 * q * (heads * K) + (K // 8) * g) + ((8 * h + i) * (heads * K) + j)
        rows = tl.load(x + (row * heads + head) * K + at, mask=t < count, other=0, volatile=True).to(tl.float32)
        return tl.reshape(tl.permute(rows, (3, 0, 2, 4, 1)), (T, K))


@triton.jit
def store_first(x, value, K: tl.constexpr, T: tl.constexpr, precision: tl.constexpr):
    """Write the first row of [T, K] to x [K]."""
    if precision == "tf32x3":
        t, key = tl.arange(0, T)[:, None], tl.arange(0, K)[None, :]
        tl.store(x + (key + 0 * t), value, mask=t == 0)
    else:
        q, t, i, j = along(4, 0, 4), along(T, 1, 4), along(2, 2, 4), along(K // 8, 3, 4)
        at = (K // 4) * q + (K // 8) * i + j + 0 * t
        value = tl.permute(tl.reshape(value, (T, K // 8, 4, 2)), (2, 0, 3, 1))
        tl.store(x + at, value, mask=t == 0)


@triton.jit
def flipped(x, ROWS: tl.constexpr, COLUMNS: tl.constexpr, precision: tl.constexpr):
    """x^T as a right factor; `tl.trans` would pass through shared memory."""
    if precision == "tf32x3":
        return tl.trans(x)
    else:
        return tl.reshape(tl.permute(tl.reshape(x, (ROWS, COLUMNS // 2, 2)), (1, 2, 0)), (COLUMNS, ROWS))


@triton.jit
def constants(T: tl.constexpr, precision: tl.constexpr):
    """Matrices [T, T] of ones and of zeros, where products leave results.

    The compiler does not know these numbers; it would copy those that it knows for each product.
    """
    if precision == "tf32x3":
        return tl.full((T, T), 1.0, tl.float32), tl.zeros((T, T), tl.float32)
    else:
        one = tl.dot(tl.full((T, T), 1.0 / T, tl.float16), tl.full((T, T), 1.0, tl.float16))
        return one, one - one


@triton.jit
def unit_lower_inverse(minus_lower, one, zero, T: tl.constexpr, precision: tl.constexpr):
    """(I + L)^-1 from minus_lower = -L [T, T]: inverses of diagonal blocks of 2, 4, 8 ... rows, each time joining two.

    This is forward substitution in blocks: no power of L is formed, which with repeated keys would grow out of range.
    """
    i = tl.arange(0, T)[:, None]
    j = tl.arange(0, T)[None, :]
    identity = tl.where(i == j, one, zero)
    turned_minus = transposed_square(minus_lower, identity, T, precision)
    inverse = tl.where(i // 2 == j // 2, tl.where(i == j, one, minus_lower), zero)
    turned = tl.where(i // 2 == j // 2, tl.where(i == j, one, turned_minus), zero)
    for level in tl.static_range(1, T.bit_length() - 1):
        size = 1 << level
        own = (i // (2 * size) == j // (2 * size)) & (i // size != j // size)
        if level > 1:
            turned = transposed_square(inverse, identity, T, precision)
        step = dot(inverse, flipped(tl.where(own, turned_minus, zero), T, T, precision), precision)
        inverse += dot(step, flipped(turned, T, T, precision), precision)
    return inverse


@triton.jit
def transposed_square(x, identity, T: tl.constexpr, precision: tl.constexpr):
    """x^T [T, T], rounded like factors of products, by a product that leaves it where products leave results."""
    if precision == "tf32x3":
        return tl.trans(x)
    else:
        return dot(identity, flipped(x, T, T, precision), precision)
