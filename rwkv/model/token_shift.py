"""Token shift: each row also sees the latest earlier review row of its group (spec 4)."""

import torch
from torch import Tensor

from rwkv.model.packing import StreamLayout


def shift(x: Tensor, layout: StreamLayout, carried: Tensor | None = None, seen: Tensor | None = None) -> Tensor:
    """x [N, C] in places of the stream -> the row to which each is shifted [N, C].

    carried [G, C], seen bool [G]: a group's last review row before this batch, used where the group has none earlier.
    A row without any earlier review row sees itself. Query rows are never shifted to.
    """
    source = torch.where(layout.previous_review >= 0, layout.previous_review, torch.arange(len(x), device=x.device))
    if carried is None or seen is None:
        return x[source]
    from_carried = (layout.previous_review < 0) & seen[layout.group]
    return torch.where(from_carried[:, None], carried[layout.group].to(x.dtype), x[source])


def last_review(x: Tensor, layout: StreamLayout, carried: Tensor | None, seen: Tensor | None) -> tuple[Tensor, Tensor]:
    """What a later batch is to carry: (x of each group's last review row [G, C], whether there is one [G])."""
    here = layout.last_review >= 0
    if carried is None or seen is None:
        carried, seen = x.new_zeros(len(here), x.shape[1]), torch.zeros_like(here)
    return torch.where(here[:, None], x[layout.last_review], carried.to(x.dtype)), here | seen
