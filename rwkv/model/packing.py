"""Packing: rows in time order become groups of rows, one group for each entity of a stream."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv.ops.groups import PackedGroups
from rwkv.ops.triton.run_plan import extended
from rwkv.pytree import map_tensors


@dataclass(frozen=True)
class StreamLayout:
    """How one stream arranges the N rows of a batch in places, grouped by entity.

    Attributes:
        order: The row at each place, int64 [N].
        inverse: The place of each row, int64 [N].
        groups: The packed groups, in places.
        previous_review: Place of the latest earlier review row of the same group, int64 [N]; -1 if there is none.
        source: Place from which each place takes its token shift, int64 [N]; itself if there is no earlier review row.
        group: The group of each place, int64 [N].
        last_review: Place of each group's last review row, int64 [G]; -1 if there is none.
    """

    order: Tensor
    inverse: Tensor
    groups: PackedGroups
    previous_review: Tensor
    source: Tensor
    group: Tensor
    last_review: Tensor

    def source_after(self, seen: Tensor) -> Tensor:
        """`source` for groups that continue from states: N + g stands for the state of group g, if seen [G]."""
        from_before = (self.previous_review < 0) & seen[self.group]
        return torch.where(from_before, len(self.group) + self.group, self.source)

    def to(self, device: torch.device) -> "StreamLayout":
        """A copy on another device."""
        if device.type == "cuda":
            _ = self.groups.runs  # planned on the CPU, which need not wait for the GPU
        return map_tensors(lambda x: x.to(device, non_blocking=True), self)

    def padded(self, rows: int, groups: int) -> "StreamLayout":
        """A copy with query rows added up to `rows`, which form one group, and empty groups added up to `groups`."""
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
    """Group rows by entity and keep their order within each group.

    Args:
        entity: Entity of each row, any integers [N]; the groups are in their order.
        is_query: Whether each row is a query, bool [N].
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
    """Consecutive places of a stream, which run without the other parts.

    Attributes:
        places: Their rows in the batch, int64 [n].
        layout: The layout of these rows alone.
        source: Place from which each takes its token shift, int64 [n]; n stands for the carried state.
        goes_on: Whether the first group began in an earlier part.
        is_cut: Whether the last group continues in a later part.
        last_review: Place of the last group's last review row; -1 if there is none.
    """

    places: Tensor
    layout: StreamLayout
    source: Tensor
    goes_on: bool
    is_cut: bool
    last_review: int


def cut_stream(layout: StreamLayout, rows: int) -> tuple[StreamPart, ...]:
    """Cut a stream into parts of at most `rows` rows."""
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
    """The source of N rows that each continue a state: N + row if its entity was seen [N], else the row itself."""
    places = _places(seen)
    return torch.where(seen, len(seen) + places, places)


def _places(like: Tensor) -> Tensor:
    return torch.arange(len(like), device=like.device)


def _latest_review(is_query: Tensor) -> Tensor:
    """The place of the latest review row up to and including each place, across groups, int64 [N]; -1 without any."""
    places = torch.where(is_query, -1, torch.arange(len(is_query)))
    return places.cummax(0).values if len(places) else places


def last_review(x: Tensor, layout: StreamLayout, carried: Tensor | None, seen: Tensor | None) -> tuple[Tensor, Tensor]:
    """The token shift that each group carries over to a later batch.

    Args:
        x: Normalised rows in places of the stream, [N, C].
        layout: The stream's layout.
        carried: The shift that each group has so far, [G, C]; None for empty states.
        seen: Whether each group has one, bool [G]; None for empty states.

    Returns:
        x of each group's last review row, or the shift so far, [G, C]; and whether there is one, bool [G].
    """
    has_review = layout.last_review >= 0
    if carried is None or seen is None:
        carried, seen = x.new_zeros(len(has_review), x.shape[1]), torch.zeros_like(has_review)
    return torch.where(has_review[:, None], x[layout.last_review], carried.to(x.dtype)), has_review | seen
