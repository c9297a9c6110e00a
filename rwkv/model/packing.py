"""Rows in time order -> rows grouped by the entities of one stream. Pure functions on index tensors."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv.ops.groups import PackedGroups


@dataclass(frozen=True)
class StreamLayout:
    """How one stream sees the rows of a batch: a permutation, its groups, and where each row's token shift comes from.

    order int64 [N]: the row at each place of the stream; inverse int64 [N]: the place of each row.
    groups: the packed groups, in places. previous_review int64 [N]: place of the latest earlier review row of the same
    group, -1 if there is none. source int64 [N]: where its token shift comes from, itself if there is none.
    group int64 [N]: the group of each place. last_review int64 [G]: place of a group's last
    review row, -1 if it has none.
    """

    order: Tensor
    inverse: Tensor
    groups: PackedGroups
    previous_review: Tensor
    source: Tensor
    group: Tensor
    last_review: Tensor

    def source_after(self, seen: Tensor) -> Tensor:
        """`source` where groups go on: N + g for the last review row of group g before this batch, if seen [G]."""
        from_before = (self.previous_review < 0) & seen[self.group]
        return torch.where(from_before, len(self.group) + self.group, self.source)

    def to(self, device: torch.device) -> "StreamLayout":
        """The same on another device."""
        if device.type == "cuda":
            _ = self.groups.runs  # planned here, where nothing waits for the GPU
        return self.map(lambda x: x.to(device, non_blocking=True))

    def map(self, change: Callable[[Tensor], Tensor]) -> "StreamLayout":
        """The same with all its tensors changed, those of its groups' plans included."""
        tensors = {name: change(x) for name, x in vars(self).items() if isinstance(x, Tensor)}
        return StreamLayout(**tensors, groups=self.groups.map(change))


def pack_stream(entity: Tensor, is_query: Tensor) -> StreamLayout:
    """Group rows by entity, keeping their order within each.

    entity: int [N], any numbers, rows in time order. is_query: bool [N]. Groups are ordered by entity number.
    """
    order = torch.argsort(entity, stable=True)
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order))
    _, lengths = torch.unique_consecutive(entity[order], return_counts=True)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    grouped_query = is_query[order]
    group = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    latest = _latest_review(grouped_query)
    previous = torch.cat([latest.new_full((1,), -1), latest[:-1]]) if len(latest) else latest
    previous = torch.where(previous >= offsets[:-1][group], previous, -1)
    first = offsets[:-1]
    last = latest[offsets[1:] - 1]
    return StreamLayout(
        order=order,
        inverse=inverse,
        groups=PackedGroups(offsets, grouped_query),
        previous_review=previous,
        source=torch.where(previous >= 0, previous, _places(previous)),
        group=group,
        last_review=torch.where(last >= first, last, -1),
    )


def source_of_states(seen: Tensor) -> Tensor:
    """The place each of N rows is shifted to when it follows a state of its own: N + row if seen [N], else itself."""
    places = _places(seen)
    return torch.where(seen, len(seen) + places, places)


def _places(like: Tensor) -> Tensor:
    return torch.arange(len(like), device=like.device)


def _latest_review(is_query: Tensor) -> Tensor:
    """Place of the latest review row up to and including each place [N], across groups; -1 before the first."""
    places = torch.where(is_query, -1, torch.arange(len(is_query)))
    return places.cummax(0).values if len(places) else places
