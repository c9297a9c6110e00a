"""Collections with damaged or crafted parts: an error with the file and the part, or the rest is imported."""

import json
import lzma
import sqlite3
import tempfile
import zipfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv.data.collection import read_collection
from rwkv.data.imports.anki.archive import opened
from rwkv.data.imports.anki.read import read_anki
from rwkv.data.imports.imported import ImportChoices, ImportedUser, facts_of, write_import
from rwkv.data.revlogs import read_history
from rwkv.errors import InputError
from tests.data.imports.anki.small import CREATED_S, write_archive, write_collection_file

START_MS = CREATED_S * 1000 + 3_600_000
REVIEWS = [(START_MS + 1000 * card, card, 3, 0, 1) for card in range(1, 401)]
NESTED = "[" * 100_000 + "]" * 100_000
BEYOND = 10**30
PAGE_BYTES = 4096


def imported(path: Path, by_anki: bool | None = False) -> ImportedUser:
    with opened(path) as source:
        return read_anki(source, ImportChoices(), by_anki)


def said_of(path: Path) -> str:
    """What is said of a file that is refused, or its name where it is imported."""
    try:
        return imported(path).source and str(path)
    except InputError as error:
        return str(error)


def changed(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)
    return path


@pytest.mark.parametrize("by_anki", [False, None], ids=["tables", "anki"])
@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (f"UPDATE col SET conf = '{NESTED}'", "table col"),
        (f"UPDATE col SET decks = '{NESTED}'", "table col"),
        (f"UPDATE col SET dconf = '{NESTED}'", "table col"),
        (f'UPDATE col SET decks = \'{{"1": {{"id": {BEYOND}, "name": "a"}}}}\'', "decks"),
        (f'UPDATE col SET decks = \'{{"1": {{"id": 1, "name": "a", "conf": {BEYOND}}}}}\'', "decks"),
        (f'UPDATE col SET dconf = \'{{"1": {{"id": {BEYOND}, "name": "a"}}}}\'', "presets"),
        ('UPDATE col SET dconf = \'{"1": {"id": 1, "name": "a", "fsrsParams6": [[1]]}}\'', "presets"),
        ("UPDATE col SET decks = '[1, 2]'", "decks"),
        ("UPDATE col SET crt = 'yesterday'", "time of creation"),
        ("UPDATE col SET crt = NULL", "time of creation"),
        (f"UPDATE col SET crt = {10**17}", "time of creation"),
        ("UPDATE col SET crt = 1e300", "time of creation"),
        ("UPDATE col SET ver = 'new'", "table col"),
        ("UPDATE revlog SET id = -9000000000000000000 WHERE id = (SELECT min(id) FROM revlog)", "table revlog"),
    ],
)
def test_unusable_settings_are_named(tmp_path: Path, damage: str, part: str, by_anki: bool | None) -> None:
    path = changed(write_collection_file(tmp_path / "a.anki2", REVIEWS), damage)
    with pytest.raises(InputError) as caught:
        imported(path, by_anki)
    assert f"{path}, {part}" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("by_anki", [False, None], ids=["tables", "anki"])
@pytest.mark.parametrize(
    ("config", "word"),
    [
        ('{"schedVer": 2, "rollover": Infinity, "localOffset": 0}', "`rollover_hour`"),
        ('{"schedVer": 2, "rollover": 1e999, "localOffset": 0}', "`rollover_hour`"),
        ('{"schedVer": 2, "rollover": [[[[1]]]], "localOffset": 0}', "`rollover_hour`"),
        ('{"schedVer": 2, "rollover": 4, "localOffset": NaN, "creationOffset": 0}', "`timezone`"),
        ('{"schedVer": 77, "rollover": 4, "localOffset": 0}', "`grades`"),
        ('{"schedVer": {"a": 1}, "rollover": 4, "localOffset": 0}', "`grades`"),
    ],
)
def test_invalid_settings_are_reported_and_ignored(
    tmp_path: Path, config: str, word: str, by_anki: bool | None
) -> None:
    path = changed(write_collection_file(tmp_path / "a.anki2", REVIEWS), f"UPDATE col SET conf = '{config}'")
    user = imported(path, by_anki)
    assert len(user.reviews.time_ms) == len(REVIEWS)
    assert (user.clock.timezone, user.clock.rollover_hour) == ("UTC+00:00", 4)
    assert any(word in notice for notice in user.notices)


@pytest.mark.parametrize("by_anki", [False, None], ids=["tables", "anki"])
def test_half_characters_in_names(tmp_path: Path, by_anki: bool | None) -> None:
    """JSON can hold them; no file of ours can."""
    name = json.loads('"a\\ud800b"')
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS, deck={"name": name}, preset={"name": name})
    user = imported(path, by_anki)
    assert (set(user.card_list.deck), set(user.card_list.preset)) == ({"a?b"}, {"a?b"})


def test_ids_of_notes_that_are_not_integers(tmp_path: Path) -> None:
    path = changed(
        write_collection_file(tmp_path / "a.anki2", REVIEWS),
        "CREATE TABLE other AS SELECT * FROM notes",
        "DROP TABLE notes",
        "ALTER TABLE other RENAME TO notes",
        "UPDATE notes SET id = NULL WHERE id = 2",
        "UPDATE notes SET id = 1e30 WHERE id = 3",
        "UPDATE notes SET id = 'four' WHERE id = 4",
    )
    user = imported(path)
    assert user.card_list.note.tolist()[:4] == ["", "", "", "note 4"]


