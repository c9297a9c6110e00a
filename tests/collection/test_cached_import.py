"""Collections as arguments of commands: the cache, its damage, and the same answers as after an import."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rwkv.cli import main
from rwkv.collection import cached_import
from rwkv.collection.cached_import import USER, cache_folder, open_collection, person_in, source_of
from rwkv.collection.import_collections import import_collections, read_with_facts
from rwkv.data.collection import read_collection, review_times
from rwkv.data.imports.imported import ImportChoices
from rwkv.data.revlogs import list_users, read_history
from rwkv.errors import InputError
from tests.data.imports.anki.small import CREATED_S, Review, write_archive, write_collection_file
from tests.helpers import assert_same_table

DAY_MS = 86_400_000
START_MS = CREATED_S * 1000 + 3_600_000
CARDS, DAYS = 6, 8
# In probability, as between all forms of the network (spec 7).
TOLERANCE = 2e-5
AT = ("--at", "2021-01-01T12:00")


def studied(days: int) -> list[Review]:
    """A review of each card a day; the first of each is a learning step."""
    return [
        (START_MS + day * DAY_MS + card * 60_000, card + 1, 1 + (card + day) % 4, int(day > 0))
        for day in range(days)
        for card in range(CARDS)
    ]


def export(path: Path, days: int) -> Path:
    """A collection package after some days."""
    collection = write_collection_file(path.with_suffix(".anki2"), studied(days))
    write_archive(path, {"collection.anki2": collection.read_bytes()})
    collection.unlink()
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rwkv" / "collections"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return export(tmp_path / "Ada.colpkg", DAYS)


def answer(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main([*arguments, "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def p_now(fields: dict[str, Any]) -> list[float]:
    return [card["p_now"] for card in sorted(fields["cards"], key=lambda card: card["card_id"])]


@pytest.mark.parametrize("command", ["predict", "schedule"])
def test_answers_are_those_of_an_import(
    command: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_collections([file], tmp_path / "mine")
    capsys.readouterr()
    expected = answer([command, str(tmp_path / "mine"), *AT], capsys)
    assert expected["cards" if command == "predict" else "days"]
    assert answer([command, str(file), *AT], capsys) == expected
    assert answer([command, str(file), *AT], capsys) == expected  # from saved states


def test_every_table_of_an_import_is_in_the_cache(file: Path, tmp_path: Path) -> None:
    import_collections([file], tmp_path / "mine")
    entry = open_collection(file)
    assert list_users(entry) == [USER]
    assert_same_table(read_history(entry, USER), read_history(tmp_path / "mine", USER))
    np.testing.assert_array_equal(review_times(entry, USER), review_times(tmp_path / "mine", USER))
    ours, expected = (read_collection(root, USER).cards for root in (entry, tmp_path / "mine"))
    for name, column in vars(expected).items():
        np.testing.assert_array_equal(getattr(ours, name), column, err_msg=name)
    assert source_of(entry) == person_in(entry, USER) == str(file)
    assert source_of(tmp_path / "mine") == str(tmp_path / "mine")
    assert person_in(tmp_path / "mine", 1) == f"{tmp_path / 'mine'}: 1"


def test_a_collection_is_read_once(
    file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level("INFO", "rwkv"):
        entry = open_collection(file)
    assert f"{CARDS * DAYS}  reviews imported" in caplog.text  # the summary of an import
    monkeypatch.setattr(cached_import, "read_with_facts", None)
    assert open_collection(file) == entry


def test_other_contents_and_options_are_other_entries(file: Path, tmp_path: Path) -> None:
    entries = {open_collection(file), open_collection(file, ImportChoices(timezone="UTC+05:00"))}
    export(file, DAYS - 1)
    assert len(entries | {open_collection(file)}) == 3


@pytest.mark.parametrize("damaged", ["revlogs/user_id=1/data.columns", "collection/user_id=1/cards.columns"])
@pytest.mark.parametrize("damage", ["changed", "cut", "removed"])
def test_a_damaged_copy_is_read_again(damaged: str, damage: str, file: Path) -> None:
    entry = open_collection(file)
    history, path = read_history(entry, USER), entry / damaged
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(data if damage == "changed" else data[:-5])
    assert open_collection(file) == entry
    assert_same_table(read_history(entry, USER), history)
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_a_later_export_continues_from_the_states_of_the_earlier_one(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(file), *AT]) == 0
    assert "saved the network's states" in capsys.readouterr().err
    export(file, DAYS + 1)
    entry = open_collection(file)
    assert (entry / "collection" / "user_id=1" / "state.rwkv").is_file()
    continued = p_now(answer(["predict", str(file), *AT], capsys))
    shutil.rmtree(entry)
    np.testing.assert_allclose(continued, p_now(answer(["predict", str(file), *AT], capsys)), atol=TOLERANCE)


def test_unused_entries_are_removed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = open_collection(file)
    monkeypatch.setattr(cached_import, "_KEPT_DAYS", -1)
    other = open_collection(file, ImportChoices(timezone="UTC+05:00"))
    assert not entry.exists()
    assert other.exists()


def test_a_profile_folder_and_text_are_collections(tmp_path: Path) -> None:
    profile = write_collection_file(tmp_path / "Grace" / "collection.anki2", studied(2)).parent
    assert read_collection(open_collection(profile), USER).info.name == "Grace"
    text = tmp_path / "third.csv"
    text.write_text(f"card_id,review_time,review_rating\nx,{START_MS},3\n")
    assert read_collection(open_collection(text), USER).cards.note.tolist() == ["x"]


def test_a_folder_of_profiles_names_them(tmp_path: Path) -> None:
    write_collection_file(tmp_path / "Anki2" / "Grace" / "collection.anki2", studied(2))
    with pytest.raises(InputError, match=r"choose one of: .*Grace"):
        open_collection(tmp_path / "Anki2")


def test_options_for_reading_do_not_apply_to_a_dataset(file: Path, tmp_path: Path) -> None:
    import_collections([file], tmp_path / "mine")
    assert open_collection(tmp_path / "mine") == tmp_path / "mine"
    with pytest.raises(InputError, match="not for datasets"):
        open_collection(tmp_path / "mine", ImportChoices(timezone="UTC+05:00"))
    missing = tmp_path / "missing.colpkg"
    assert open_collection(missing, ImportChoices(timezone="UTC+05:00")) == missing  # where no users are found


@pytest.mark.parametrize("command", ["predict", "schedule"])
def test_missing_weights_are_refused_before_the_collection_is_read(
    command: str, file: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(file), "--model", "missing.pth"]) == 2
    assert "The file of weights does not exist." in capsys.readouterr().err
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_an_error(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    with pytest.raises(InputError, match="XDG_CACHE_HOME"):
        open_collection(file)


def test_another_command_that_reads_the_same_collection_first(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_by_two(path: Path, choices: ImportChoices) -> Any:
        imported = read_with_facts(path, choices)
        monkeypatch.setattr(cached_import, "read_with_facts", read_with_facts)
        (open_collection(path, choices) / "theirs").write_text("")
        return imported

    monkeypatch.setattr(cached_import, "read_with_facts", read_by_two)
    entry = open_collection(file)
    assert (entry / "theirs").is_file(), "their command may be reading the entry"
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_a_collection_that_changes_while_it_is_read(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_changed(path: Path, choices: ImportChoices) -> Any:
        return read_with_facts(export(path, DAYS - 1), choices)

    monkeypatch.setattr(cached_import, "read_with_facts", read_changed)
    with pytest.raises(InputError, match=r"changed while it was being read.*(.|\n)*rerun"):
        open_collection(file)
    assert not cache.exists()


def test_a_collection_in_use_is_refused_although_it_is_in_the_cache(tmp_path: Path) -> None:
    """Anki writes new reviews to the file beside it first."""
    collection = write_collection_file(tmp_path / "Grace" / "collection.anki2", studied(2))
    open_collection(collection.parent)
    collection.with_name("collection.anki2-wal").write_text("")
    with pytest.raises(InputError, match="in use"):
        open_collection(collection.parent)


def test_remains_that_another_command_removes(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([folder / ".reading-gone"] if folder == cache else []))
    assert open_collection(file).is_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may read everything")
def test_files_of_another_user(file: Path, cache: Path) -> None:
    open_collection(file)
    cache.chmod(0)
    try:
        with pytest.raises(InputError, match="XDG_CACHE_HOME"):
            open_collection(file)
    finally:
        cache.chmod(0o700)
    folder = file.parent / "locked"
    folder.mkdir()
    for path in (file, folder):
        path.chmod(0)
        with pytest.raises(InputError, match=path.name):
            open_collection(path)


def test_no_home_folder(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(InputError, match="XDG_CACHE_HOME"):
        open_collection(file)
    assert source_of(tmp_path) == str(tmp_path)  # a dataset needs no cache


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", ".cache/rwkv"), ("darwin", "Library/Caches/rwkv"), ("win32", "AppData/Local/rwkv/cache")],
)
def test_the_cache_is_where_the_platform_has_it(
    platform: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr("sys.platform", platform)
    assert cache_folder() == tmp_path / expected
