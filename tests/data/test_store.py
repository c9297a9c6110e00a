"""The review store: versions, settings, resuming, parts, damage; and its database: maps that are too small."""

import json
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv.data.codec import StoredHistory
from rwkv.data.database import Database
from rwkv.data.encoded_user import EncodedUser, encode_user
from rwkv.data.history import RevlogTable
from rwkv.data.segments import Segment, cut_segment, segment_bounds, segment_of
from rwkv.data.store import ReviewStore
from rwkv.data.store_settings import StoreSettings
from rwkv.errors import StoreError
from tests.data.old_stores import stored_before, write_version_2
from tests.helpers import assert_same_table, make_table, random_revlog, tables

SIZE = 1 << 24
NOTES = ("own", "published")
SETTINGS = StoreSettings(max_batch_size=100, missing_notes="own", label_filter_key_prefix="short_secs_")


def open_database(path: Path, size: int = SIZE) -> Database:
    return Database(path / "db", size, "LMDB_SIZE")


def encoded(user: int, reviews: int = 60) -> EncodedUser:
    table = make_table(random_revlog(user, reviews, 8), user=user)
    stored = StoredHistory(table, table.review_th % 2 == 0)
    return encode_user(stored, segment_bounds(table, SETTINGS.max_batch_size))


# --- The database


def test_items_come_back_after_reopening(tmp_path: Path) -> None:
    with open_database(tmp_path) as database:
        database.put({"b": b"2", "a": b"1"})
    with open_database(tmp_path) as database:
        assert (database.get("a"), database.get("b"), database.get("c")) == (b"1", b"2", None)
        assert list(database) == ["a", "b"]


def test_a_missing_database_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="database does not exist") as caught:
        Database(tmp_path / "none", SIZE, "LMDB_SIZE", readonly=True, hint="run the other command first")
    assert "run the other command first" in str(caught.value)
    assert str(tmp_path / "none") in str(caught.value)
    assert not (tmp_path / "none").exists()


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "data.mdb").touch()
    with pytest.raises(StoreError, match="The database does not exist"):
        Database(tmp_path / "db", SIZE, "LMDB_SIZE", readonly=True)
    with open_database(tmp_path) as database:
        database.put({"a": b"1"})


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    os.mkfifo(tmp_path / "db" / "data.mdb")
    with pytest.raises(StoreError, match="not a regular file"):
        open_database(tmp_path)


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("content", [b"not a database" * 1000, b"x"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes, readonly: bool) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "data.mdb").write_bytes(content)
    with pytest.raises(StoreError, match="cannot be opened"):
        Database(tmp_path / "db", SIZE, "LMDB_SIZE", readonly=readonly)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        open_database(tmp_path)


def test_a_large_map_size_allocates_nothing(tmp_path: Path) -> None:
    with open_database(tmp_path, size=205_000_000_000) as database:
        database.put({"a": b"1"})
    assert (tmp_path / "db" / "data.mdb").stat().st_blocks * 512 < 1 << 20


def write_one_by_one(store: ReviewStore, users: range, written: list[int]) -> None:
    for user in users:
        store.write([encoded(user, reviews=2000)])
        written.append(user)


def test_a_full_map_names_its_key_and_loses_nothing(tmp_path: Path) -> None:
    users = range(1, 200)
    written: list[int] = []
    with open_database(tmp_path, size=1 << 17) as database:
        store = ReviewStore(database)
        store.begin(SETTINGS)
        with pytest.raises(StoreError, match="LMDB_SIZE") as caught:
            write_one_by_one(store, users, written)
        assert "131_072" in str(caught.value)
        assert 0 < len(written) < len(users)
        for user in written:
            assert_same_table(store.read(user).table, make_table(random_revlog(user, 2000, 8), user=user))
        assert not store.has(len(written) + 1)
    with open_database(tmp_path, size=1 << 24) as database:
        store = ReviewStore(database)
        store.begin(SETTINGS)
        assert [user for user in users if store.has(user)] == written
        store.write([encoded(len(written) + 1, reviews=2000)])
        assert store.has(len(written) + 1)


def test_a_transaction_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with open_database(tmp_path, size=1 << 17) as database:
        store = ReviewStore(database)
        store.begin(SETTINGS)
        with pytest.raises(StoreError):
            store.write([encoded(user, reviews=2000) for user in range(1, 60)])
        assert not any(store.has(user) for user in range(1, 60))


# --- The review store


def test_histories_and_bounds_come_back(tmp_path: Path) -> None:
    with open_database(tmp_path) as database:
        store = ReviewStore(database)
        store.begin(SETTINGS)
        store.write([encoded(user) for user in (3, 30, 1)])
    with open_database(tmp_path) as database:
        store = ReviewStore(database)
        assert store.settings == SETTINGS
        for user in (1, 3, 30):
            table = make_table(random_revlog(user, 60, 8), user=user)
            stored = store.read(user)
            assert_same_table(stored.table, table)
            np.testing.assert_array_equal(stored.is_key, table.review_th % 2 == 0)
            bounds = store.bounds(user)
            assert bounds.dtype == np.int64
            np.testing.assert_array_equal(bounds, segment_bounds(table, SETTINGS.max_batch_size))


