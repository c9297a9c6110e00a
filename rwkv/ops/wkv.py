"""The WKV recurrence: its definition, one row at a time, and the op that chooses the kernel for its inputs.

The definition is slow, runs in any dtype, and is the reference of every other form.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rwkv.ops.backend import Kernels, kernels_for
from rwkv.ops.cpu.wkv import wkv_native
from rwkv.ops.groups import PackedGroups
from rwkv.ops.wkv_chunked import wkv_chunked


class WkvInputs(NamedTuple):
    """The arguments of the recurrence for N rows, [N, H, K] each, or [N, C] with the heads' channels in a row.

    Attributes:
        r: Receptance.
        log_decay: Natural logarithm of the decay, at most 0.
        k_hat: Normalised keys.
        v: Values.
        b: Keys times the in-context learning rate.
    """

    r: Tensor
    log_decay: Tensor
    k_hat: Tensor
    v: Tensor
    b: Tensor

    def named(self, *names: str) -> dict[str, Tensor]:
        """Some of the arguments by name."""
        return {name: getattr(self, name) for name in names}


def wkv(
    r: Tensor,
    log_decay: Tensor,
    k_hat: Tensor,
    v: Tensor,
    b: Tensor,
    groups: PackedGroups,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the recurrence of RWKV-7 over packed groups. Query rows read the state but do not change it.

    Args:
        r: Receptance, [N, H, K], bfloat16, float32 or float64.
        log_decay: Natural logarithm of the decay, at most 0, [N, H, K].
        k_hat: Normalised keys, [N, H, K].
        v: Values, [N, H, K].
        b: Keys times the in-context learning rate, [N, H, K].
        groups: The packed groups.
        initial_state: States before the rows, [G, H, K (value), K (key)], float32 or float64; zero if None.

    Returns:
        The output [N, H, K] in the dtype of r, and the states after the rows [G, H, K, K] in float32 or float64.

    Raises:
        ValueError: The shapes do not fit.

    Source: Spec 4, "WKV per head".
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
    if kernels_for(r, k_hat, v, b, head_width=width) is Kernels.TRITON:
        from rwkv.ops.triton.wkv import wkv_triton  # Triton exists only with a GPU

        return wkv_triton(WkvInputs(r, log_decay, k_hat, v, b), groups, initial_state)
    dtype = torch.promote_types(r.dtype, torch.float32)
    if initial_state is not None:
        initial_state = initial_state.to(dtype)
    wide = [x.to(dtype) for x in (r, log_decay, k_hat, v, b)]
    form = wkv_native if kernels_for(*wide, head_width=width) is Kernels.NATIVE else wkv_chunked
    out, final_state = form(wide[0], wide[1], wide[2], wide[3], wide[4], groups, initial_state)
    return out.to(r.dtype), final_state


def wkv_read(state: Tensor, r: Tensor, log_decay: Tensor, k_hat: Tensor, v: Tensor, b: Tensor) -> Tensor:
    """The output of a row, S_t r_t [..., H, K], as S_prev u + (b . r) v, which needs no new state.

    Args:
        state: State before the row, [..., H, K (value), K (key)].
        r: Receptance, [..., H, K]; the other arguments have this shape too.
        log_decay: Natural logarithm of the decay.
        k_hat: Normalised keys.
        v: Values.
        b: Keys times the in-context learning rate.

    Source: Spec 4, "Reading without writing".
    """
    c = (b * r).sum(-1, keepdim=True)
    u = log_decay.exp() * r - k_hat * c
    return (state @ u.unsqueeze(-1)).squeeze(-1) + c * v


def wkv_write(state: Tensor, log_decay: Tensor, k_hat: Tensor, v: Tensor, b: Tensor) -> Tensor:
    """The state after a review row: S diag(w) - (S k_hat) b^T + v b^T. Shapes as in `wkv_read`."""
    delta = v - (state @ k_hat.unsqueeze(-1)).squeeze(-1)
    return state * log_decay.exp().unsqueeze(-2) + delta.unsqueeze(-1) * b.unsqueeze(-2)


def wkv_reference(
    r: Tensor,
    log_decay: Tensor,
    k_hat: Tensor,
    v: Tensor,
    b: Tensor,
    offsets: Tensor,
    is_query: Tensor,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The definition of `wkv`: run packed groups row by row.

    Args:
        r: As for `wkv`, [N, H, K]; all arguments have one dtype.
        log_decay: As for `wkv`, [N, H, K].
        k_hat: As for `wkv`, [N, H, K].
        v: As for `wkv`, [N, H, K].
        b: As for `wkv`, [N, H, K].
        offsets: int64 [G + 1]; group g has the rows offsets[g] to offsets[g + 1] - 1.
        is_query: Whether each row only reads the state, bool [N].
        initial_state: States before the rows, [G, H, K (value), K (key)]; zero if None.

    Returns:
        The output [N, H, K] and the states after the rows [G, H, K, K].

    Source: Spec 4.
    """
    _, heads, width = r.shape
    bounds = offsets.tolist()
    if initial_state is None:
        initial_state = r.new_zeros(len(bounds) - 1, heads, width, width)
    out, final = [], []
    for group, state in enumerate(initial_state):
        for t in range(bounds[group], bounds[group + 1]):
            out.append(wkv_read(state, r[t], log_decay[t], k_hat[t], v[t], b[t]))
            if not is_query[t]:
                state = wkv_write(state, log_decay[t], k_hat[t], v[t], b[t])
        final.append(state)
    return torch.stack(out) if out else torch.zeros_like(r), torch.stack(final) if final else initial_state
