"""What `rwkv compare` refuses or skips."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from rwkv import cli
from rwkv.collection.compare_users import why_none_counts
from rwkv.data.keys import RARE_CARDS, benchmark_keys
from rwkv.data.revlogs import read_history
from tests.benchmark.workspace import add_users, assert_said, revlog_file
from tests.collection.several_people import BAD_USER, NO_KEYS_USER, make_people, run
from tests.helpers import revlog_columns, write_history


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_people(tmp_path_factory.mktemp("compare"))


def test_users_with_bad_data_are_skipped_and_reported(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(root, tmp_path / "copy")
    add_users(tmp_path / "copy" / "dataset", [BAD_USER])
    path = revlog_file(tmp_path / "copy" / "dataset", BAD_USER)
    path.write_bytes(path.read_bytes()[:-50])
    assert run(tmp_path / "copy", "--users", f"1,{BAD_USER}", "--json") == 1
    out, err = capsys.readouterr()
    assert list(json.loads(out)["users"]) == ["1"]
    assert "1 user was skipped" in err


def test_the_reason_why_no_review_counts(tmp_path: Path) -> None:
    """Too few on later days; or enough of those, but too few cards of a kind."""
    write_history(tmp_path, 1, revlog_columns([1, 2, 1], [0, 10, 90_000]))
    why = why_none_counts(read_history(tmp_path, 1), 0)
    assert why == "1 of 3 reviews is on a later day than the card's previous review, and 6 are needed"
    cards, days = np.meshgrid(np.arange(8), np.arange(25))
    write_history(tmp_path, 2, revlog_columns(cards.ravel(), days.ravel() * 86_400 + cards.ravel()))
    few = read_history(tmp_path, 2)
    assert len(benchmark_keys(few, short=False, secs=False)) == 0
    why = why_none_counts(few, 0)
    assert "192 of 200 reviews are on a later day" in why
    assert "every interval is rare after a first rating of 19 cards or fewer" in why
    card, interval = np.meshgrid(np.arange(30), np.array([0, 101, 202]))
    write_history(tmp_path, 3, revlog_columns(card.ravel(), interval.ravel() * 86_400 + card.ravel()))
    seldom = read_history(tmp_path, 3)
    assert len(benchmark_keys(seldom, short=False, secs=False)) == 0
    assert "or longer than 100 days (365 after Easy)" in why_none_counts(seldom, 0)
    assert "the 3 reviews that would count" in why_none_counts(few, 3)


@pytest.mark.parametrize("cards", [19, 20])
def test_keys_need_more_cards_than_the_rare_ones(tmp_path: Path, cards: int) -> None:
    card, day = np.meshgrid(np.arange(cards), np.arange(8))
    write_history(tmp_path, 1, revlog_columns(card.ravel(), day.ravel() * 86_400 + card.ravel()))
    assert (len(benchmark_keys(read_history(tmp_path, 1), short=False, secs=False)) > 0) == (cards > RARE_CARDS)


def test_without_users_to_compare_there_is_an_error(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, "--users", str(NO_KEYS_USER)) == 2
    err = capsys.readouterr().err
    for words in ("no reviews to compare on", "1 of 3 reviews is on a later day", "6 are needed", "more days"):
        assert err.count(words) == 1
    card, day = np.meshgrid(np.arange(RARE_CARDS), np.arange(8))
    write_history(tmp_path / "few", 1, revlog_columns(card.ravel(), day.ravel() * 86_400 + card.ravel()))
    assert cli.main(["compare", str(tmp_path / "few")]) == 2
    assert_said(capsys, "no reviews to compare on", "interval is rare", "next: use a history with more cards")
    assert run(root, "--users", "77") == 2
    assert_said(capsys, "The user is not in the folder.", "got: 77", "one of: 1, 2, 3, 4\n")
    assert run(root, "--users", "77,78") == 2
    assert_said(capsys, "None of the users is in the folder.", "got: 77, 78")
    assert cli.main(["compare", str(tmp_path), "--model", str(root / "model.pth")]) == 2
    assert_said(capsys, "folder has no reviews", str(tmp_path), "next: choose the collection")


@pytest.mark.parametrize("users", ["", "1-", "a", "1,,2", "-3", "1-3-5", "\u0663"])
def test_users_that_are_not_numbers_are_refused(root: Path, users: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(root, f"--users={users}")
    assert caught.value.code == 2
    assert "is not a list of users such as 1,4-6" in capsys.readouterr().err


def test_a_range_of_users_that_runs_backwards_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(root, "--users=6-4")
    assert caught.value.code == 2
    assert "the range 6-4 has no users; write 4-6" in capsys.readouterr().err


def test_more_users_than_there_can_be_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(root, "--users", "1-999999999999")
    assert "names more than 1000000 users" in capsys.readouterr().err


def test_a_missing_package_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsrs_rs_python", None)
    assert run(root) == 2
    assert_said(capsys, "fsrs-rs-python", "pip install")
