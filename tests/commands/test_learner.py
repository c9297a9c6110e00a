"""Who is asked for, when it is now, and what people may write for a moment."""

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from rwkv.commands.learner import Learner, choose_user, questions_at, read_learner
from rwkv.commands.moment import moment_of, written
from rwkv.data.review_times import estimated_times
from rwkv.errors import InputError
from tests.commands.people import DAY_START_S, DELETED, NEW_ALONE, REVIEWED, id_of, make_person
from tests.helpers import make_table, random_revlog, revlog_columns, write_history

DAY_S = 86_400


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    return read_learner(make_person(tmp_path_factory.mktemp("person")), 1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    root = tmp_path_factory.mktemp("plain")
    write_history(root, 3, random_revlog(1, 60, 8))
    return read_learner(root, 3)


def test_users_are_chosen(tmp_path: Path) -> None:
    for user in (2, 5):
        write_history(tmp_path, user, revlog_columns([1], [0]))
    assert choose_user(tmp_path, 5) == 5
    with pytest.raises(InputError, match="several users"):
        choose_user(tmp_path, None)
    with pytest.raises(InputError, match="not in the folder"):
        choose_user(tmp_path, 3)
    (tmp_path / "revlogs" / "user_id=5" / "data.parquet").unlink()
    (tmp_path / "revlogs" / "user_id=5").rmdir()
    assert choose_user(tmp_path, None) == 2


def test_a_collection_that_was_not_imported_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "mine.colpkg").write_bytes(b"PK")
    for path in (tmp_path, tmp_path / "mine.colpkg", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="rwkv import"):
            choose_user(path, None)


def test_now_is_now_but_never_before_the_last_review(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    assert abs(learner.now_s() - time.time()) < 5
    monkeypatch.setattr(time, "time", lambda: float(DAY_START_S))
    assert learner.now_s() == learner.end_s > DAY_START_S


def test_now_in_a_plain_dataset_is_the_end_of_the_last_review(plain: Learner) -> None:
    assert plain.now_s() == plain.end_s
    assert plain.day_of(plain.end_s) == plain.history.day_offset[-1]


def test_moments_of_a_collection(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
    monkeypatch.setattr(time, "time", lambda: now)
    assert moment_of(None, learner) == now
    assert moment_of("+3d", learner) == now + 3 * DAY_S
    assert moment_of("+1.5h", learner) == now + 5400
    assert moment_of("+30m", learner) == now + 1800
    # The collection's clock is two hours ahead of UTC, whatever the clock of this machine shows.
    assert moment_of("2026-02-01", learner) == datetime(2026, 2, 1, 10, tzinfo=UTC).timestamp()
    assert moment_of("2026-02-01T18:00", learner) == datetime(2026, 2, 1, 16, tzinfo=UTC).timestamp()
    assert moment_of("2026-02-01T18:00+00:00", learner) == datetime(2026, 2, 1, 18, tzinfo=UTC).timestamp()
    assert written(moment_of("2026-02-01T18:00", learner), learner) == "2026-02-01 18:00 (UTC+02:00)"


def test_moments_of_a_plain_dataset(plain: Learner) -> None:
    assert moment_of(None, plain) == plain.end_s
    assert moment_of("+2d", plain) == plain.end_s + 2 * DAY_S
    assert written(plain.end_s, plain) == "the end of the last review"
    assert written(plain.end_s + 1.5 * DAY_S, plain) == "1.5 days after the last review"
    with pytest.raises(InputError, match="no dates"):
        moment_of("2026-02-01", plain)


@pytest.mark.parametrize("text", ["tomorrow", "-3d", "+3w", "", "2026-13-01"])
def test_what_is_no_moment(learner: Learner, text: str) -> None:
    with pytest.raises(InputError, match="no moment"):
        moment_of(text, learner)


def test_a_moment_before_the_last_review_is_refused(learner: Learner) -> None:
    for text in ("2001-01-01", "2023-11-20"):
        with pytest.raises(InputError, match="before the last review"):
            moment_of(text, learner)


def test_questions(learner: Learner) -> None:
    """By the numbers of the history; the deleted card's number stays its own."""
    rows = np.arange(len(learner.cards))
    asked = questions_at(learner, rows, learner.end_s + 2 * DAY_S)
    expected = [card for card in range(REVIEWED + 2) if card != DELETED]
    assert [question.card for question in asked] == expected
    assert min(question.elapsed_s for question in asked if question.card < REVIEWED) == 2 * DAY_S
    assert [question.elapsed_s for question in asked if question.card >= REVIEWED] == [-1, -1]
    assert {question.day_offset for question in asked} == {learner.day_of(learner.end_s) + 2}
    alone = next(question for question in asked if question.card == NEW_ALONE)
    assert alone.place is not None
    assert alone.place.note == learner.places.note.max()
    assert not alone.place.note_missing


def test_clocks_that_were_set_back_leave_no_negative_time(learner: Learner) -> None:
    asked = questions_at(learner, np.array([0]), learner.end_s - 30 * DAY_S)
    assert (asked[0].elapsed_days, asked[0].elapsed_s) == (0, 0)


def test_ids_are_those_of_the_collection(learner: Learner) -> None:
    assert learner.cards.card_id[learner.number == 3].tolist() == [id_of(3)]


def test_estimated_times_fit_the_record() -> None:
    """On their days, in order, and elapsed_s apart where the day allows; here the first review began its day."""
    time_s = np.array([0, 50, 4000, 90_000, 90_400, 200_000])
    table = make_table(revlog_columns([1, 2, 1, 2, 3, 1], time_s))
    assert estimated_times(table).tolist() == [0, 0, 4000, 89_950, 89_950, 200_000]
    for seed in range(5):
        table = make_table(random_revlog(seed, 200, 20))
        times = estimated_times(table)
        assert np.all(np.diff(times) >= 0)
        np.testing.assert_array_equal(times // DAY_S, table.day_offset)
