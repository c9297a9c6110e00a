"""The WKV recurrence as it is defined, one row at a time: slow, in any dtype, the yardstick of every other form."""

import torch
from torch import Tensor


def wkv_read(state: Tensor, r: Tensor, log_decay: Tensor, k_hat: Tensor, v: Tensor, b: Tensor) -> Tensor:
    """What a row reads from the state before it, were it to write (which a query row does not): S_t r_t [..., H, K].

    state [..., H, K (value), K (key)]; the other arguments [..., H, K]. Written as S_prev u + (b . r) v: reading
    needs no new state. Source: spec 4, "A form worth using".
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
    """Run packed groups of rows row by row.

    r, log_decay, k_hat, v, b: [N, H, K], all of one dtype. offsets: int64 [G + 1], group g is rows offsets[g] to
    offsets[g + 1] - 1. is_query: bool [N]; such rows read but do not write. initial_state: [G, H, K, K], zero if None.
    Returns (out [N, H, K], final_state [G, H, K (value), K (key)]). Source: spec 4.
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