def test_an_unknown_user_is_refused(tmp_path: Path) -> None:
    with open_database(tmp_path) as database:
        store = ReviewStore(database)
        store.begin(SETTINGS)
        store.write([encoded(12)])
        for user in (1, 2, 120):
            assert not store.has(user)
            for ask in (store.read, store.bounds):
                with pytest.raises(StoreError, match=f"User {user} ") as caught:
                    ask(user)
                assert "rwkv.data_processing" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"), [("max_batch_size", 200), ("missing_notes", "published"), ("label_filter_key_prefix", "")]
)
def test_other_settings_are_refused_and_named(tmp_path: Path, field: str, value: object) -> None:
    with open_database(tmp_path) as database:
        ReviewStore(database).begin(SETTINGS)
        other = StoreSettings(**{**vars(SETTINGS), field: value})
        with pytest.raises(StoreError, match=field.upper()) as caught:
            ReviewStore(database).begin(other)
        assert repr(value) in str(caught.value)
        assert repr(getattr(SETTINGS, field)) in str(caught.value)
        assert ReviewStore(database).settings == SETTINGS


@pytest.mark.parametrize(
    "meta", [{"version": 999}, {"version": 0}, {"format": "something else"}, {}, "no JSON"], ids=lambda meta: str(meta)
)
def test_a_store_of_another_version_is_refused(tmp_path: Path, meta: dict[str, object] | str) -> None:
    with open_database(tmp_path) as database:
        ReviewStore(database).begin(SETTINGS)
        ours = json.loads(database.get("meta") or b"")
        theirs = b"no JSON" if isinstance(meta, str) else json.dumps(meta and {**ours, **meta}).encode()
        database.put({"meta": theirs})
        with pytest.raises(StoreError, match="version") as caught:
            ReviewStore(database)
        assert str(database.path) in str(caught.value)


def test_a_database_without_a_store_is_refused(tmp_path: Path) -> None:
    """Such as a store that the published code made."""
    with open_database(tmp_path) as database:
        database.put({"1_0_65536_tensors": b"..."})
        with pytest.raises(StoreError, match="version"):
            ReviewStore(database)
        assert list(database) == ["1_0_65536_tensors"]


@given(table=tables(), max_rows=st.integers(2, 40), part_reviews=st.integers(1, 40), notes=st.sampled_from(NOTES))
def test_a_segment_is_that_of_the_whole_history(
    table: RevlogTable, max_rows: int, part_reviews: int, notes: str
) -> None:
    """However the history is cut in parts, and for reviews of several parts, too."""
    table = replace(table, missing_notes=notes)
    stored = StoredHistory(table, table.review_th % 3 == 0)
    bounds = segment_bounds(table, max_rows)
    with TemporaryDirectory() as folder, Database(Path(folder), 1 << 20, "", durable=False) as database:
        store = ReviewStore(database)
        store.begin(StoreSettings(max_rows, notes, ""))
        store.write([encode_user(stored, bounds, part_reviews)])
        assert_same_table(store.read(table.user).table, table)
        for start, stop in [*bounds[:, :2].tolist(), (0, len(table)), (len(table) // 3, len(table))]:
            ours = segment_of(store.excerpt(table.user, start, stop), 0)
            assert_same_segment(ours, cut_segment(table, stored.is_key, start, stop, 0))


def assert_same_segment(ours: Segment, expected: Segment) -> None:
    for name, column in {**segment_columns(expected), **expected.ids, **vars(expected.labels)}.items():
        theirs = {**segment_columns(ours), **ours.ids, **vars(ours.labels)}[name]
        assert theirs.dtype == column.dtype, name
        np.testing.assert_array_equal(theirs, column, err_msg=name)


def segment_columns(segment: Segment) -> dict[str, np.ndarray]:
    return {name: column for name, column in vars(segment).items() if isinstance(column, np.ndarray)}


def test_a_lost_part_is_damage(tmp_path: Path) -> None:
    table = make_table(random_revlog(1, 60, 8), user=1)
    with open_database(tmp_path) as database:
        store = ReviewStore(database)
        store.begin(SETTINGS)
        store.write([encode_user(StoredHistory(table, table.review_th > 0), segment_bounds(table, 40), 20)])
        before = store.fingerprint(1)
        database.delete(["1_reviews_1"])
        assert len(store.excerpt(1, 0, 20).table) > 20
        for ask in (lambda: store.read(1), lambda: store.excerpt(1, 20, 40)):
            with pytest.raises(StoreError, match="user 1 is damaged"):
                ask()
        assert store.fingerprint(1) != before


def test_a_store_of_the_version_before_is_read_but_not_continued(tmp_path: Path) -> None:
    table = stored_before()
    with open_database(tmp_path) as database:
        write_version_2(database)
        store = ReviewStore(database)
        assert store.has(7)
        assert_same_table(store.read(7).table, table)
        np.testing.assert_array_equal(store.bounds(7), segment_bounds(table, 40))
        segment = segment_of(store.excerpt(7, 20, 40), 1)
        assert_same_segment(segment, cut_segment(table, table.review_th % 2 == 0, 20, 40, 1))
        assert store.fingerprint(7).hex() == "caa80aa0f060e1d6"
        with pytest.raises(StoreError, match="older version"):
            store.write([encoded(8)])


@pytest.mark.parametrize("kept", [0, 4, 0.5, 0.98])
def test_a_damaged_history_is_refused(tmp_path: Path, kept: float) -> None:
    with open_database(tmp_path) as database:
        store = ReviewStore(database)
        store.begin(SETTINGS)
        store.write([encoded(1)])
        key = next(key for key in database if key.startswith("1_") and "review" in key)
        value = database.get(key) or b""
        database.put({key: value[: kept if isinstance(kept, int) else int(kept * len(value))]})
        with pytest.raises(StoreError):
            store.read(1)
