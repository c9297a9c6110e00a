"""The public WKV op: checks its arguments and picks the form that runs on their device."""

import torch
from torch import Tensor

from rwkv.ops.groups import PackedGroups
from rwkv.ops.kernels import has_native, has_triton_for
from rwkv.ops.wkv_chunked import wkv_chunked
from rwkv.ops.wkv_native import wkv_native


def wkv(
    r: Tensor,
    log_decay: Tensor,
    k_hat: Tensor,
    v: Tensor,
    b: Tensor,
    groups: PackedGroups,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Time mixing of RWKV-7 over packed groups of rows, in which query rows read the state but do not change it.

    r, log_decay, k_hat, v, b: [N, H, K], bfloat16, float32 or float64; log_decay = ln w, at most 0. initial_state:
    [G, H, K (value), K (key)], float32 (or float64), zero if None. Returns (out [N, H, K] in the dtype of r,
    final_state [G, H, K, K] in float32 or float64). Raises ValueError for other shapes. Source: spec 4, "WKV per head".
    """
    if r.dim() != 3:
        raise ValueError(f"r has shape {tuple(r.shape)}, expected [N, H, K]")
    rows, heads, width = r.shape
    for name, x in (("log_decay", log_decay), ("k_hat", k_hat), ("v", v), ("b", b)):
        if x.shape != r.shape:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, r has {tuple(r.shape)}")
    if len(groups.is_query) != rows:
        raise ValueError(f"the groups have {len(groups.is_query)} rows, the inputs {rows}")
    if initial_state is not None and initial_state.shape != (groups.groups, heads, width, width):
        expected = (groups.groups, heads, width, width)
        raise ValueError(f"initial_state has shape {tuple(initial_state.shape)}, expected {expected}")
    if has_triton_for(r, k_hat, v, b, head_width=width):
        from rwkv.ops.wkv_triton import wkv_triton  # Triton is there with a GPU only

        return wkv_triton(r, log_decay, k_hat, v, b, groups.runs, initial_state)
    dtype = torch.promote_types(r.dtype, torch.float32)
    if initial_state is not None:
        initial_state = initial_state.to(dtype)
    wide = [x.to(dtype) for x in (r, log_decay, k_hat, v, b)]
    form = wkv_native if has_native(*wide, head_width=width) else wkv_chunked
    out, final_state = form(wide[0], wide[1], wide[2], wide[3], wide[4], groups, initial_state)
    return out.to(r.dtype), final_state
