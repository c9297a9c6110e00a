"""The user, the current moment, and the forms of --at."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from rwkv.collection.learner import Learner, choose_user, questions_at, read_learner
from rwkv.collection.moment import moment_of, moment_text
from rwkv.data.collection import read_collection, write_collection
from rwkv.data.days import local_time
from rwkv.data.history import estimated_times
from rwkv.errors import InputError
from tests.collection.people import DAY_START_S, DELETED, NEW_ALONE, REVIEWED, add_review, id_of, make_person
from tests.helpers import make_table, random_revlog, revlog_columns, write_history
from tests.typed import not_none

DAY_S = 86_400


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    return read_learner(make_person(tmp_path_factory.mktemp("person")), 1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    root = tmp_path_factory.mktemp("plain")
    write_history(root, 3, random_revlog(1, 60, 8))
    return read_learner(root, 3)


@pytest.fixture(scope="module")
def far_west(learner: Learner) -> Learner:
    """Where clocks are changed twice a year."""
    assert learner.info is not None
    return replace(learner, info=replace(learner.info, timezone="America/Los_Angeles"))


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


def test_a_folder_without_an_import_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.colpkg").write_bytes(b"PK")
    for path in (tmp_path, tmp_path / "mine.colpkg", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="rwkv import"):
            choose_user(path, None)


def test_now_is_now_but_never_before_the_last_review(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    assert abs(learner.now_s() - time.time()) < 5
    monkeypatch.setattr(time, "time", lambda: float(DAY_START_S))
    assert learner.now_s() == learner.end_s > DAY_START_S


@pytest.mark.parametrize("deleted", [True, False])
def test_reviews_of_a_wrong_clock_do_not_affect_other_cards(
    tmp_path: Path, learner: Learner, deleted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One dated 2099, of a deleted card or of one that exists: left out and told, whatever came before it stays."""
    root, card = make_person(tmp_path), DELETED if deleted else 2
    add_review(root, id_of(card), datetime(2099, 1, 1, tzinfo=UTC))
    read = read_learner(root, 1)
    assert "1 review left out, dated after now, up to 2099-01-01" in caplog.text
    assert (len(read.history), read.end_s, read.reviewed) == (len(learner.history), learner.end_s, learner.reviewed)
    np.testing.assert_array_equal(read.latest_s, learner.latest_s)
    assert abs(read.now_s() - time.time()) < 5
    assert abs(moment_of("today", read) - time.time()) < 5


def test_a_card_whose_only_review_is_in_the_future_has_no_review(tmp_path: Path) -> None:
    root = make_person(tmp_path)
    add_review(root, id_of(NEW_ALONE), datetime(2099, 1, 1, tzinfo=UTC))
    read = read_learner(root, 1)
    row = read.cards.card_id == id_of(NEW_ALONE)
    assert not read.is_reviewed[row].any()
    assert np.isnan(read.latest_s[row]).all()


def test_a_history_in_the_future_hints_at_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: float(DAY_START_S - DAY_S))
    with pytest.raises(InputError, match="this computer's clock shows 2023-11-14"):
        read_learner(make_person(tmp_path), 1)


def test_the_last_review_counts_whether_its_card_exists_or_not(tmp_path: Path) -> None:
    root, at = make_person(tmp_path), datetime(2024, 2, 1, 10, tzinfo=UTC)
    add_review(root, id_of(DELETED), at)
    read = read_learner(root, 1)
    assert read.end_s == at.timestamp()
    assert read.day_of(read.end_s) == read.history.day_offset[-1]
    assert np.nanmax(read.latest_s) < read.end_s


def test_now_in_a_plain_dataset_is_the_end_of_the_last_review(plain: Learner) -> None:
    assert plain.now_s() == plain.end_s
    assert plain.day_of(plain.end_s) == plain.history.day_offset[-1]


