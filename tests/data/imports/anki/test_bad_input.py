"""Files that are not collections, or are damaged, hostile or in use: a clear error, or the right result."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import zstandard

from rwkv.data.imports.anki.archive import opened
from rwkv.data.imports.anki.read import read_anki
from rwkv.data.imports.imported import ImportChoices, ImportedUser, review_columns
from rwkv.errors import InputError
from tests.data.imports.anki.clients import Learner
from tests.data.imports.anki.small import CREATED_S, write_archive, write_collection_file

START_MS = CREATED_S * 1000 + 3_600_000
REVIEWS = [(START_MS, 11, 3, 0), (START_MS + 600_000, 11, 3, 0), (START_MS + 90_000_000, 11, 2, 1)]
META_NEW, META_OLD, META_NEWER = b"\x08\x03", b"\x08\x02", b"\x08\x04"


def imported(path: Path, by_anki: bool | None = False) -> ImportedUser:
    with opened(path) as source:
        return read_anki(source, ImportChoices(), by_anki)


def refusal(path: Path, by_anki: bool = False) -> str:
    """What is said of a file that is refused. It is the same file afterwards, and nothing lies beside it."""
    around = sorted(path.parent.iterdir())
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(InputError) as caught:
        imported(path, by_anki)
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert sorted(path.parent.iterdir()) == around
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def collection(tmp_path: Path) -> bytes:
    """The bytes of a good collection."""
    path = write_collection_file(tmp_path / "good" / "collection.anki2", REVIEWS)
    assert len(imported(path).reviews.time_ms) == len(REVIEWS)
    return path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"card_id,review_time\n", b"\x89PNG\r\n\x1a\n" + bytes(200)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "something.colpkg"
    path.write_bytes(content)
    assert "not an Anki collection" in refusal(path)


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "not an Anki profile" in refusal(tmp_path / "empty")
    write_collection_file(tmp_path / "Anki2" / "User 1" / "collection.anki2", REVIEWS)
    assert str(tmp_path / "Anki2" / "User 1") in refusal(tmp_path / "Anki2")
    assert imported(tmp_path / "Anki2" / "User 1").name == "User 1"
    assert imported(tmp_path / "Anki2" / "User 1" / "collection.anki2").name == "User 1"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["collection.anki21", "collection.anki21b"])
def test_truncated_archives(tmp_path: Path, collection: bytes, name: str, share: float) -> None:
    content = zstandard.compress(collection) if name.endswith("b") else collection
    path = write_archive(tmp_path / "a.colpkg", {name: content, "meta": META_NEW if name.endswith("b") else META_OLD})
    assert len(imported(path).reviews.time_ms) == len(REVIEWS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "damaged or truncated" in refusal(path)


def test_damage_within_archives(tmp_path: Path, collection: bytes) -> None:
    packed = zstandard.compress(collection)
    for content, word in (
        (packed[: len(packed) // 2], "truncated"),
        (b"\x00" * 500, "damaged"),
        (zstandard.compress(b"no database" * 100), "not a SQLite database"),
        (zstandard.compress(collection[:-4096]), "truncated"),
    ):
        path = write_archive(tmp_path / "a.colpkg", {"meta": META_NEW, "collection.anki21b": content})
        assert word in refusal(path)


def test_encrypted_archives(tmp_path: Path, collection: bytes) -> None:
    path = write_archive(tmp_path / "a.colpkg", {"collection.anki21": collection})
    content = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + place] |= 1
    path.write_bytes(content)
    assert "encrypted" in refusal(path)


def test_archives_without_a_collection(tmp_path: Path, collection: bytes) -> None:
    for files, word in (
        ({"word/document.xml": b"<a/>"}, "has no Anki collection"),
        ({}, "has no Anki collection"),
        ({"../collection.anki2": collection, "a/collection.anki21": collection}, "has no Anki collection"),
        ({"meta": META_NEW, "collection.anki2": collection}, "collection is missing from the archive"),
        ({"meta": META_NEWER, "collection.anki21b": collection}, "newer version of Anki"),
        ({"meta": b"\xff" * 20, "collection.anki21b": collection}, "damaged"),
    ):
        assert word in refusal(write_archive(tmp_path / "a.apkg", files))


def test_names_of_the_archive_are_never_used(tmp_path: Path, collection: bytes) -> None:
    names = ("../../evil", "/tmp/evil-import", "C:\\evil", "media", "0", "collection.anki2/x")
    evil = dict.fromkeys(names, b"evil")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    path = write_archive(tmp_path / "deep" / "er" / "a.colpkg", {**evil, "collection.anki21": collection})
    before = sorted(tmp_path.rglob("*"))
    with opened(path) as source:
        assert sorted(source.scratch.iterdir()) == [source.database]
        assert source.database.read_bytes() == collection
    assert not source.scratch.exists()
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/evil-import").exists()


def zip_bomb(header: bytes, size: int) -> bytes:
    """zstd of `size` bytes that begin like a database, a few kilobytes."""
    compressor = zstandard.ZstdCompressor(level=19).compressobj()
    parts = [compressor.compress(header)]
    parts += [compressor.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, compressor.flush()])


def test_zip_bombs(tmp_path: Path, collection: bytes) -> None:
    """One unpacks to more than its own header states, the header of one states too much, that of one states nothing."""
    unpacked = 64 << 20
    states_much = bytearray(collection)
    states_much[28:32] = (2**31).to_bytes(4, "big")
    states_nothing = bytearray(collection)
    states_nothing[92:96] = b"\xff" * 4
    for header in (collection, bytes(states_much), bytes(states_nothing)):
        content = zip_bomb(header, unpacked)
        assert len(content) < unpacked / 1000
        path = write_archive(tmp_path / "a.colpkg", {"meta": META_NEW, "collection.anki21b": content})
        with pytest.raises(InputError, match="collection is too large"), opened(path, most_bytes=1 << 20):
            pass


def test_truncated_and_damaged_databases(tmp_path: Path, collection: bytes) -> None:
    path = tmp_path / "collection.anki2"
    for end in (50, 4096, len(collection) - 1):
        path.write_bytes(collection[:end])
        assert "truncated" in refusal(path)
    path.write_bytes(collection[:100] + b"\xa5" * (len(collection) - 100))
    for by_anki in (False, True):
        output = refusal(path, by_anki)
        assert "cannot be read" in output or "cannot open" in output
    path.unlink()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE music (title TEXT)")
    assert "not an Anki collection" in refusal(path)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE col SET conf = '{'",
        "UPDATE col SET conf = '[]'",
        'UPDATE col SET decks = \'{"1": {"name": "no id"}}\'',
        "UPDATE col SET dconf = '{\"1\": 7}'",
        "UPDATE col SET crt = 'yesterday'",
        "DELETE FROM col",
    ],
)
def test_damaged_settings(tmp_path: Path, damage: str) -> None:
    path = write_collection_file(tmp_path / "collection.anki2", REVIEWS)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(damage)
    assert "damaged" in refusal(path)


@pytest.mark.parametrize(("schema", "word"), [(99, "a newer schema"), (9, "an older schema")])
def test_other_schemas(tmp_path: Path, schema: int, word: str) -> None:
    path = write_collection_file(tmp_path / "collection.anki2", REVIEWS, schema=schema)
    output = refusal(path)
    assert word in output
    assert str(schema) in output
    assert "Anki cannot open" in refusal(path, by_anki=True)


def test_a_collection_in_use(tmp_path: Path) -> None:
    """While Anki has it open, and after a crash."""
    learner = Learner(tmp_path / "collection.anki2")
    learner.study(learner.add_notes("Default", ["a"]), [3], most=1)
    output = refusal(tmp_path / "collection.anki2")
    assert "in use" in output
    assert "close Anki" in output
    path = learner.close()
    assert len(imported(path).reviews.time_ms) == 1


def test_a_file_that_changes_meanwhile(tmp_path: Path) -> None:
    path = write_collection_file(tmp_path / "collection.anki2", REVIEWS)
    with pytest.raises(InputError, match="changed while it was being read"), opened(path):
        os.utime(path, (1, 1))


def test_no_reviews(tmp_path: Path) -> None:
    path = write_collection_file(tmp_path / "none.anki2", [])
    assert "no reviews" in refusal(path)
    # Only what does not count: a reset, and a review whose beginning is missing.
    path = write_collection_file(tmp_path / "dropped.anki2", [(START_MS, 1, 0, 4), (START_MS + 1, 2, 3, 1)])
    assert "1 manual entry (set due date, forget, rescheduling): dropped; 1 review of cards whose" in refusal(path)
    path = write_collection_file(tmp_path / "ahead.anki2", [(4_102_444_800_000, 11, 3, 0)])
    assert "this computer's clock" in refusal(path)
    shared = write_archive(tmp_path / "shared.apkg", {"collection.anki2": (tmp_path / "none.anki2").read_bytes()})
    assert "scheduling information" in refusal(shared)


def test_one_review(tmp_path: Path) -> None:
    user = imported(write_collection_file(tmp_path / "one.anki2", REVIEWS[:1]))
    revlog = review_columns(user.reviews, user.clock, "published")
    assert {name: column.tolist() for name, column in revlog.items()} == {
        "card_id": [11],
        "day_offset": [0],
        "rating": [3],
        "state": [0],
        "duration": [5000],
        "elapsed_days": [-1],
        "elapsed_seconds": [-1],
        "review_time": [START_MS],
    }


def test_clocks_that_jump(tmp_path: Path) -> None:
    """A review in 1970, two a millisecond apart, one in the year 2100: order and days follow the recorded times.

    What is dated after the import is left out, a reset too, and counted; a millisecond decides.
    """
    times = [1000, START_MS, START_MS + 1, 4_102_444_800_000]
    reviews = [(time, 11, 3, 0) for time in times] + [(times[3] + 1, 11, 0, 4)]
    path = write_collection_file(tmp_path / "a.anki2", reviews)
    user = imported(path)
    revlog = review_columns(user.reviews, user.clock, "published")
    assert revlog["elapsed_seconds"].tolist() == [-1, (START_MS - 1000) // 1000, 0]
    assert np.all(np.diff(revlog["day_offset"]) >= 0)
    assert revlog["elapsed_days"].sum() == revlog["day_offset"][-1] - 1
    assert (user.counts["in_the_future"], user.counts["manual_entries"], user.counts["forgotten"]) == (2, 0, 0)
    with opened(path) as source:
        at_the_moment = read_anki(source, ImportChoices(), by_anki=False, now_ms=START_MS)
    assert at_the_moment.reviews.time_ms.tolist() == [1000, START_MS]


def test_odd_values(tmp_path: Path) -> None:
    """Fractions, nulls and text in columns of integers, as add-ons and old clients have left them."""
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE revlog SET time = 1234.56 WHERE id = ?", (REVIEWS[0][0],))
        database.execute("UPDATE revlog SET time = NULL WHERE id = ?", (REVIEWS[1][0],))
        database.execute("UPDATE revlog SET time = -7 WHERE id = ?", (REVIEWS[2][0],))
        database.execute("UPDATE cards SET ivl = 'soon', did = 12345, nid = 98765")
        database.execute("UPDATE notes SET flds = X'ff41'")
    user = imported(path)
    assert user.reviews.duration_ms.tolist() == [1234, 0, 0]
    assert user.card_list.interval_days.tolist() == [0]
    assert (user.card_list.note.tolist(), user.card_list.deck.tolist()) == ([""], [""])
    assert user.card_list.desired_retention.tolist() == [0.9]


@pytest.mark.parametrize(
    ("kind", "state", "duration_ms", "taken_ms"),
    [(99, 1, 2**32 - 1, 2**32 - 1), (257, 2, 2**32, 0), (-1, 1, -(2**63), 0), (258, 3, 2**63 - 1, 0), (2**62, 1, 0, 0)],
)
def test_values_that_do_not_fit_ankis_fields(
    tmp_path: Path, kind: int, state: int, duration_ms: int, taken_ms: int
) -> None:
    """Anki reads the lowest byte of a kind, and takes 0 for what it does not know or cannot hold."""
    start_ms = CREATED_S * 1000
    path = write_collection_file(tmp_path / "a.anki2", [(start_ms, 1, 3, 0), (start_ms + 1, 1, 3, 1)])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE revlog SET type = ?, time = ? WHERE type = 1", (kind, duration_ms))
    user = imported(path)
    assert user.reviews.state.tolist() == [0, state]
    assert user.reviews.duration_ms.tolist() == [5000, taken_ms]


def test_a_collection_that_only_anki_refuses(tmp_path: Path) -> None:
    """It is read from its tables, and that is told."""
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE col SET dconf = ?", ('{"1": {"id": 1, "name": "of an add-on"}}',))
    assert "Anki cannot open" in refusal(path, by_anki=True)
    user = imported(path, by_anki=None)
    assert user.card_list.preset.tolist() == ["of an add-on"]
    assert "cannot open the collection" in user.notices[0]
