"""What the token shift of a later batch needs of this one (spec 4)."""

import torch
from torch import Tensor

from rwkv.model.packing import StreamLayout


def last_review(x: Tensor, layout: StreamLayout, carried: Tensor | None, seen: Tensor | None) -> tuple[Tensor, Tensor]:
    """What a later batch is to carry: (x of each group's last review row [G, C], whether there is one [G])."""
    here = layout.last_review >= 0
    if carried is None or seen is None:
        carried, seen = x.new_zeros(len(here), x.shape[1]), torch.zeros_like(here)
    return torch.where(here[:, None], x[layout.last_review], carried.to(x.dtype)), here | seen
