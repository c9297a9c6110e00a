"""Missing notes that share one identity code, as published: in every form, after saving and after undo."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from rwkv.batches.collate import collate
from rwkv.data.history import CardTable, RevlogTable
from rwkv.data.segments import cut_segment, whole_history
from rwkv.model.inputs import draw_sequence
from rwkv.recurrent.features import Place, Review, reviews_of
from rwkv.recurrent.person import Question
from tests.helpers import first_reviews
from tests.recurrent.engines import (
    NETWORK,
    answered,
    assert_close,
    assert_equal_to_the_bit,
    engine_for,
    everything,
    now,
    one_at_a_time,
    some_history,
)
from tests.recurrent.parallel import TOLERANCE, parallel_predictions

CARDS = 12
# Every third card has no note.
MISSING = np.arange(CARDS) % 3 == 1


def history(missing_notes: str) -> RevlogTable:
    table = some_history(reviews=150, cards=CARDS)
    one, no = np.zeros(CARDS, np.int32), np.zeros(CARDS, bool)
    cards = CardTable(np.arange(CARDS, dtype=np.int32), one, one, MISSING, no, no)
    return replace(table, cards=cards, missing_notes=missing_notes)


OWN, PUBLISHED = history("own"), history("published")


def note_codes(table: RevlogTable, start: int = 0) -> np.ndarray:
    """The note's code of each row from a review on, [N, 12]."""
    segment = cut_segment(table, np.zeros(len(table), bool), start, len(table), 0)
    return collate([segment], [draw_sequence(table.user)]).inputs()[:, 36:48].numpy()


def test_batches_have_one_code_for_all_missing_notes() -> None:
    segment = whole_history(PUBLISHED, np.zeros(len(PUBLISHED), bool))
    missing = MISSING[segment.ids["card_id"]]
    ours, own = note_codes(PUBLISHED), note_codes(OWN)
    assert len(np.unique(ours[missing], axis=0)) == 1 < len(np.unique(own[missing], axis=0))
    np.testing.assert_array_equal(ours[~missing], own[~missing])
    assert not (ours[~missing] == ours[missing][0]).all(1).any()


def test_a_later_segment_has_the_code_of_the_whole_history() -> None:
    rows = len(note_codes(PUBLISHED, 100))
    np.testing.assert_array_equal(note_codes(PUBLISHED, 100), note_codes(PUBLISHED)[-rows:])


def test_the_recurrent_form_has_the_same_codes() -> None:
    parallel = parallel_predictions(NETWORK, PUBLISHED)
    assert_close(one_at_a_time(PUBLISHED), parallel, TOLERANCE)
    assert_close(engine_for(PUBLISHED).feed(PUBLISHED), parallel, TOLERANCE)
    assert np.nanmax(np.abs(parallel_predictions(NETWORK, OWN).p_imm - parallel.p_imm)) > 10 * TOLERANCE


def test_questions_have_the_same_codes() -> None:
    """A reviewed card and a new one, both without a note."""
    engine = answered(PUBLISHED)
    card = int(np.flatnonzero(MISSING)[-1])
    expected = answered(PUBLISHED).answer(_next(card))
    question = now(PUBLISHED, card)
    assert engine.predict(question).p_imm == expected.p_imm
    new = Question(CARDS, question.day_offset, -1, -1, Place(CARDS, 0, 0, note_missing=True))
    lookup = engine._person.look_up(engine._possible_review(new))
    assert lookup.note_code == engine._person.identities.shared_note


def _next(card: int) -> Review:
    question = now(PUBLISHED, card)
    return replace(
        list(reviews_of(PUBLISHED))[-1],
        review_th=int(PUBLISHED.review_th[-1]) + 1,
        card=card,
        note=card,
        note_missing=True,
        shares_note_code=True,
        day_offset=question.day_offset,
        elapsed_days=question.elapsed_days,
        elapsed_s=question.elapsed_s,
    )


def test_shared_codes_survive_undo_and_restoring(tmp_path: Path) -> None:
    engine = answered(PUBLISHED)
    engine.undo(100)
    assert everything(engine, tmp_path / "a") == everything(answered(first_reviews(PUBLISHED, 50)), tmp_path / "b")
    restored = engine_for(OWN)
    restored.restore(tmp_path / "a", PUBLISHED)
    for review in list(reviews_of(PUBLISHED))[50:]:
        assert_equal_to_the_bit(restored.answer(review), engine.answer(review))


def test_a_branch_has_the_shared_code() -> None:
    engine = answered(first_reviews(PUBLISHED, 50))
    for review in list(reviews_of(PUBLISHED))[50:60]:
        assert_equal_to_the_bit(engine.branch().answer(review), engine.answer(review))


def test_undo_forgets_the_first_note_with_the_shared_code() -> None:
    engine = engine_for(PUBLISHED, undo_limit=200)
    for review in reviews_of(PUBLISHED):
        engine.answer(review)
    engine.undo(len(PUBLISHED))
    assert engine._person.identities.shared_note is None
    one = torch.from_numpy(engine.feed(PUBLISHED).p_imm)
    assert torch.equal(one.nan_to_num(), torch.from_numpy(engine_for(PUBLISHED).feed(PUBLISHED).p_imm).nan_to_num())


def test_the_fingerprint_depends_on_shared_codes(tmp_path: Path) -> None:
    assert answered(PUBLISHED).fingerprint != answered(OWN).fingerprint
