"""Feeding in bulk gives the predictions and states of feeding one review at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from rwkv.data.history import RevlogTable
from rwkv.data.revlogs import read_history
from rwkv.errors import CheckpointError, HistoryError
from rwkv.model.checkpoint import weights_of
from rwkv.model.inputs import draw_sequence
from rwkv.model.native_runner import NativeRunner
from rwkv.model.network import Network
from rwkv.model.spec import PUBLISHED
from rwkv.recurrent import bulk
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.features import reviews_of
from tests.conformance import vectors
from tests.helpers import first_reviews, make_table, random_revlog, tables
from tests.networks import recipe_network, small_network
from tests.ops.groups import needs_native
from tests.recurrent.engines import (
    NETWORK,
    after,
    answered,
    assert_close,
    engine_for,
    next_review,
    now,
    one_at_a_time,
    some_history,
)
from tests.recurrent.parallel import TOLERANCE, parallel_predictions
from tests.typed import not_none

REAL = vectors.wanted_folder().parent / "real"
PUBLISHED_NETWORK = recipe_network(PUBLISHED)


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts so short that most cards and all decks extend over many of them."""
    monkeypatch.setattr(bulk, "REVIEWS_PER_PASS", 17)


def assert_bulk_equals_one_at_a_time(table: RevlogTable, network: Network = NETWORK) -> None:
    fed, walked = engine_for(table, network), answered(table, network)
    assert_close(fed.feed(table), one_at_a_time(table, network), TOLERANCE)
    assert (fed.reviews, fed.cards, fed.fingerprint) == (walked.reviews, walked.cards, walked.fingerprint)
    for card in walked.cards:
        ours, expected = fed.predict(now(table, card)), walked.predict(now(table, card))
        np.testing.assert_allclose(not_none(ours.p_all), not_none(expected.p_all), rtol=0, atol=TOLERANCE)
        assert ours.p_ahead == pytest.approx(expected.p_ahead, abs=TOLERANCE)


@settings(max_examples=15)
@given(table=tables(max_reviews=30))
def test_bulk_equals_one_at_a_time(table: RevlogTable) -> None:
    assert_bulk_equals_one_at_a_time(table)


@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize("network", [NETWORK, small_network()], ids=["native", "small"])
def test_states_continue_from_part_to_part(network: Network) -> None:
    assert_bulk_equals_one_at_a_time(some_history(reviews=150), network)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real histories at {REAL}")
@pytest.mark.parametrize("user", [1, 4])
def test_real_histories(user: int) -> None:
    """Bulk, one at a time and the parallel form give the same predictions."""
    table = first_reviews(read_history(REAL, user), 700)
    parallel = parallel_predictions(PUBLISHED_NETWORK, table)
    assert_close(engine_for(table, PUBLISHED_NETWORK).feed(table), parallel, TOLERANCE)
    assert_close(one_at_a_time(table, PUBLISHED_NETWORK), parallel, TOLERANCE)


def test_conformance_users() -> None:
    folder = vectors.vectors_folder()
    for user in vectors.users(folder):
        table = first_reviews(vectors.history(folder, user), 400)
        parallel = parallel_predictions(NETWORK, table)
        assert_close(engine_for(table).feed(table), parallel, TOLERANCE)
        assert_close(one_at_a_time(table), parallel, TOLERANCE)


def test_bulk_then_one_at_a_time_then_bulk() -> None:
    table = some_history(reviews=120)
    engine = engine_for(table)
    reviews = list(reviews_of(table))
    fed = engine.feed(first_reviews(table, 50)).p_imm
    walked = [engine.answer(review).p_imm for review in reviews[50:80]]
    rest = engine.feed(after(table, 80)).p_imm
    ours = np.concatenate([fed, np.array(walked, float), rest])
    np.testing.assert_allclose(ours, one_at_a_time(table).p_imm, rtol=0, atol=TOLERANCE)


