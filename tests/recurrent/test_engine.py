"""The engine's predictions equal the parallel form's and do not depend on the future."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from rwkv.data.history import RevlogTable
from rwkv.data.revlogs import read_history
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network, compute_weights
from rwkv.model.spec import PUBLISHED
from rwkv.recurrent.engine import Engine, Prediction
from rwkv.recurrent.features import Review, reviews_of
from tests.conformance import vectors
from tests.helpers import (
    DECKS,
    USER,
    IntColumns,
    cards_of,
    first_reviews,
    make_table,
    random_revlog,
    read_written,
    revlog_columns,
    tables,
)
from tests.networks import recipe_network, runner_for, small_network
from tests.recurrent.parallel import TOLERANCE, parallel_predictions, stack

REAL = vectors.wanted_folder().parent / "real"
NETWORK = small_network()


def answers(network: Network, table: RevlogTable) -> list[Prediction]:
    engine = Engine(runner_for(network), draw_sequence(table.user))
    return [engine.answer(review) for review in reviews_of(table)]


def assert_both_forms_agree(network: Network, table: RevlogTable) -> None:
    ours, parallel = stack(answers(network, table)), parallel_predictions(network, table)
    for name, expected in vars(parallel).items():
        np.testing.assert_allclose(getattr(ours, name), expected, rtol=0, atol=TOLERANCE, err_msg=name)


def assert_same_answers(ours: list[Prediction], expected: list[Prediction]) -> None:
    """Compare exactly."""
    for name, column in vars(stack(expected)).items():
        np.testing.assert_array_equal(getattr(stack(ours), name), column, err_msg=name)


@settings(max_examples=25)
@given(table=tables(max_reviews=30))
def test_both_forms_agree(table: RevlogTable) -> None:
    assert_both_forms_agree(NETWORK, table)


def test_both_forms_agree_over_a_longer_history() -> None:
    assert_both_forms_agree(NETWORK, make_table(random_revlog(11, reviews=400, cards=25)))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real histories at {REAL}")
def test_both_forms_agree_on_a_real_history() -> None:
    assert_both_forms_agree(recipe_network(PUBLISHED), first_reviews(read_history(REAL, 4), 300))


def test_predictions_depend_on_the_past() -> None:
    """Otherwise the comparisons above would prove little."""
    columns = random_revlog(12, reviews=60, cards=4)
    table = make_table(columns)
    changed = make_table({**columns, "rating": np.append(5 - columns["rating"][:30], columns["rating"][30:])})
    ours, other = stack(answers(NETWORK, table)), stack(answers(NETWORK, changed))
    for name, column in vars(ours).items():
        assert np.nanmax(np.abs(column[40:] - getattr(other, name)[40:])) > 100 * TOLERANCE, name


def test_a_card_whose_beginning_is_missing() -> None:
    """Its first review has a query row but no curve."""
    columns = revlog_columns([1, 2, 2, 1], [0, 1000, 90_000, 200_000])
    columns["elapsed_days"] = np.array([-1, 5, 1, 2])
    columns["elapsed_seconds"] = np.array([-1, 432_001, 89_000, 200_000])
    table = make_table(columns)
    assert_both_forms_agree(NETWORK, table)
    first, lost, second, _ = answers(NETWORK, table)
    assert (first.p_ahead, first.p_imm, first.p_all) == (None, None, None)
    assert lost.p_ahead is None
    assert lost.p_imm is not None
    assert second.p_ahead is not None


def test_a_card_that_begins_again() -> None:
    """A second first review has a curve but no query row."""
    columns = revlog_columns([1, 1, 1], [0, 1000, 2000])
    columns["elapsed_days"] = np.array([-1, -1, 0])
    columns["elapsed_seconds"] = np.array([-1, -1, 1000])
    table = make_table(columns)
    assert_both_forms_agree(NETWORK, table)
    again = answers(NETWORK, table)[1]
    assert again.p_ahead is not None
    assert (again.p_imm, again.p_all) == (None, None)


def test_probabilities() -> None:
    for answer in answers(NETWORK, make_table(random_revlog(13, reviews=40, cards=5))):
        if answer.p_all is not None:
            assert answer.p_all.dtype == np.float32
            assert answer.p_all.sum() == pytest.approx(1, abs=1e-6)
            assert answer.p_imm == pytest.approx(1 - answer.p_all[0], abs=1e-6)


def truncated(columns: IntColumns, reviews: int) -> IntColumns:
    return {name: column[:reviews] for name, column in columns.items()}


def test_predictions_do_not_depend_on_the_future(tmp_path: Path) -> None:
    """A shorter history and one that continues differently give the same predictions."""
    columns = random_revlog(14, reviews=120, cards=30)
    cards = cards_of(columns)
    whole = answers(NETWORK, read_written(tmp_path / "whole", columns, cards, DECKS))
    before = truncated(columns, 70)
    known = {name: column[np.isin(cards["card_id"], before["card_id"])] for name, column in cards.items()}
    assert len(known["card_id"]) < len(cards["card_id"])
    assert_same_answers(answers(NETWORK, read_written(tmp_path / "before", before, known, DECKS)), whole[:70])

    other = {**columns, "rating": np.append(before["rating"], 5 - columns["rating"][70:])}
    otherwise = answers(NETWORK, read_written(tmp_path / "otherwise", other, cards, DECKS))
    assert_same_answers(otherwise[:71], whole[:71])
    assert stack(otherwise).p_imm[119] != stack(whole).p_imm[119]


def test_a_prediction_does_not_depend_on_its_own_answer() -> None:
    reviews = list(reviews_of(make_table(random_revlog(15, reviews=30, cards=4), user=USER)))

    def last_answer(review: Review) -> Prediction:
        engine = Engine(runner_for(NETWORK), draw_sequence(USER))
        return [engine.answer(one) for one in [*reviews[:-1], review]][-1]

    other = replace(reviews[-1], rating=5 - reviews[-1].rating, duration_ms=77_777, state=3)
    assert_same_answers([last_answer(other)], [last_answer(reviews[-1])])


def test_codes_depend_on_the_draw() -> None:
    table = make_table(random_revlog(16, reviews=30, cards=4))
    engine = Engine(runner_for(NETWORK), draw_sequence(table.user + 1))
    others = [engine.answer(review) for review in reviews_of(table)]
    assert stack(others).p_imm[-1] != stack(answers(NETWORK, table)).p_imm[-1]


def test_states_are_float32_in_a_network_of_bfloat16() -> None:
    """Sums may round differently to 8 bits, so the forms are less close than in float32. Rounding the states too would
    increase the difference twenty times."""
    table = make_table(random_revlog(17, reviews=80, cards=6))
    network = bfloat16_network()
    ours, parallel = stack(answers(network, table)), parallel_predictions(network, table)
    for name, expected in vars(parallel).items():
        np.testing.assert_allclose(getattr(ours, name), expected, rtol=0, atol=1e-3, err_msg=name)


def bfloat16_network() -> Network:
    network = Network(NETWORK.spec)
    network.load_state_dict(compute_weights(NETWORK.state_dict(), torch.bfloat16), assign=True)
    return network
