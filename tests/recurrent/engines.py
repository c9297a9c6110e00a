"""Engines for tests, and exact comparisons of two of them."""

from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np

from rwkv.data.history import RevlogTable
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.features import Review, reviews_of
from rwkv.recurrent.identities import CodeSource
from rwkv.recurrent.person import Question
from rwkv.recurrent.predictions import Prediction
from tests.helpers import make_table, random_revlog
from tests.networks import native_network, runner_for
from tests.recurrent.parallel import Predictions, stack

NETWORK = native_network()


def some_history(seed: int = 31, reviews: int = 120, cards: int = 12) -> RevlogTable:
    return make_table(random_revlog(seed, reviews=reviews, cards=cards))


def after(table: RevlogTable, count: int) -> RevlogTable:
    """A history without its first `count` reviews."""
    return table.part(slice(count, None))


class EngineOptions(TypedDict, total=False):
    """Arguments of Engine."""

    codes: CodeSource
    memory: int
    folder: Path
    undo_limit: int


def engine_for(table: RevlogTable, network: Network = NETWORK, **options: Unpack[EngineOptions]) -> Engine:
    return Engine(runner_for(network), draw_sequence(table.user), **options)


def answered(table: RevlogTable, network: Network = NETWORK, **options: Unpack[EngineOptions]) -> Engine:
    """An engine fed a history one review at a time."""
    engine = engine_for(table, network, **options)
    for review in reviews_of(table):
        engine.answer(review)
    return engine


def now(table: RevlogTable, card: int, days: int = 3) -> Question:
    return Question(card, int(table.day_offset[-1]) + days, days, days * 86_400)


def next_review(table: RevlogTable, card: int = 0) -> Review:
    """A review that follows a history."""
    last = list(reviews_of(table))[-1]
    card_review = next(review for review in reviews_of(table) if review.card == card)
    return Review(last.review_th + 1, card, *card_review.place, last.day_offset + 2, 2, 172_800, 3, 2, 4000)


def everything(engine: Engine, path: Path) -> bytes:
    """The file that an engine saves: equal bytes mean equal states, counters, codes and fingerprints."""
    engine.save(path)
    return path.read_bytes()


def assert_equal_to_the_bit(ours: Prediction, expected: Prediction) -> None:
    assert (ours.p_ahead, ours.p_imm) == (expected.p_ahead, expected.p_imm)
    np.testing.assert_array_equal(ours.p_all, expected.p_all)


def assert_close(ours: object, expected: object, tolerance: float) -> None:
    """Compare the columns of two Predictions."""
    for name, column in vars(expected).items():
        np.testing.assert_allclose(getattr(ours, name), column, rtol=0, atol=tolerance, err_msg=name)


def one_at_a_time(table: RevlogTable, network: Network = NETWORK) -> Predictions:
    engine = engine_for(table, network)
    return stack([engine.answer(review) for review in reviews_of(table)])
