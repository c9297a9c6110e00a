"""The cases of the network's benchmarks: random histories of given sizes, with random features and labels."""

from dataclasses import dataclass

import numpy as np

from rwkv.batches.collate import Batch, collate
from rwkv.data.segments import Labels, Segment
from rwkv.model.inputs import draw_sequence
from rwkv.vocab import FEATURE_NAMES


@dataclass(frozen=True)
class Case:
    """The size of a case: users, and for each user reviews, cards, notes, decks and presets."""

    name: str
    users: int
    reviews: int
    cards: int
    notes: int
    decks: int
    presets: int


CASES = (
    Case("one", 1, 34_000, 3_400, 2_600, 15, 2),
    Case("eight", 8, 4_200, 420, 330, 6, 1),
    Case("sixty", 60, 560, 56, 45, 3, 1),
)

# About 1,500 and 16,000 rows.
CPU_CASES = (Case("rows_1500", 1, 790, 79, 60, 4, 2), Case("rows_16000", 2, 4_200, 420, 330, 6, 1))
PLAIN_CASE = Case("plain", 1, 210, 21, 16, 3, 1)


def make_batch(case: Case, seed: int) -> Batch:
    """Make a batch of the case, with a query row before every review except a card's first."""
    rng = np.random.default_rng(seed)
    segments = [_segment(case, user, rng) for user in range(1, case.users + 1)]
    return collate(segments, [draw_sequence(segment.user, seed) for segment in segments])


def _segment(case: Case, user: int, rng: np.random.Generator) -> Segment:
    card = rng.integers(0, case.cards, case.reviews)
    note, deck = rng.integers(0, case.notes, case.cards), rng.integers(0, case.decks, case.cards)
    preset = rng.integers(0, case.presets, case.decks)[deck]
    _, first = np.unique(card, return_index=True)
    queried = np.ones(case.reviews, bool)
    queried[first] = False
    review = np.repeat(np.arange(case.reviews), 1 + queried)
    is_query = np.append(review[1:] == review[:-1], False)
    rows = len(review)
    entities = {"card_id": card, "deck_id": deck[card], "note_id": note[card], "preset_id": preset[card]}
    day = np.sort(rng.integers(0, 2000, case.reviews))[review].astype(np.int32)
    features = rng.standard_normal((rows, len(FEATURE_NAMES)), np.float32)
    features[:, -1] = is_query
    rating = rng.integers(1, 5, rows).astype(np.int8)
    return Segment(
        user=user,
        number=0,
        features=features,
        is_query=is_query,
        review_th=(review + 1).astype(np.int32),
        ids={stream: ids[review].astype(np.int32) for stream, ids in entities.items()}
        | {"user_id": np.zeros(rows, np.int32)},
        note_code=note[card][review].astype(np.int32),
        day=day,
        first_day=np.zeros(rows, np.int32),
        labels=Labels(
            has_label=is_query | (rng.random(rows) < 0.9),
            elapsed_s=np.where(is_query, 0, np.exp(rng.uniform(0, 18, rows))).astype(np.int64),
            elapsed_days=np.zeros(rows, np.int64),
            rating=rating,
            y=(rating > 1).astype(np.int8),
            review_th=np.full(rows, -1, np.int32),
            is_equalize=rng.random(rows) < 0.5,
        ),
    )