def test_moments_of_a_collection(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
    monkeypatch.setattr(time, "time", lambda: now)
    assert moment_of(None, learner) == now
    assert moment_of("today", learner) == moment_of("now", learner) == now
    assert moment_of("+3d", learner) == now + 3 * DAY_S
    assert moment_of("+1.5d", learner) == now + 1.5 * DAY_S
    assert moment_of("+1.5h", learner) == now + 5400
    assert moment_of("+30m", learner) == now + 1800
    # The collection's clock is two hours ahead of UTC, whatever the clock of this machine shows.
    assert moment_of("2026-02-01", learner) == datetime(2026, 2, 1, 10, tzinfo=UTC).timestamp()
    assert moment_of("2026-02-01T18:00", learner) == datetime(2026, 2, 1, 16, tzinfo=UTC).timestamp()
    assert moment_of("2026-02-01T18:00+00:00", learner) == datetime(2026, 2, 1, 18, tzinfo=UTC).timestamp()
    assert moment_text(moment_of("2026-02-01T18:00", learner), learner) == "2026-02-01 18:00 (UTC+02:00)"


def test_a_date_is_possible_once_its_noon_is_past(learner: Learner) -> None:
    """That of the last review, at 14:41: as soon as the history allows."""
    east = replace(learner, info=replace(not_none(learner.info), timezone="UTC+08:00"))
    last = local_time(learner.end_s, "UTC+08:00")
    assert last.hour == 14
    assert moment_of(f"{last:%Y-%m-%d}", east) == learner.end_s
    with pytest.raises(InputError, match="before the last review"):
        moment_of(f"{last:%Y-%m-%d}T12:00", east)


@pytest.mark.parametrize("text", ["2027-03-14T09:00", "2027-11-07T09:00", "2027-03-14T00:30", "2027-03-14T03:00"])
def test_moments_on_days_of_a_clock_change(far_west: Learner, text: str) -> None:
    at_s = moment_of(text, far_west)
    assert at_s == datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("America/Los_Angeles")).timestamp()
    assert moment_text(at_s, far_west) == f"{text.replace('T', ' ')} (America/Los_Angeles)"


def test_a_time_that_the_clock_skips_is_refused(far_west: Learner) -> None:
    with pytest.raises(InputError, match="skips this time") as caught:
        moment_of("2027-03-14T02:30", far_west)
    assert "use 2027-03-14T03:30" in str(caught.value)


def test_days_ahead_follow_the_clock(far_west: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = ZoneInfo("America/Los_Angeles")
    monkeypatch.setattr(time, "time", lambda: datetime(2027, 3, 13, 9, tzinfo=zone).timestamp())
    assert moment_of("+2d", far_west) == datetime(2027, 3, 15, 9, tzinfo=zone).timestamp()
    assert moment_of("+48h", far_west) == datetime(2027, 3, 15, 10, tzinfo=zone).timestamp()


def test_moments_of_a_plain_dataset(plain: Learner) -> None:
    assert moment_of(None, plain) == plain.end_s
    assert moment_of("+2d", plain) == plain.end_s + 2 * DAY_S
    assert moment_text(plain.end_s, plain) == "the end of the last review"
    assert moment_text(plain.end_s + 1.5 * DAY_S, plain) == "1.5 days after the last review"
    with pytest.raises(InputError, match="no dates"):
        moment_of("2026-02-01", plain)


@pytest.mark.parametrize("text", ["yesterday", "-3d", "+3w", "", "2026-13-01", "2026-02-01T", "nan"])
def test_invalid_moments_are_refused(learner: Learner, text: str) -> None:
    with pytest.raises(InputError, match="The moment is not understood"):
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


def test_ids_match_the_collection(learner: Learner) -> None:
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


def test_a_card_that_anki_forgot_without_an_entry_is_new(tmp_path: Path) -> None:
    """Its reviews stay in the history, but it has a number without any, in the place where it was."""
    root = make_person(tmp_path)
    before = read_learner(root, 1)
    collection = read_collection(root, 1)
    is_reset = np.isin(collection.cards.card_id, [id_of(2), id_of(7)])
    cards = replace(collection.cards, is_new=collection.cards.is_new | is_reset)
    write_collection(root, replace(collection, cards=cards))
    after = read_learner(root, 1)
    assert len(after.history) == len(before.history)
    assert after.is_reviewed.tolist() == (before.is_reviewed & ~is_reset).tolist()
    assert np.all((after.number >= after.reviewed) == ~after.is_reviewed)
    assert len(set(after.number.tolist())) == len(after.number)
    for name, column in vars(after.places).items():
        np.testing.assert_array_equal(column[after.number], getattr(before.places, name)[before.number], err_msg=name)
    rows = np.flatnonzero(is_reset)
    at_s = after.now_s()
    assert [question.elapsed_days for question in questions_at(after, rows, at_s)] == [-1, -1]
    assert [question.place for question in questions_at(after, rows, at_s)] == [
        question.place for question in questions_at(before, rows, at_s)
    ]