def test_ids_that_occur_twice(tmp_path: Path) -> None:
    """In tables without a key, and in decks that say so of themselves: one of each is taken."""
    decks = json.dumps({str(key): {"id": 1, "name": f"deck {key}"} for key in (1, 2)})
    path = changed(
        write_collection_file(tmp_path / "a.anki2", REVIEWS[:9]),
        "CREATE TABLE other AS SELECT * FROM cards UNION ALL SELECT * FROM cards",
        "DROP TABLE cards",
        "ALTER TABLE other RENAME TO cards",
        f"UPDATE col SET decks = '{decks}'",
    )
    user = imported(path)
    assert user.card_list.card_id.tolist() == list(range(1, 10))
    assert user.decks["deck_id"].tolist() == [1]
    write_import(tmp_path / "out", 1, user, facts_of(user, "published", datetime.now(UTC)))
    assert len(read_history(tmp_path / "out", 1)) == 9
    assert len(read_collection(tmp_path / "out", 1).cards) == 9


def test_a_schema_that_is_not_utf8(tmp_path: Path) -> None:
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS)
    content = path.read_bytes()
    for old, new in (
        (b"lastIvl", b"last\xffvl"),
        (b"flds", b"\xfflds"),
        (b"CREATE TABLE notes", b"CREATE \xffABLE notes"),
    ):
        path.write_bytes(content.replace(old, new))
        assert str(path) in said_of(path)


COLUMNS = {
    "col": ("crt", "ver", "conf", "decks", "dconf"),
    "revlog": ("cid", "ease", "ivl", "factor", "time", "type"),
    "cards": ("nid", "did", "type", "queue", "due", "ivl", "odue", "odid"),
    "notes": ("flds", "tags"),
}
values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3), st.lists).map(
        json.dumps
    ),
)
places = st.sampled_from([(table, column) for table, columns in COLUMNS.items() for column in columns])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good collection."""
    return write_collection_file(tmp_path_factory.mktemp("whole") / "a.anki2", REVIEWS[:20]).read_bytes()


@settings(deadline=None, max_examples=40)
@given(drawn=st.lists(st.tuples(places, values), min_size=1, max_size=3))
def test_any_value_in_a_column_is_imported_or_refused(
    whole: bytes, drawn: list[tuple[tuple[str, str], object]]
) -> None:
    """It is imported, or refused with the file's name; where it is imported, it can be written and read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.anki2"
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(whole)
            for (table, column), value in drawn:
                database.execute(f"UPDATE {table} SET {column} = ?", (value,))
            database.commit()
            path.write_bytes(database.serialize())
        try:
            user = imported(path)
        except InputError as error:
            output = str(error)
        else:
            output = str(path)
            write_import(Path(folder) / "out", 1, user, facts_of(user, "published", datetime.now(UTC)))
            assert len(read_history(Path(folder) / "out", 1)) == len(user.reviews.time_ms)
        assert str(path) in output


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_damage_in_every_kind_of_compression(tmp_path: Path, compression: int) -> None:
    """A few bytes at each place in turn: never anything but our own error, or the collection."""
    content = write_collection_file(tmp_path / "a.anki2", REVIEWS).read_bytes()
    path = tmp_path / "a.apkg"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("collection.anki2", content)
    assert len(imported(path).reviews.time_ms) == len(REVIEWS)
    whole = path.read_bytes()
    output = []
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:place] + b"\xff\x00\xff\x77" + whole[place + 4 :])
        output.append(said_of(path))
    assert all(str(path) in text for text in output)
    assert sum(text != str(path) for text in output) > 40


def test_damaged_lzma(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.apkg", {"collection.anki2": b"x" * 500})
    with pytest.raises(InputError, match="not a SQLite database"):
        imported(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("collection.anki2", bytes(range(256)) * 20)
    content = path.read_bytes()
    path.write_bytes(content[:60] + b"\xff" * 20 + content[80:])
    with pytest.raises(InputError, match="damaged or truncated") as caught:
        imported(path)
    assert isinstance(caught.value.__cause__, lzma.LZMAError)


@pytest.mark.parametrize("by_anki", [False, None], ids=["tables", "anki"])
def test_a_damaged_page_of_notes_loses_only_names(tmp_path: Path, by_anki: bool | None) -> None:
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS)
    whole = imported(path)
    pages = bytearray(path.read_bytes())
    damaged = next(
        place for place in range(0, len(pages), PAGE_BYTES) if b"note 200\x1f" in pages[place : place + PAGE_BYTES]
    )
    pages[damaged : damaged + PAGE_BYTES] = b"\xa5" * PAGE_BYTES
    path.write_bytes(pages)
    user = imported(path, by_anki)
    assert user.reviews.time_ms.tolist() == whole.reviews.time_ms.tolist()
    assert user.card_list.deck.tolist() == whole.card_list.deck.tolist()
    is_lost = user.card_list.note == ""
    assert is_lost[199]
    assert 0 < is_lost.sum() < 200  # of one page; those before and after it have theirs
    assert not is_lost[[0, -1]].any()
    assert user.card_list.note[~is_lost].tolist() == whole.card_list.note[~is_lost].tolist()
    assert any("notes are damaged" in notice for notice in user.notices)
