"""Rows in time order -> rows grouped by the entities of one stream. Pure functions on index tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv.ops.groups import PackedGroups
from rwkv.ops.triton.run_plan import extended
from rwkv.pytree import map_tensors


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
        return map_tensors(lambda x: x.to(device, non_blocking=True), self)

    def padded(self, rows: int, groups: int) -> "StreamLayout":
        """The same with query rows up to `rows`, in a group of their own, and empty groups up to `groups`.

        Each added row keeps its place, and is its own token shift's source.
        """
        added = torch.arange(len(self.order), rows)
        return StreamLayout(
            order=torch.cat([self.order, added]),
            inverse=torch.cat([self.inverse, added]),
            groups=self.groups.padded(rows, groups),
            previous_review=extended(self.previous_review, rows, -1),
            source=torch.cat([self.source, added]),
            group=extended(self.group, rows, self.groups.groups),
            last_review=extended(self.last_review, groups, -1),
        )


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


@dataclass(frozen=True)
class StreamPart:
    """Some rows of a stream, side by side in it, of which no other part need be at hand.

    places int64 [n]: their rows in the batch. layout: theirs alone. source int64 [n]: where the token shift of each
    comes from; n, for what the group before the cut carries. goes_on: whether its first group began in the part before.
    is_cut: whether its last group ends in a later one. last_review: place of the last group's last review row, or -1.
    """

    places: Tensor
    layout: StreamLayout
    source: Tensor
    goes_on: bool
    is_cut: bool
    last_review: int


def cut_stream(layout: StreamLayout, rows: int) -> tuple[StreamPart, ...]:
    """A stream in parts of at most so many rows."""
    count = len(layout.order)
    return tuple(_part(layout, start, min(start + rows, count)) for start in range(0, count, rows))


def _part(layout: StreamLayout, start: int, stop: int) -> StreamPart:
    group, count = layout.group, len(layout.group)
    whole = stop - start == count
    local = layout if whole else pack_stream(group[start:stop], layout.groups.is_query[start:stop])
    goes_on = start > 0 and bool(group[start - 1] == group[start])
    is_seen = goes_on and bool(layout.previous_review[start] >= 0)
    return StreamPart(
        places=layout.order[start:stop],
        layout=local,
        source=local.source_after(torch.arange(local.groups.groups) == 0) if is_seen else local.source,
        goes_on=goes_on,
        is_cut=stop < count and bool(group[stop - 1] == group[stop]),
        last_review=int(local.last_review[-1]),
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


def last_review(x: Tensor, layout: StreamLayout, carried: Tensor | None, seen: Tensor | None) -> tuple[Tensor, Tensor]:
    """What a later batch is to carry: (x of each group's last review row [G, C], whether there is one [G])."""
    here = layout.last_review >= 0
    if carried is None or seen is None:
        carried, seen = x.new_zeros(len(here), x.shape[1]), torch.zeros_like(here)
    return torch.where(here[:, None], x[layout.last_review], carried.to(x.dtype)), here | seen