@needs_native
def test_threads_change_nothing() -> None:
    table = some_history(reviews=300)
    one, two = (NativeRunner(weights_of(NETWORK), threads) for threads in (1, 2))
    fed = Engine(one, draw_sequence(table.user)).feed(table)
    assert_close(Engine(two, draw_sequence(table.user)).feed(table), fed, 0)


def test_later_reviews_change_no_earlier_prediction() -> None:
    """The later reviews are in the same part."""
    columns = random_revlog(33, reviews=100, cards=8)
    table = make_table(columns)
    other = make_table({**columns, "rating": np.append(columns["rating"][:60], 5 - columns["rating"][60:])})
    ours, changed = engine_for(table).feed(table), engine_for(other).feed(other)
    np.testing.assert_allclose(ours.p_imm[:61], changed.p_imm[:61], rtol=0, atol=1e-6)
    assert np.nanmax(np.abs(ours.p_imm[61:] - changed.p_imm[61:])) > 1e-3


@pytest.mark.parametrize(("days", "seconds"), [(0, 0), (-5, -400_000), (20_000, 2_000_000_000)])
def test_odd_intervals(days: int, seconds: int) -> None:
    """Zero, negative from clocks that were set back (counted as 0), and beyond the last point of the curve."""
    table = some_history()
    later = np.arange(len(table)) % 7 == 3
    later &= table.elapsed_days >= 0
    odd = replace(
        table,
        elapsed_days=np.where(later, days, table.elapsed_days).astype(np.int32),
        elapsed_s=np.where(later, seconds, table.elapsed_s),
    )
    ours = engine_for(odd).feed(odd)
    assert (np.isfinite(ours.p_ahead) == np.isfinite(engine_for(table).feed(table).p_ahead)).all()
    assert_close(ours, one_at_a_time(odd), TOLERANCE)


def test_a_card_moved_to_another_deck() -> None:
    """The card moves in the middle of a history that is fed in two parts."""
    table = some_history()
    moved = table.cards.deck.copy()
    moved[table.card[70]] = 50
    rest = replace(after(table, 60), cards=replace(table.cards, deck=moved))
    fed, walked, stayed = (answered(first_reviews(table, 60)) for _ in range(3))
    ours, expected = fed.feed(rest).p_imm, [not_none(walked.answer(review).p_imm) for review in reviews_of(rest)]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE)
    assert abs(ours[10] - stayed.feed(after(table, 60)).p_imm[10]) > 1e-3


def test_an_empty_history() -> None:
    table = some_history()
    engine = engine_for(table)
    assert len(engine.feed(first_reviews(table, 0)).p_imm) == 0
    assert engine.reviews == 0


def test_a_bad_row_changes_nothing() -> None:
    table = some_history()
    engine = answered(first_reviews(table, 60))
    before = engine.fingerprint
    rest = after(table, 60)
    wrong_rating, wrong_day = rest.rating.copy(), rest.day_offset.copy()
    wrong_rating[7], wrong_day[9] = 7, wrong_day[8] - 1
    for broken, words in (
        (replace(rest, rating=wrong_rating), ("rating", "row 8", "7")),
        (replace(rest, day_offset=wrong_day), ("day_offset", "row 10")),
        (replace(rest, review_th=rest.review_th[::-1].copy()), ("review_th", "row 2")),
        (first_reviews(table, 60), ("review_th", "row 1")),
    ):
        with pytest.raises(HistoryError) as caught:
            engine.feed(broken)
        assert all(word in str(caught.value) for word in words)
        assert (engine.reviews, engine.fingerprint) == (60, before)
    engine.undo(60)  # the reviews before can still be undone
    assert engine.reviews == 0


def test_predictions_that_are_not_finite_change_nothing() -> None:
    table = some_history()
    network = Network(NETWORK.spec)
    network.load_state_dict(NETWORK.state_dict() | {"p_linear.bias": torch.full((4,), torch.nan)})
    engine = engine_for(table, network)
    empty = engine.fingerprint
    for act in (lambda: engine.feed(table), lambda: engine.answer(next_review(table))):
        with pytest.raises(CheckpointError, match="not finite"):
            act()
        assert (engine.reviews, engine.cards, engine.fingerprint) == (0, [], empty)
