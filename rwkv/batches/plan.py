"""Which segments go together into one batch. Pure functions on what the store says of its users."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, islice

import numpy as np

from rwkv.data.store import ReviewStore
from rwkv.errors import InputError
from rwkv.model.inputs import counter_hash


@dataclass(frozen=True)
class SegmentPlace:
    """Where a segment lies: reviews start..stop-1 of a user, which make `rows` rows. number: within the user."""

    user: int
    number: int
    start: int
    stop: int
    rows: int


Group = tuple[SegmentPlace, ...]


def segment_places(store: ReviewStore, users: Iterable[int]) -> list[SegmentPlace]:
    """The segments of those of the users that are in the store, user by user."""
    return [
        SegmentPlace(user, number, *map(int, bounds))
        for user in users
        if store.has(user)
        for number, bounds in enumerate(store.bounds(user))
    ]


def history_places(store: ReviewStore, users: Iterable[int]) -> list[SegmentPlace]:
    """The whole histories of those of the users that are in the store, each as one sequence."""
    found = ((user, store.bounds(user)) for user in users if store.has(user))
    return [SegmentPlace(user, 0, 0, int(bounds[-1, 1]), int(bounds[:, 2].sum())) for user, bounds in found]


def fingerprint(store: ReviewStore, places: Sequence[SegmentPlace]) -> str:
    """What a run learns from, in a few letters: all segments, how the store was made, and what the histories hold."""
    numbers = np.array([(p.user, p.number, p.start, p.stop, p.rows) for p in places], np.int64)
    contents = b"".join(store.fingerprint(user) for user in dict.fromkeys(p.user for p in places))
    segments, histories = (sha256(data).hexdigest()[:16] for data in (numbers.tobytes(), contents))
    return f"{len(places)} segments {segments}, {store.settings}, histories {histories}"


def training_groups(places: Sequence[SegmentPlace], max_rows: int) -> list[Group]:
    """Cut the segments, longest first, into groups of at most max_rows rows, padding to the longest counted in.

    Raises InputError for a segment longer than max_rows. Source: spec 5, "Batches".
    """
    ordered = sorted(places, key=lambda place: (-place.rows, place.user, place.number))
    if ordered and ordered[0].rows > max_rows:
        longest = ordered[0]
        raise InputError(
            f"A segment of user {longest.user} is longer than a training step may be.",
            where="MAX_TRAIN_GLOBAL_LEN",
            got=str(max_rows),
            expected=f"at least {longest.rows}",
            hint="raise MAX_TRAIN_GLOBAL_LEN, or make the training store again with a smaller MAX_BATCH_SIZE",
        )
    groups: list[Group] = []
    start = 0
    while start < len(ordered):
        stop = start + max_rows // ordered[start].rows
        groups.append(tuple(ordered[start:stop]))
        start = stop
    return groups


def packed_groups(places: Sequence[SegmentPlace], max_rows: int) -> list[Group]:
    """Cut histories, in their order, into groups of at most max_rows rows; a longer one is alone."""
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
    """The order in which an epoch visits its groups: a permutation that (seed, epoch) alone decides."""
    return np.random.default_rng(counter_hash(seed, epoch)).permutation(groups).tolist()


def steps_from(first: int, total: int, groups: int, seed: int) -> Iterator[tuple[int, int]]:
    """(epoch, group) of steps first..total-1, 0-based, of a run over all epochs."""
    first_epoch, done_in_it = divmod(first, groups)
    epochs = range(first_epoch, -(-total // groups))
    visits = chain.from_iterable(((epoch, group) for group in epoch_order(groups, seed, epoch)) for epoch in epochs)
    return islice(visits, done_in_it, done_in_it + total - first)
