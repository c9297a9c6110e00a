"""From projections to the arguments of the recurrence on a GPU. See rwkv/ops/wkv_inputs.py for the definition."""
# mypy: allow-untyped-defs, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

# Rows a program, of one head.
_ROWS = 64

# ln w = -e^(-0.5 - softplus(-d)) = -e^-0.5 sigmoid(d).
_DECAY = tl.constexpr(0.6065306597126334)
_NORM_CLAMP = tl.constexpr(1e-12)


@triton.jit
def _load(x, at, mask):
    return tl.load(x + at, mask=mask, other=0).to(tl.float32)


@triton.jit
def _length(x):
    return tl.maximum(tl.sqrt(tl.sum(x * x, 1)), _NORM_CLAMP)[:, None]


@triton.jit
def _mixed_values(v, v0, v_mix, at, mask):
    """The values after the mix with the first layer's, and its share."""
    values = _load(v, at, mask)
    share = tl.zeros_like(values)
    if v_mix is not None:
        share = tl.sigmoid(_load(v_mix, at, mask))
        values += share * (_load(v0, at, mask) - values)
    return values, share


@triton.jit(do_not_specialize=["rows"])
def _forward_kernel(
    k, v, v0, v_mix, a, d, k_scale, v_scale, log_decay, k_hat, scaled_v, b, rows, heads,
    ROWS: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < rows
    mask = inside[:, None] & (tl.arange(0, K) >= 0)[None, :]
    at = row[:, None] * heads * K + head * K + tl.arange(0, K)[None, :]
    keys = _load(k, at, mask)
    values, _ = _mixed_values(v, v0, v_mix, at, mask)
    of_key = tl.sigmoid(_load(k_scale, row * heads + head, inside))[:, None]
    of_value = tl.sigmoid(_load(v_scale, row * heads + head, inside))[:, None]
    unit = of_key * keys / _length(keys)
    tl.store(log_decay + at, -_DECAY * tl.sigmoid(_load(d, at, mask)), mask=mask)
    tl.store(k_hat + at, unit, mask=mask)
    tl.store(scaled_v + at, of_value * values / _length(values), mask=mask)
    tl.store(b + at, tl.sigmoid(_load(a, at, mask)) * unit, mask=mask)


@triton.jit
def _backward_unit(x, scale, grad):
    """y = sigmoid(scale) x / |x|: from the gradient of y to those of x and of scale."""
    size, factor = _length(x), tl.sigmoid(scale)
    along = tl.sum(grad * x, 1)[:, None] / size
    # Where the length is clamped it is a constant.
    radial = tl.where(size > _NORM_CLAMP, along / size, 0.0)
    return factor[:, None] * (grad - x * radial) / size, tl.sum(along, 1) * factor * (1 - factor)


@triton.jit(do_not_specialize=["rows"])
def _backward_kernel(
    k, v, v0, v_mix, a, d, k_scale, v_scale, of_log_decay, of_k_hat, of_v, of_b,
    grad_k, grad_v, grad_v0, grad_v_mix, grad_a, grad_d, grad_k_scale, grad_v_scale, rows, heads,
    ROWS: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < rows
    mask = inside[:, None] & (tl.arange(0, K) >= 0)[None, :]
    at = row[:, None] * heads * K + head * K + tl.arange(0, K)[None, :]
    by_head = row * heads + head
    share_a, share_d = tl.sigmoid(_load(a, at, mask)), tl.sigmoid(_load(d, at, mask))
    tl.store(grad_d + at, -_DECAY * _load(of_log_decay, at, mask) * share_d * (1 - share_d), mask=mask)

    keys, scale = _load(k, at, mask), _load(k_scale, by_head, inside)
    b_grad = _load(of_b, at, mask)
    k_hat = tl.sigmoid(scale)[:, None] * keys / _length(keys)
    tl.store(grad_a + at, b_grad * k_hat * share_a * (1 - share_a), mask=mask)
    of_keys, of_scale = _backward_unit(keys, scale, _load(of_k_hat, at, mask) + b_grad * share_a)
    tl.store(grad_k + at, of_keys, mask=mask)
    tl.store(grad_k_scale + by_head, of_scale, mask=inside)

    values, share = _mixed_values(v, v0, v_mix, at, mask)
    of_values, of_scale = _backward_unit(values, _load(v_scale, by_head, inside), _load(of_v, at, mask))
    tl.store(grad_v_scale + by_head, of_scale, mask=inside)
    tl.store(grad_v + at, of_values * (1 - share), mask=mask)
    if v_mix is not None:
        tl.store(grad_v0 + at, of_values * share, mask=mask)
        difference = _load(v0, at, mask) - _load(v, at, mask)
        tl.store(grad_v_mix + at, of_values * difference * share * (1 - share), mask=mask)


def wkv_inputs_forward(
    k: Tensor, v: Tensor, v0: Tensor, v_mix: Tensor | None, a: Tensor, d: Tensor, k_scale: Tensor, v_scale: Tensor
) -> list[Tensor]:
    """log_decay (float32), k_hat, v, b."""
    rows, heads = k_scale.shape
    outputs = [torch.empty_like(k, dtype=torch.float32), *(torch.empty_like(k) for _ in range(3))]
    if rows:
        _forward_kernel[(triton.cdiv(rows, _ROWS), heads)](
            k, v, v0, v_mix, a, d, k_scale, v_scale, *outputs, rows, heads, ROWS=_ROWS, K=k.shape[1] // heads
        )
    return outputs


def wkv_inputs_backward(
    k: Tensor,
    v: Tensor,
    v0: Tensor,
    v_mix: Tensor | None,
    a: Tensor,
    d: Tensor,
    k_scale: Tensor,
    v_scale: Tensor,
    *grads: Tensor,
) -> list[Tensor | None]:
    """The gradients of the eight inputs from those of the four outputs; without v_mix none of v0 and v_mix."""
    rows, heads = k_scale.shape
    inputs = (k, v, v0 if v_mix is not None else None, v_mix, a, d, k_scale, v_scale)
    back = [None if x is None else torch.empty_like(x) for x in inputs]
    if rows:
        _backward_kernel[(triton.cdiv(rows, _ROWS), heads)](
            k, v, v0, v_mix, a, d, k_scale, v_scale, *grads, *back, rows, heads, ROWS=_ROWS, K=k.shape[1] // heads
        )
    return back
