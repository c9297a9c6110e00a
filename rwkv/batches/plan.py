"""Planning batches: which segments share a batch, and in which order training visits the batches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, chain, islice

import numpy as np

from rwkv.data.store import ReviewStore
from rwkv.errors import InputError
from rwkv.model.inputs import counter_hash


@dataclass(frozen=True)
class SegmentPlace:
    """A segment of a user's history.

    Attributes:
        user: Number of the user.
        number: Number of the segment within the user, from 0.
        start: First review, 0-based.
        stop: One past the last review.
        rows: Number of rows, review and query rows together.
    """

    user: int
    number: int
    start: int
    stop: int
    rows: int


Group = tuple[SegmentPlace, ...]


def segment_places(store: ReviewStore, users: Iterable[int]) -> list[SegmentPlace]:
    """The segments of those users who are in the store, user by user."""
    return [
        SegmentPlace(user, number, *map(int, bounds))
        for user in users
        if store.has(user)
        for number, bounds in enumerate(store.bounds(user))
    ]


def history_places(store: ReviewStore, users: Iterable[int]) -> list[SegmentPlace]:
    """The whole histories of those users who are in the store, each as one segment."""
    stored = ((user, store.bounds(user)) for user in users if store.has(user))
    return [SegmentPlace(user, 0, 0, int(bounds[-1, 1]), int(bounds[:, 2].sum())) for user, bounds in stored]


def fingerprint(store: ReviewStore, places: Sequence[SegmentPlace]) -> str:
    """A short text that identifies a run's data: the segments, the store's settings, and the histories' contents."""
    numbers = np.array([(p.user, p.number, p.start, p.stop, p.rows) for p in places], np.int64)
    contents = b"".join(store.fingerprint(user) for user in dict.fromkeys(p.user for p in places))
    segments, histories = (sha256(data).hexdigest()[:16] for data in (numbers.tobytes(), contents))
    return f"{len(places)} segments {segments}, {store.settings}, histories {histories}"


def training_groups(places: Sequence[SegmentPlace], max_rows: int) -> list[Group]:
    """Group segments for training, longest first.

    A group has as many segments as fit into max_rows rows if each counts like the longest of the group.

    Raises:
        InputError: A segment is longer than max_rows.

    Source: Spec 5, "Batches".
    """
    ordered = sorted(places, key=lambda place: (-place.rows, place.user, place.number))
    if ordered and ordered[0].rows > max_rows:
        longest = ordered[0]
        raise InputError(
            f"A segment of user {longest.user} exceeds the rows of a training step.",
            where="MAX_TRAIN_GLOBAL_LEN",
            got=str(max_rows),
            expected=f"at least {longest.rows}",
            hint="raise MAX_TRAIN_GLOBAL_LEN, or rebuild the training store with a smaller MAX_BATCH_SIZE",
        )
    groups: list[Group] = []
    start = 0
    while start < len(ordered):
        stop = start + max_rows // ordered[start].rows
        groups.append(tuple(ordered[start:stop]))
        start = stop
    return groups


@dataclass(frozen=True)
class Share:
    """The part of a group that one of several processes computes.

    Attributes:
        places: Its segments, consecutive ones of the group; there may be none.
        first_row: Number of rows of the group before them.
    """

    places: Group
    first_row: int


def share(group: Group, part: int, parts: int) -> Share:
    """Divide a group among processes, with about equal rows for each.

    Args:
        group: The group.
        part: Number of the process, from 0.
        parts: Number of processes.
    """
    stops = list(accumulate(place.rows for place in group))
    # A segment belongs where its middle is.
    parts_of = [parts * (2 * stop - place.rows) // (2 * stops[-1]) for place, stop in zip(group, stops, strict=True)]
    before = sum(place.rows for place, its in zip(group, parts_of, strict=True) if its < part)
    return Share(tuple(place for place, its in zip(group, parts_of, strict=True) if its == part), before)


def filled_groups(places: Sequence[SegmentPlace], max_rows: int) -> list[Group]:
    """Group histories in their order, at most max_rows rows in a group; a longer history is a group by itself."""
    groups: list[list[SegmentPlace]] = []
    rows = 0
    for place in places:
        if not groups or rows + place.rows > max_rows:
            groups.append([])
            rows = 0
        groups[-1].append(place)
        rows += place.rows
    return [tuple(group) for group in groups]


def epoch_order(groups: int, seed: int, epoch: int) -> list[int]:
    """The order in which an epoch visits its groups, a permutation that depends only on (seed, epoch)."""
    return np.random.default_rng(counter_hash(seed, epoch)).permutation(groups).tolist()


def steps_from(first: int, total: int, groups: int, seed: int) -> Iterator[tuple[int, int]]:
    """The (epoch, group) of steps first..total-1 of a run, all 0-based."""
    first_epoch, visited = divmod(first, groups)
    epochs = range(first_epoch, -(-total // groups))
    visits = chain.from_iterable(((epoch, group) for group in epoch_order(groups, seed, epoch)) for epoch in epochs)
    return islice(visits, visited, visited + total - first)
