"""A whole history taken in by the parallel form, part by part: the numbers and states of one review at a time."""

import ctypes
from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from torch import Tensor

from rwkv.arrays import Ints
from rwkv.data.history import RevlogTable, order_by_card
from rwkv.model.curve import immediate_recall, recall
from rwkv.recurrent.features import Review, reviews_of
from rwkv.recurrent.forward import After, Passes
from rwkv.recurrent.person import Person, Taken
from rwkv.recurrent.predictions import Predictions, check_finite, nothing_said, p_logits
from rwkv.recurrent.rows import Look, Rows, rows_of
from rwkv.recurrent.state_store import CURVE, Key

# Reviews that go through the network together: large products, and states of bounded size.
TOGETHER = 1024

# glibc's numbers of the options; from which size on blocks are the system's own, and how much may lie free at the end
# of the heap. A layer's states take less: to get such a block from the system takes as long as to fill it.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LARGE, _SPARE = 16 << 20, 64 << 20


def feed_parts(passes: Passes, person: Person, table: RevlogTable) -> Iterator[Predictions]:
    """Take a checked history in; yields what was said of each part of at most TOGETHER reviews, once it is taken in."""
    large_blocks_apart()
    for start in range(0, len(table), TOGETHER):
        part = table.part(slice(start, start + TOGETHER))
        yield _feed(passes, person, list(reviews_of(part)), order_by_card(part.card).previous)


def _feed(passes: Passes, person: Person, reviews: list[Review], previous: Ints) -> Predictions:
    """previous: by review the card's review before in this part, -1 where there is none."""
    taken: list[Taken] = []
    done = False
    try:
        looks = []
        for review in reviews:
            looks.append(person.look(review))
            taken.append(person.take_in(review))
        rows = rows_of(looks, person.identities, person.calendar)
        states: dict[Key, Tensor] = {}

        def keep(after: After) -> None:
            keys = ((after.stream, number) for number in after.entities)
            states.update(zip(keys, after.states, strict=True))

        x = passes.many(rows.inputs, rows.is_query, rows.numbers, person.states, keep)
        outputs = passes.read_out(x)
        check_finite(outputs)
        said = _said(person, reviews, looks, rows, outputs, previous)
        of_reviews = outputs[~rows.is_query]
        curves = {(CURVE, found.numbers[0]): row for row, found in enumerate(looks)}
        states.update({key: of_reviews[row : row + 1].clone() for key, row in curves.items()})
        done = True
    finally:
        if not done:
            for one in reversed(taken):
                person.revert(one)
    person.store.put(states)  # holds them also where the disk is full
    return said


def _said(
    person: Person, reviews: list[Review], looks: list[Look], rows: Rows, outputs: Tensor, previous: Ints
) -> Predictions:
    said = nothing_said(len(reviews))
    ratings = p_logits(outputs[rows.is_query])
    queried = rows.review[rows.is_query].numpy()
    said.p_imm[queried], said.p_all[queried] = immediate_recall(ratings).numpy(), ratings.softmax(-1).numpy()

    elapsed_s = torch.tensor([review.elapsed_s for review in reviews], dtype=torch.float64)
    within = np.flatnonzero(previous >= 0)
    of_reviews = outputs[~rows.is_query]
    said.p_ahead[within] = recall(of_reviews[previous[within]], elapsed_s[within]).numpy()
    firsts = np.flatnonzero(previous < 0)
    curves = person.states(CURVE, [looks[i].numbers[0] for i in firsts])
    earlier = [(i, curve) for i, curve in zip(firsts.tolist(), curves, strict=True) if curve is not None]
    if earlier:
        where = [i for i, _ in earlier]
        said.p_ahead[where] = recall(torch.cat([curve for _, curve in earlier]), elapsed_s[where]).numpy()
    return said


@cache
def large_blocks_apart() -> None:
    """Have blocks of 16 megabytes and more returned to the system when they are freed, in this process from now on.

    glibc otherwise raises that size with each large block that is freed, up to 32 MB: then states that stay lie between
    what passes have used, which can no longer be returned. Other C libraries are left as they are.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        option(_MMAP_THRESHOLD, _LARGE)
        option(_TRIM_THRESHOLD, _SPARE)
