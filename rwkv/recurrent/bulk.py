"""Feeding a whole history in parts by the parallel form, with the results of feeding one review at a time."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np

from rwkv.arrays import Float32s, Ints
from rwkv.data.history import RevlogTable, order_by_card
from rwkv.model.recall import immediate_recall, recall
from rwkv.model.runner import Runner, StatesAfter
from rwkv.recurrent.features import Review, reviews_of
from rwkv.recurrent.person import Person, UndoRecord
from rwkv.recurrent.predictions import Predictions, check_finite, empty_predictions, rating_probabilities
from rwkv.recurrent.rows import HistoryRows, Lookup, history_rows
from rwkv.recurrent.state_store import CURVE, Key

# Large enough for efficient products, small enough to bound the memory of states.
REVIEWS_PER_PASS = 1024

# Options of glibc's mallopt: the size from which a block is mapped by itself, and the free memory kept at the end of
# the heap. A layer's states stay below that size, since mapping such a block takes as long as filling it.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LARGE, _SPARE = 16 << 20, 64 << 20


def feed_parts(runner: Runner, person: Person, table: RevlogTable) -> Iterator[Predictions]:
    """Feed a checked history and yield the predictions of each part of at most REVIEWS_PER_PASS reviews.

    A part is fed completely before its predictions are yielded.
    """
    return_large_blocks()
    for start in range(0, len(table), REVIEWS_PER_PASS):
        part = table.part(slice(start, start + REVIEWS_PER_PASS))
        yield _feed(runner, person, list(reviews_of(part)), order_by_card(part.card).previous)


@contextmanager
def adding(person: Person, reviews: Sequence[Review]) -> Iterator[list[Lookup]]:
    """Add reviews to a person's counters and identities, and yield the lookup of each; an error in the block undoes it.

    The block computes the states, and its caller puts them into the store.
    """
    lookups: list[Lookup] = []
    records: list[UndoRecord] = []
    completed = False
    try:
        for review in reviews:
            lookups.append(person.look_up(review))
            records.append(person.add(review))
        yield lookups
        completed = True
    finally:
        if not completed:
            for record in reversed(records):
                person.revert(record)


def _feed(runner: Runner, person: Person, reviews: list[Review], previous: Ints) -> Predictions:
    """Feed one part. previous: index within the part of the card's previous review, -1 if there is none."""
    states: dict[Key, Float32s] = {}

    def keep(after: StatesAfter) -> None:
        keys = ((after.stream, number) for number in after.entities)
        states.update(zip(keys, after.states, strict=True))

    with adding(person, reviews) as lookups:
        rows = history_rows(lookups, person.identities, person.calendar)
        outputs = runner.many_rows(rows.inputs, rows.is_query, rows.numbers, person.states, keep)
        check_finite(outputs)
        predictions = _predictions(person, reviews, lookups, rows, outputs, previous)
        review_outputs = outputs[~rows.is_query]
        last_rows = {(CURVE, lookup.card): row for row, lookup in enumerate(lookups)}
        states.update({key: review_outputs[row : row + 1].copy() for key, row in last_rows.items()})
    person.store.put(states)  # keeps them in memory even if the disk is full
    return predictions


def _predictions(
    person: Person, reviews: list[Review], lookups: list[Lookup], rows: HistoryRows, outputs: Float32s, previous: Ints
) -> Predictions:
    predictions = empty_predictions(len(reviews))
    ratings = rating_probabilities(outputs[rows.is_query])
    queried = rows.review[rows.is_query]
    predictions.p_imm[queried], predictions.p_all[queried] = immediate_recall(ratings), ratings

    elapsed_s = np.array([review.elapsed_s for review in reviews], np.float64)
    within = np.flatnonzero(previous >= 0)
    review_outputs = outputs[~rows.is_query]
    predictions.p_ahead[within] = recall(review_outputs[previous[within]], elapsed_s[within])
    firsts = np.flatnonzero(previous < 0)
    curves = person.states(CURVE, [lookups[i].card for i in firsts])
    earlier = [(i, curve) for i, curve in zip(firsts.tolist(), curves, strict=True) if curve is not None]
    if earlier:
        known = [i for i, _ in earlier]
        predictions.p_ahead[known] = recall(np.concatenate([curve for _, curve in earlier]), elapsed_s[known])
    return predictions


@cache
def return_large_blocks() -> None:
    """Return blocks of at least 16 MB to the system when they are freed, for the rest of this process.

    By default glibc raises the limit up to 32 MB with each large block that is freed. Temporary arrays would then lie
    between states in the heap and could not be returned. Other C libraries are not changed.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        option(_MMAP_THRESHOLD, _LARGE)
        option(_TRIM_THRESHOLD, _SPARE)
