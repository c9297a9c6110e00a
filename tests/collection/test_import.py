"""`rwkv import`: several files into one folder that the other commands can read, its output, and its errors."""

import hashlib
import json
import os
import sqlite3
import zipfile
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from rwkv.cli import main
from rwkv.collection.import_collections import import_collections
from rwkv.data.collection import day_of, list_collections, read_collection, review_times
from rwkv.data.imports.imported import RULES, ImportChoices
from rwkv.data.revlogs import list_users, read_history
from rwkv.errors import InputError
from tests.data.imports.anki.small import CREATED_S, write_archive, write_collection_file
from tests.helpers import random_revlog, write_history

START_MS = CREATED_S * 1000 + 3_600_000
FIRST = [(START_MS, 11, 3, 0), (START_MS + 90_000_000, 11, 2, 1), (START_MS + 90_100_000, 12, 3, 1)]
SECOND = [(START_MS + 1, 21, 4, 0)]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A collection, a profile folder and a CSV file."""
    first = write_collection_file(tmp_path / "in" / "Ada's.anki2", FIRST)
    profile = write_collection_file(tmp_path / "in" / "Grace" / "collection.anki2", SECOND).parent
    csv = tmp_path / "in" / "third.csv"
    csv.write_text(f"card_id,review_time,review_rating\nx,{START_MS},3\n")
    return [first, profile, csv]


def test_files_become_users_in_their_order(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    imports = import_collections(files, out)
    assert list(imports.users) == [1, 2, 3]
    assert imports.failed == {}
    assert list_users(out) == list_collections(out) == [1, 2, 3]
    assert [read_collection(out, user).info.name for user in (1, 2, 3)] == ["Ada's", "Grace", "third"]
    for user, info in imports.users.items():
        collection, history = read_collection(out, user), read_history(out, user)
        assert collection.info == info
        assert len(history) == info.counts["reviews"]
        assert history.notices == ()
        # A file without notes and decks says that they are missing, as the dataset does.
        missing = info.kind == "csv"
        for flags in (history.cards.note_missing, history.cards.deck_missing, history.cards.preset_missing):
            assert np.all(flags == missing)
    info = imports.users[1]
    assert info.counts["without_new_start"] == 1
    assert list(info.counts) == [name for name in RULES if name in info.counts]
    assert info.sha256 == hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert (info.source, info.kind, info.timezone, info.rollover_hour) == ("Ada's.anki2", "anki2", "UTC+00:00", 4)
    assert review_times(out, 1).max() == FIRST[1][0]
    assert [day_of(info, time_ms / 1000) for time_ms, *_ in FIRST] == [0, 1, 1]
    assert read_collection(out, 1).cards.due_day.tolist() == [7.0, 7.0]


def test_a_folder_takes_more_users(files: list[Path], tmp_path: Path) -> None:
    """Those that are there are left alone, whoever wrote them; so is a number whose import was killed."""
    out = tmp_path / "out"
    write_history(out, 4, random_revlog(1, 30, 5))
    assert list(import_collections(files[:1], out).users) == [5]
    before = {path: path.read_bytes() for path in out.rglob("*.parquet")}
    (out / "collection" / "user_id=6").mkdir(parents=True)
    (out / "collection" / "user_id=6" / "cards.parquet").write_bytes(b"half of i")
    assert list(import_collections(files[1:], out).users) == [6, 7]
    assert {path: path.read_bytes() for path in before} == before
    assert list_users(out) == [4, 5, 6, 7]
    assert list_collections(out) == [5, 6, 7]
    assert read_collection(out, 6).info.name == "Grace"


def test_one_of_several_files_may_fail(files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "in" / "broken.colpkg"
    broken.write_bytes(b"PK\x03\x04 not really")
    arguments = ["import", str(files[0]), str(broken), str(files[1]), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--json"]) == 1
    output = capsys.readouterr()
    answer = json.loads(output.out)
    assert [(user["user"], user["name"]) for user in answer["users"]] == [(1, "Ada's"), (2, "Grace")]
    assert [Path(failed["file"]) for failed in answer["failed"]] == [broken]
    assert "damaged or truncated" in answer["failed"][0]["error"]
    assert f"{broken} is skipped" in output.err
    assert list_users(tmp_path / "out") == [1, 2]
    arguments[-1] = str(tmp_path / "again")
    assert main(arguments) == 1
    last = capsys.readouterr().out.split("\n\n")[-1]
    assert last.startswith(f"{broken} is skipped: The archive is damaged")


def test_a_failed_import_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["import", str(tmp_path / "nowhere.colpkg"), "--out", str(out)]) == 2
    assert "The file does not exist" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "a.colpkg"), str(tmp_path / "b.csv"), "--out", str(out)]) == 2
    output = capsys.readouterr().err
    assert output.count("The file does not exist") == 2
    assert "None of the files" in output
    assert not out.exists()


def test_the_summary_counts_the_reviews_of_each_rule(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", *map(str, files), "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr()
    for words in (
        "user 1 in",
        "Ada's (Ada's.anki2)",
        "from 2020-09-14 to 2020-09-15; days begin at 4:00 UTC+00:00",
        "2  days with reviews",
        "1  deck with cards",
        "1  preset of these decks",
        "3  entries in the source",
        "1  review of cards whose first learning step is missing",
        "2  reviews imported",
        "user 3 in",
    ):
        assert words in output.out
    assert "deleted cards" not in output.out
    assert output.out.count("FSRS off") == 2  # of the file of CSV nobody knows
    assert "--timezone" in output.err
    assert main(["import", str(files[0]), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_options_are_applied(files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--timezone", "Asia/Tokyo", "--rollover", "0", "--elapsed", "start", "--grades", "raw"]
    assert main(["import", str(files[0]), "--out", str(tmp_path / "out"), *options, "--quiet"]) == 0
    info = read_collection(tmp_path / "out", 1).info
    assert (info.timezone, info.rollover_hour, info.elapsed) == ("Asia/Tokyo", 0, "start")
    first = datetime.fromtimestamp(FIRST[0][0] / 1000, ZoneInfo("Asia/Tokyo")).date()
    assert f"from {first} to {first + timedelta(1)}; days begin at 0:00 Asia/Tokyo" in capsys.readouterr().out
    assert read_history(tmp_path / "out", 1).elapsed_s.tolist() == [-1, 89_995]


def test_names_in_an_archive_print_no_control_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = write_archive(tmp_path / "shared.apkg", {"\x1b]0;mine\x07漢": b""})
    for files in ([shared], [shared, tmp_path / "nowhere"]):
        assert main(["import", *map(str, files), "--out", str(tmp_path / "out")]) == 2
        output = capsys.readouterr().err
        assert "got: \ufffd]0;mine\ufffd漢\n" in output
        assert "\x1b" not in output


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders")
def test_endless_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", Path(os.devnull)):
        with pytest.raises(InputError, match="not a file"):
            import_collections([path], tmp_path / "out")


def test_a_dataset_needs_no_import(tmp_path: Path) -> None:
    write_history(tmp_path / "dataset", 1, random_revlog(1, 20, cards=5))
    with pytest.raises(InputError, match="needs no import") as caught:
        import_collections([tmp_path / "dataset"], tmp_path / "out")
    assert f"rwkv predict {tmp_path / 'dataset'}" in caught.value.details["next"]


def test_functions_raise_the_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        import_collections([tmp_path / "nowhere"], tmp_path / "out", ImportChoices())


def test_what_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Reviews of deleted cards and answers over 60 s; not those that a wrong clock dated into the future."""
    future_ms = 4_102_444_800_000
    path = write_collection_file(tmp_path / "a.anki2", [*FIRST[:2], *SECOND, (future_ms, 21, 3, 1)])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM cards WHERE id = 11")
        database.execute("UPDATE cards SET queue = -1")
        database.execute("UPDATE revlog SET time = 60000 WHERE id = ?", (FIRST[0][0],))
        database.execute("UPDATE revlog SET time = 60001 WHERE id = ?", (FIRST[1][0],))
    info = import_collections([path], tmp_path / "out").users[1]
    assert "1 entry left out, dated after now" in caplog.text
    expected = {"of_deleted_cards": 2, "over_60_s": 1, "in_the_future": 1, "cards": 1, "suspended_cards": 1}
    assert expected.items() <= info.counts.items()
    history = read_history(tmp_path / "out", 1)
    assert len(history) == 3
    assert history.cards.note_missing.sum() == 1
    assert 60_001 in history.duration_ms


def zip_of(path: Path, texts: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return path


def test_a_csv_alone_in_a_zip_is_read(tmp_path: Path) -> None:
    text = f"card_id,review_time,review_rating\n1,{START_MS},3\n1,{START_MS + 90_000_000},3\n"
    packed = zip_of(tmp_path / "mine.csv.zip", {"my/reviews.csv": text, "__MACOSX/my/._reviews.csv": "of macOS"})
    imports = import_collections([packed], tmp_path / "out")
    assert (imports.users[1].name, imports.users[1].kind, imports.users[1].counts["reviews"]) == ("mine", "csv", 2)

    packed.write_bytes(packed.read_bytes()[:100])
    with pytest.raises(InputError, match="damaged or truncated"):
        import_collections([packed], tmp_path / "out")
    several = zip_of(tmp_path / "several.zip", {"a.csv": text, "b.csv": text})
    with pytest.raises(InputError, match="unpack it"):
        import_collections([several], tmp_path / "out")
