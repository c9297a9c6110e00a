"""Repeated imports: the same command after a kill, and later states of a collection."""

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from rwkv.cli import main
from rwkv.collection.import_collections import import_collections
from rwkv.data.collection import list_collections, read_collection, read_info
from rwkv.data.imports import imported
from rwkv.data.imports.imported import ImportChoices
from rwkv.data.revlogs import read_history
from rwkv.errors import InputError
from tests.data.imports.anki.small import CREATED_S, write_collection_file
from tests.typed import preceded

START_MS = CREATED_S * 1000 + 3_600_000
DAY_MS = 86_400_000
# By day, of cards 11 and 12.
WEEKS = [(START_MS + day * DAY_MS + card, card, 3, min(day, 1)) for day in range(10) for card in (11, 12)]
OTHER = [(START_MS + 1, 21, 4, 0), (START_MS + DAY_MS + 1, 21, 3, 1)]


def files_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def collections(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A collection, the same a week later, and somebody else's."""
    return (
        write_collection_file(tmp_path / "in" / "mine.anki2", WEEKS[:12]),
        write_collection_file(tmp_path / "in" / "mine, a week later.anki2", WEEKS),
        write_collection_file(tmp_path / "in" / "other.anki2", OTHER),
    )


def test_a_command_killed_in_its_second_file_continues(
    collections: tuple[Path, Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine, _, other = collections
    out = tmp_path / "out"
    command = ["import", str(mine), str(other), "--out", str(out)]
    calls = 0

    def interrupt() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(imported, "write_tables", preceded(imported.write_tables, interrupt))
    assert main(command) == 130
    monkeypatch.undo()
    before = files_below(out)
    assert list_collections(out) == [1]
    assert {name.split("/")[1] for name in before if "/" in name} == {"user_id=1"}
    capsys.readouterr()
    assert main(command) == 0
    output = capsys.readouterr()
    assert f"{mine} has been imported as user 1" in output.err
    assert "user 1 in" in output.out
    assert "user 2 in" in output.out
    assert list_collections(out) == [1, 2]
    assert read_info(out, 2).name == "other"
    assert before.items() <= files_below(out).items()


def test_the_same_file_with_other_options_is_another_user(collections: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        assert list(import_collections(collections[:1], out).users) == [1]
        assert list(import_collections(collections[:1], out, ImportChoices(elapsed="start")).users) == [2]
        assert list(import_collections(collections[:1], out, ImportChoices(timezone="Asia/Tokyo")).users) == [3]


def test_replace_puts_a_later_state_in_its_users_place(
    collections: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, later, other = collections
    out = tmp_path / "out"
    assert main(["import", str(mine), str(other), "--out", str(out), "--replace", "--quiet"]) == 0
    others = {name: data for name, data in files_below(out).items() if "user_id=2" in name}
    capsys.readouterr()
    assert main(["import", str(later), "--out", str(out), "--replace"]) == 0
    output = capsys.readouterr()
    assert "12 of 12 reviews of user 1" in output.err
    assert f"user 1 in {out}, replaced: mine, a week later" in output.out
    assert list_collections(out) == [1, 2]
    assert len(read_history(out, 1)) == len(WEEKS)
    assert read_collection(out, 1).info.name == "mine, a week later"
    assert others.items() <= files_below(out).items()
    fresh = tmp_path / "fresh"
    import_collections([later], fresh)
    tables = {name: data for name, data in files_below(fresh).items() if name.endswith(".parquet")}
    assert tables.items() <= files_below(out).items()


def test_the_summary_says_what_happened_to_each_user(
    collections: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where --replace has no user to replace."""
    mine, _, other = collections
    out = tmp_path / "out"
    for file, outcome in (
        (mine, "1 in {}, added: mine"),
        (other, "2 in {}, added: other"),
        (mine, "1 in {}, unchanged: "),
    ):
        assert main(["import", str(file), "--out", str(out), "--replace"]) == 0
        assert f"user {outcome.format(out)}" in capsys.readouterr().out
    assert main(["import", str(other), "--out", str(out), "--json"]) == 0
    assert [user["outcome"] for user in json.loads(capsys.readouterr().out)["users"]] == ["unchanged"]


def test_two_files_of_one_user_in_a_command(
    collections: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The summary says what the command as a whole did to the user."""
    mine, later, _ = collections
    out = tmp_path / "out"
    assert main(["import", str(mine), str(mine), "--out", str(out)]) == 0
    assert f"user 1 in {out}, added: mine" in capsys.readouterr().out
    assert main(["import", str(mine), str(later), "--out", str(out), "--replace", "--json"]) == 0
    (user,) = json.loads(capsys.readouterr().out)["users"]
    assert (user["outcome"], user["name"]) == ("replaced", "mine, a week later")
    assert import_collections([mine, later], tmp_path / "new", replaces=True).outcomes == {1: "added"}


def test_a_name_is_given_at_once_or_with_replace_later(collections: tuple[Path, Path, Path], tmp_path: Path) -> None:
    mine, out = collections[0], tmp_path / "out"
    command = ["import", str(mine), "--out", str(out)]
    assert main([*command, "--name", " Ada "]) == 0
    assert read_info(out, 1).name == "Ada"
    assert main(command) == main([*command, "--name", "Ada"]) == 0
    assert main([*command, "--name", "Ada Lovelace", "--replace"]) == 0
    assert list_collections(out) == [1]
    assert read_info(out, 1).name == "Ada Lovelace"


def test_invalid_names_are_refused(
    collections: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, _, other = collections
    assert main(["import", str(mine), str(other), "--out", str(tmp_path / "out"), "--name", "Ada"]) == 2
    assert "each with its own --name" in capsys.readouterr().err
    assert main(["import", str(mine), "--out", str(tmp_path / "out"), "--name", " "]) == 2
    assert "The name is blank." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_import_killed_between_its_tables_keeps_its_number(
    collections: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, later, other = collections
    out = tmp_path / "out"
    import_collections([mine, other], out)
    rename = Path.replace
    for killed_at in range(1, 5):
        renamed: list[Path] = []

        def stopping(path: Path, target: Path, renamed: list[Path] = renamed, last: int = killed_at) -> Path:
            if ".import-" in str(path) and ".import-" not in str(target):
                if len(renamed) == last:
                    raise KeyboardInterrupt
                renamed.append(path)
            return rename(path, target)

        monkeypatch.setattr(Path, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            import_collections([later], out, replaces=True)
        monkeypatch.undo()
        assert list_collections(out) == [2]
        assert list(import_collections([later], out, replaces=True).users) == [1]
        assert len(read_history(out, 1)) == len(WEEKS)
        import_collections([mine], out, replaces=True)


def test_a_later_state_becomes_another_user_with_a_hint_to_replace(
    collections: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, later, other = collections
    out = tmp_path / "out"
    assert main(["import", str(mine), "--out", str(out), "--quiet"]) == 0
    assert main(["import", str(other), str(later), "--out", str(out)]) == 0
    output = capsys.readouterr().err
    assert "--replace" in output
    assert output.count("--replace") == 1
    assert list_collections(out) == [1, 2, 3]


def test_a_failure_half_way_changes_nothing(
    collections: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, later, _ = collections
    out = tmp_path / "out"
    import_collections([mine], out)
    before = files_below(out)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(imported, "write_tables", full)
    assert main(["import", str(later), "--out", str(out), "--replace"]) == 1
    assert main(["import", str(later), "--out", str(out)]) == 1
    assert files_below(out) == before
    (out / ".import-killed" / "revlogs").mkdir(parents=True)
    import_collections([mine], out)
    assert files_below(out) == before
    assert not (out / ".import-killed").exists()


def test_a_damaged_other_user_does_not_prevent_an_import(collections: tuple[Path, Path, Path], tmp_path: Path) -> None:
    mine, later, other = collections
    out = tmp_path / "out"
    import_collections([mine, other], out)
    (out / "collection" / "user_id=1" / "info.json").write_text("{")
    (out / "revlogs" / "user_id=2" / "data.parquet").write_bytes(b"PAR1")
    assert list(import_collections([later], out, replaces=True).users) == [3]


# --- Tables of Anki as CSV


def dump(database: Path, table: str, file: Path) -> Path:
    """A table as SQLite's own shell writes it as CSV."""
    with closing(sqlite3.connect(database)) as connection, file.open("w", newline="", encoding="utf-8") as text:
        rows = connection.execute(f"SELECT * FROM {table}")
        writer = csv.writer(text)
        writer.writerow([column[0] for column in rows.description])
        writer.writerows(rows)
    return file


def test_ankis_tables_equal_the_collection(collections: tuple[Path, Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "dumps"
    folder.mkdir()
    for table, name in (("revlog", "Revlog.CSV"), ("cards", "cards.csv"), ("notes", "notes.tsv"), ("col", "col.csv")):
        dump(collections[0], table, folder / name)
    out = tmp_path / "out"
    imports = import_collections([collections[0], folder], out, ImportChoices(timezone="UTC+00:00"))
    assert list(imports.users) == [1, 2]
    first, second = (read_collection(out, user) for user in (1, 2))
    for name, column in vars(first.cards).items():
        np.testing.assert_array_equal(getattr(second.cards, name), column)
    assert second.info.counts == first.info.counts
    assert (second.info.kind, second.info.name) == ("csv", "dumps")
    for kind in ("revlogs", "cards", "decks"):
        one, other = ((out / kind / f"user_id={user}" / "data.parquet").read_bytes() for user in (1, 2))
        assert one == other


def test_anki_s_revlog_alone(
    collections: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = dump(collections[0], "revlog", tmp_path / "revlog.csv")
    lines = file.read_text().splitlines()
    # An entry without a button, and a row twice.
    file.write_text("\n".join([*lines, lines[3], f"{START_MS + 99},12,0,0,0,0,2500,0,4"]) + "\n")
    assert main(["import", str(file), "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().err
    for word in ("1 row of revlog left out, because of repeated ids", "--grades", "--timezone and --rollover"):
        assert word in output
    info = read_info(tmp_path / "out", 1)
    assert (info.timezone, info.rollover_hour, info.grades) == ("UTC", 4, "as recorded")
    assert info.counts["manual_entries"] == 1
    history = read_history(tmp_path / "out", 1)
    assert len(history) == info.counts["reviews"]
    assert read_collection(tmp_path / "out", 1).cards.card_id.tolist() == sorted({card for _, card, _, _ in WEEKS})
    assert read_history(tmp_path / "out", 1).cards.note_missing.all()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1,2,-1,x,1,1,2500,500,1", ("column ease", "line 3, column", "'x'")),
        ("1,1.60000E+12,-1,3,1,1,2500,500,1", ("column cid", "spreadsheet")),
        ("1,2,-1,3,1,1,2500,,1", ("time is missing", "line 3, column")),
        ("1,2,-1,3,1,1,2500,500", ("more or fewer cells",)),
    ],
)
def test_damaged_tables_of_anki(tmp_path: Path, row: str, words: tuple[str, ...]) -> None:
    file = tmp_path / "revlog.csv"
    file.write_text(f"id,cid,usn,ease,ivl,lastIvl,factor,time,type\n{START_MS},1,-1,3,1,1,2500,500,0\n{row}\n")
    with pytest.raises(InputError) as caught:
        import_collections([file], tmp_path / "out")
    for word in (str(file), *words):
        assert word in str(caught.value)
