"""Packing: rows in time order become groups of rows, one group for each entity of a stream."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rwkv.model.state import LayerState
from rwkv.ops.groups import PADDED_GROUP, PackedGroups
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
        """A copy with query rows added up to `rows`, in groups of their own, and empty groups added up to `groups`."""
        count = len(self.order)
        added = torch.arange(count, rows)
        return StreamLayout(
            order=torch.cat([self.order, added]),
            inverse=torch.cat([self.inverse, added]),
            groups=self.groups.padded(rows, groups),
            previous_review=extended(self.previous_review, rows, -1),
            source=torch.cat([self.source, added]),
            group=torch.cat([self.group, self.groups.groups + (added - count) // PADDED_GROUP]),
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
    """Consecutive places of a stream, which run without its other places.

    Attributes:
        order: For each place, the number of its row among the rows given to the stream, int64 or int32 [n].
        source: Place from which each takes its token shift, int64 or int32 [n]; n + i stands for the state of group i.
        groups: The packed groups.
        goes_on: Whether the first groups continue from states; the others start from empty ones.
        last_review: Place of the last review row of each group whose state is kept, the last groups, int64 [kept]; -1
            if there is none.
        all_reviewed: Whether every kept group has a review row in the part; then no state before the part is read.
    """

    order: Tensor
    source: Tensor
    groups: PackedGroups
    goes_on: bool
    last_review: Tensor
    all_reviewed: bool

    @property
    def kept(self) -> int:
        """The number of last groups whose states after the part are kept."""
        return len(self.last_review)

    @property
    def last_places(self) -> Tensor:
        """`last_review`, with any place of the part for a group without one, int64 [kept]."""
        return self.last_review if self.all_reviewed else self.last_review.clamp(min=0)

    def to(self, device: torch.device) -> "StreamPart":
        """This part on a device."""
        if self.order.device == device:
            return self
        if device.type == "cuda":
            _ = self.groups.runs  # planned on the CPU, which need not wait for the GPU
        return map_tensors(lambda x: x.to(device, non_blocking=True), self)

    def state_after(
        self, before: LayerState | None, time_x: Tensor, channel_x: Tensor, wkv: Tensor
    ) -> LayerState | None:
        """The state of a layer after the part, of the kept groups; None if none is kept.

        Args:
            before: States of the first groups before the part; None for empty ones.
            time_x: Normalised input of the time mixer at `last_places`, [kept, C].
            channel_x: Normalised input of the channel mixer there.
            wkv: States of the recurrence after the part, [kept, H, K, K].
        """
        if not self.kept:
            return None
        has_review = self.last_review >= 0
        if self.all_reviewed:  # most parts, at a few launches on a GPU
            return LayerState(time_x.float(), channel_x.float(), wkv, has_review)
        if before is None:
            before = LayerState(time_x[:0], channel_x[:0], wkv[:0], has_review[:0])
        return LayerState(
            time_shift=torch.where(has_review[:, None], time_x.float(), self._of_kept(before.time_shift).float()),
            channel_shift=torch.where(
                has_review[:, None], channel_x.float(), self._of_kept(before.channel_shift).float()
            ),
            wkv=wkv,
            seen=has_review | self._of_kept(before.seen),
        )

    def _of_kept(self, first: Tensor) -> Tensor:
        """The entries of the kept groups, from those of some first groups, [first, ...]; zero for the others."""
        return extended(first[self.groups.groups - self.kept :], self.kept, 0)


def whole_stream(layout: StreamLayout, seen: Tensor, keeps_states: bool) -> StreamPart:
    """A stream in one part, whose groups all continue from states; seen [G] as in `StreamLayout.source_after`."""
    last_review = layout.last_review if keeps_states else layout.last_review[:0]
    return StreamPart(
        order=layout.order,
        source=layout.source_after(seen),
        groups=layout.groups,
        goes_on=True,
        last_review=last_review,
        all_reviewed=bool((last_review >= 0).all()),
    )


@dataclass(frozen=True)
class CutStreams:
    """The streams of a batch, each cut into parts. All streams are cut alike, since they have the same rows.

    Attributes:
        parts: The parts of each stream, in the order of the network. A stream in one part leaves the rows in its own
            order, to which the next stream's `order` refers; one in several parts puts them back where they were.
        back: Place of each row after the last stream, [N]; None if that is in time order.
    """

    parts: tuple[tuple[StreamPart, ...], ...]
    back: Tensor | None


def cut_streams(layouts: Sequence[StreamLayout], rows: int) -> CutStreams:
    """Cut streams into parts of at most `rows` rows."""
    streams, back = [], None
    for layout in layouts:
        parts = cut_stream(layout, rows)
        if back is not None:
            parts = tuple(replace(part, order=back[part.order]) for part in parts)
        streams.append(parts)
        if len(parts) == 1:
            back = layout.inverse
    return CutStreams(tuple(streams), back)


def cut_stream(layout: StreamLayout, rows: int) -> tuple[StreamPart, ...]:
    """Cut a stream of rows in time order into parts of at most `rows` rows; a cut group carries over its state."""
    count = len(layout.order)
    return tuple(_part(layout, start, min(start + rows, count)) for start in range(0, count, rows))


def _part(layout: StreamLayout, start: int, stop: int) -> StreamPart:
    group, count = layout.group, len(layout.group)
    whole = stop - start == count
    local = layout if whole else pack_stream(group[start:stop], layout.groups.is_query[start:stop])
    goes_on = start > 0 and bool(group[start - 1] == group[start])
    is_seen = goes_on and bool(layout.previous_review[start] >= 0)
    is_cut = stop < count and bool(group[stop - 1] == group[stop])
    last_review = local.last_review[-1:] if is_cut else local.last_review[:0]
    return StreamPart(
        order=layout.order[start:stop],
        source=local.source_after(torch.arange(local.groups.groups) == 0) if is_seen else local.source,
        groups=local.groups,
        goes_on=goes_on,
        last_review=last_review,
        all_reviewed=bool((last_review >= 0).all()),
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
