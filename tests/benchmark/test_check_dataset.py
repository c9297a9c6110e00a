"""`rwkv check` of a dataset: what it counts, the quirks it lists, and an error for each user that cannot be read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rwkv.benchmark.check_dataset import check_dataset
from rwkv.cli import main
from rwkv.data.keys import benchmark_keys
from rwkv.data.revlogs import read_history
from tests.benchmark.workspace import DAMAGES, Damage, add_users, assert_said, revlog_file, studied
from tests.collection.people import make_person
from tests.helpers import DECKS, Columns, cards_of, revlog_columns, with_value, write_history

USERS = (1, 2, 4)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    add_users(tmp_path / "data", USERS)
    return tmp_path / "data"


def test_a_clean_dataset(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(dataset)]) == 0
    text = capsys.readouterr().out
    for words in ("3 users without errors, 0 with errors", "reviews", "median", "duration, ms", "Again", "Relearning"):
        assert words in text
    assert "not in the dataset: 3 (1)" in text
    assert "known of such data" not in text


def test_the_numbers_are_those_of_the_histories(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(dataset), "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    tables = [read_history(dataset, user) for user in USERS]
    reviews = [len(table) for table in tables]
    assert fields["counts"]["reviews"] == {
        "total": sum(reviews),
        "least": min(reviews),
        "median": sorted(reviews)[1],
        "most": max(reviews),
    }
    assert fields["counts"]["counted"]["total"] == sum(len(benchmark_keys(table, False, False)) for table in tables)
    assert fields["counts"]["cards"]["total"] == fields["counts"]["notes"]["total"] == 3 * 60
    assert (fields["counts"]["decks"]["most"], fields["counts"]["presets"]["least"]) == (2, 2)
    assert fields["ranges"]["duration"] == [
        min(int(table.duration_ms.min()) for table in tables),
        max(int(table.duration_ms.max()) for table in tables),
    ]
    assert fields["ranges"]["elapsed_seconds"][0] == -1
    assert fields["ratings"] == [sum(int(np.sum(table.rating == rating)) for table in tables) for rating in range(1, 5)]
    assert sum(fields["states"]) == sum(reviews)
    assert (fields["users"], fields["absent"], fields["errors"], fields["quirks"]) == (3, [[3, 3]], [], {})


def _ratings(columns: Columns) -> Columns:
    return with_value(with_value(columns, "rating", 3, 0), "rating", 8, 5)


def _elapsed(columns: Columns) -> Columns:
    return with_value(with_value(columns, "elapsed_days", 100, -4), "elapsed_seconds", 100, -40)


def _lost(columns: Columns) -> Columns:
    return with_value(columns, "elapsed_days", 0, 9)


QUIRKS = pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_ratings, {"rating": 2, "lost_beginning": None}),
        (_elapsed, {"elapsed_days": 1, "elapsed_seconds": 1}),
        (lambda columns: with_value(columns, "duration", 7, -5), {"duration": 1}),
        (lambda columns: with_value(columns, "state", 7, 9), {"state": 1}),
        (_lost, {"lost_beginning": 1}),
    ],
)


@QUIRKS
def test_quirks_of_reviews_are_counted(
    tmp_path: Path, change: Callable[[Columns], Columns], expected: dict[str, int | None]
) -> None:
    """Of the dropped rows, those that begin a card leave it without its beginning: any number."""
    revlog = studied(1)
    write_history(tmp_path, 1, change(revlog), cards_of(revlog), DECKS)
    found = check_dataset(tmp_path).users[1].quirks
    assert found.keys() <= expected.keys()
    assert {name: found.get(name) for name, count in expected.items() if count} == {
        name: count for name, count in expected.items() if count
    }


def test_missing_notes_decks_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    revlog = studied(1)
    cards = {name: ids[5:] for name, ids in cards_of(revlog).items()}
    write_history(tmp_path, 1, revlog, cards, {name: values[:1] for name, values in DECKS.items()})
    write_history(tmp_path, 2, revlog)
    write_history(tmp_path, 3, revlog_columns([1, 2], [0, 10]), cards, DECKS)  # too few for the benchmark
    check = check_dataset(tmp_path)
    assert check.users[1].quirks["note"] == check.users[1].quirks["deck"] == 5
    assert check.users[1].quirks["preset"] == 5 + sum(cards["deck_id"] == 1)
    assert check.users[1].counts["notes"] == 55
    assert (check.users[2].quirks["no_cards"], check.users[2].quirks["no_decks"]) == (1, 1)
    assert check.users[2].counts["notes"] == check.users[2].counts["decks"] == 0
    assert check.users[3].quirks["no_keys"] == 1
    assert main(["check", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    for words in ("users without a table of cards: 2", "users without reviews that count in the benchmark: 3"):
        assert words in text


@DAMAGES
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_damaged_user(
    dataset: Path, capsys: pytest.CaptureFixture[str], damage: Damage, words: tuple[str, ...], processes: str
) -> None:
    damage(dataset, 2)
    assert main(["check", str(dataset), "--processes", processes]) == 2
    output = capsys.readouterr()
    for word in ("2 users without errors, 1 with errors", "user 2: ", "user_id=2", "next: ", *words):
        assert word in output.out
    assert "Traceback" not in output.err


def test_every_damaged_user_is_listed(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    revlog_file(dataset, 1).unlink()
    (dataset / "cards" / "user_id=4" / "data.parquet").write_bytes(b"PAR1")
    assert main(["check", str(dataset), "--json"]) == 2
    fields = json.loads(capsys.readouterr().out)
    assert [(error["user"], error["what"]) for error in fields["errors"]] == [
        (1, "The user has no revlog."),
        (4, "A parquet file cannot be read."),
    ]
    assert all(error["next"] and str(dataset) in error["where"] for error in fields["errors"])


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("simulated.json", "rerun the `rwkv simulate`"),
        (".cache/huggingface/x", "run `rwkv download --users 2 --out"),
        ("other", "restore the file from its source"),
    ],
)
def test_the_next_step_is_that_of_the_datasets_origin(
    dataset: Path, capsys: pytest.CaptureFixture[str], mark: str, words: str
) -> None:
    (dataset / mark).parent.mkdir(parents=True, exist_ok=True)
    (dataset / mark).write_text("")
    revlog_file(dataset, 2).write_bytes(b"")
    assert main(["check", str(dataset)]) == 2
    assert words in capsys.readouterr().out


def test_an_imported_folder_is_checked_with_its_cards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_person(tmp_path / "mine")
    assert main(["check", str(folder)]) == 0
    cards = folder / "collection" / "user_id=1" / "cards.parquet"
    cards.write_bytes(cards.read_bytes()[:-20])
    assert main(["check", str(folder)]) == 2
    text = capsys.readouterr().out
    assert str(cards) in text
    assert "import the collection again into a new folder" in text


def test_some_users_only(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    revlog_file(dataset, 4).write_bytes(b"")
    assert main(["check", str(dataset), "--users", "1-3"]) == 0
    assert "not in the dataset: 3 (1)" in capsys.readouterr().out
    assert main(["check", str(dataset), "--users", "7"]) == 2
    assert_said(capsys, "The user is not in the folder.", "got: 7", "one of: 1, 2, 4")


@pytest.mark.parametrize("kept", ["cards", "decks"])
def test_a_user_without_a_revlog_is_incomplete(dataset: Path, capsys: pytest.CaptureFixture[str], kept: str) -> None:
    """The exit code is that of users who were left out; damage comes first."""
    shutil.rmtree(revlog_file(dataset, 2).parent)
    shutil.rmtree(dataset / {"cards": "decks", "decks": "cards"}[kept] / "user_id=2")
    assert main(["check", str(dataset)]) == 1
    text = capsys.readouterr().out
    assert "2 users without errors, 0 with errors, 1 without a revlog" in text
    assert "not in the dataset: 2-3 (2)" in text
    assert "with cards or decks, but without a revlog: 2 (1); rerun" in text
    assert main(["check", str(dataset), "--users", "1,4"]) == 0
    assert check_dataset(dataset, [1, 4]).incomplete == []
    revlog_file(dataset, 4).write_bytes(b"")
    assert main(["check", str(dataset)]) == 2


def test_users_without_cards_and_decks_are_usual(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for table in ("cards", "decks"):
        shutil.rmtree(dataset / table / "user_id=2")
    assert main(["check", str(dataset)]) == 0
    assert "users without a table of cards: 2" in capsys.readouterr().out


def _file(root: Path) -> Path:
    (root / "collection.colpkg").write_bytes(b"")
    return root / "collection.colpkg"


def _empty(root: Path) -> Path:
    (root / "empty").mkdir()
    return root / "empty"


def _without_users(root: Path) -> Path:
    (root / "nobody" / "revlogs").mkdir(parents=True)
    return root / "nobody"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (lambda root: root / "nowhere", ("The path does not exist.", "check the path")),
        (_file, ("This is a file, not the folder of a dataset.", "rwkv import")),
        (_empty, ("The folder has no dataset.", "rwkv download")),
        (_without_users, ("The folder has no dataset.", "rwkv download")),
        (lambda root: root / "data" / "revlogs", ("one table of a dataset", "next: choose ")),
        (lambda root: root / "data" / "revlogs" / "user_id=1", ("The folder has no dataset.",)),
    ],
)
def test_what_is_no_dataset(
    dataset: Path, capsys: pytest.CaptureFixture[str], path: Callable[[Path], Path], words: tuple[str, ...]
) -> None:
    assert main(["check", str(path(dataset.parent))]) == 2
    assert_said(capsys, "error: ", *words)
