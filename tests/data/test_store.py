"""The databases: versions, settings, resuming, maps that are too small, published values, damage."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from rwkv.data.codec import StoredHistory, encode_history
from rwkv.data.database import Database
from rwkv.data.key_store import KeySettings, KeyStore
from rwkv.data.keys import NO_KEYS, BenchmarkKeys
from rwkv.data.segments import segment_bounds
from rwkv.data.store import EncodedUser, ReviewStore, StoreSettings
from rwkv.data.stored_bytes import read_int32_tensor
from rwkv.errors import StoreError
from tests.helpers import assert_same_table, make_table, random_revlog

SIZE = 1 << 24
SETTINGS = StoreSettings(max_batch_size=100, missing_notes="own", label_filter_key_prefix="short_secs_")


def open_database(path: Path, size: int = SIZE) -> Database:
    return Database(path / "db", size, "LMDB_SIZE")


def encoded(user: int, reviews: int = 60) -> EncodedUser:
    table = make_table(random_revlog(user, reviews, 8), user=user)
    stored = StoredHistory(table, table.review_th % 2 == 0)
    return EncodedUser(user, encode_history(stored), segment_bounds(table, SETTINGS.max_batch_size), reviews, ())


def keys_of(user: int, count: int = 10) -> BenchmarkKeys:
    review_ths = np.arange(1, count + 1, dtype=np.int32) * user
    return BenchmarkKeys(review_ths, (review_ths % 3).astype(np.int32))


def assert_same_keys(ours: BenchmarkKeys, expected: BenchmarkKeys) -> None:
    assert (ours.review_ths.dtype, ours.rmse_bins.dtype) == (np.int32, np.int32)
    np.testing.assert_array_equal(ours.review_ths, expected.review_ths)
    np.testing.assert_array_equal(ours.rmse_bins, expected.rmse_bins)


def saved(tensor: object) -> bytes:
    """As the published code stores a value."""
    buffer = io.BytesIO()
    torch.save(tensor, buffer)
    return buffer.getvalue()


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
    users, written = range(1, 200), []
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
def test_a_store_of_another_version_is_refused(tmp_path: Path, meta: object) -> None:
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


# --- Benchmark keys


def test_keys_come_back_under_each_prefix(tmp_path: Path) -> None:
    with open_database(tmp_path) as database:
        for prefix, short in (("", False), ("short_secs_", True)):
            store = KeyStore(database, prefix)
            store.begin(KeySettings(short, short))
            store.write({user: keys_of(user, 5 + short) for user in (1, 10)} | {2: NO_KEYS})
    with open_database(tmp_path) as database:
        for prefix, short in (("", False), ("short_secs_", True)):
            store = KeyStore(database, prefix)
            assert store.settings == KeySettings(short, short)
            assert [user for user in range(20) if store.has(user)] == [1, 2, 10]
            for user in (1, 10):
                assert_same_keys(store.read(user), keys_of(user, 5 + short))
            assert_same_keys(store.read(2), NO_KEYS)


def test_keys_lie_under_the_published_names(tmp_path: Path) -> None:
    with open_database(tmp_path) as database:
        KeyStore(database, "short_secs_").write({7: keys_of(7)})
        assert list(database) == ["short_secs_7_review_ths", "short_secs_7_rmse_bins"]


def test_users_whose_keys_were_not_searched_are_refused(tmp_path: Path) -> None:
    with open_database(tmp_path) as database:
        store = KeyStore(database, "")
        store.begin(KeySettings(False, False))
        store.write({1: keys_of(1)})
        with pytest.raises(StoreError, match="user 11 ") as caught:
            store.read(11)
        assert "find_equalize_test_reviews" in str(caught.value)
        with pytest.raises(StoreError, match="user 1 "):
            KeyStore(database, "short_secs_").read(1)


@pytest.mark.parametrize("other", [KeySettings(True, False), KeySettings(False, True), KeySettings(True, True)])
def test_keys_of_another_kind_are_refused(tmp_path: Path, other: KeySettings) -> None:
    with open_database(tmp_path) as database:
        KeyStore(database, "p_").begin(KeySettings(False, False))
        KeyStore(database, "p_").begin(KeySettings(False, False))
        with pytest.raises(StoreError, match="LABEL_FILTER_KEY_PREFIX") as caught:
            KeyStore(database, "p_").begin(other)
        assert f"SHORT = {other.short}" in str(caught.value)
        KeyStore(database, "q_").begin(other)


@pytest.mark.parametrize("meta", [b'{"version": 999, "settings": {"short": false, "secs": false}}', b"no JSON", b"{}"])
def test_keys_of_another_version_are_refused(tmp_path: Path, meta: bytes) -> None:
    with open_database(tmp_path) as database:
        database.put({"p_meta": meta})
        with pytest.raises(StoreError, match="version"):
            KeyStore(database, "p_")


def test_a_value_of_another_version_is_refused(tmp_path: Path) -> None:
    with open_database(tmp_path) as database:
        database.put({"1_review_ths": b"rwkvkey9....", "1_rmse_bins": b"rwkvkey9...."})
        with pytest.raises(StoreError, match="version"):
            KeyStore(database, "").read(1)


# --- Published values


def published(database: Database, prefix: str, user: int, keys: BenchmarkKeys) -> None:
    database.put(
        {
            f"{prefix}{user}_review_ths": saved(torch.tensor(keys.review_ths.tolist(), dtype=torch.int32)),
            f"{prefix}{user}_rmse_bins": saved(torch.tensor(keys.rmse_bins.tolist(), dtype=torch.int32)),
        }
    )


@pytest.mark.parametrize("prefix", ["", "short_secs_"])
def test_published_keys_are_read(tmp_path: Path, prefix: str) -> None:
    with open_database(tmp_path) as database:
        published(database, prefix, 5, keys_of(5, 300))
        store = KeyStore(database, prefix)
        assert store.has(5)
        assert_same_keys(store.read(5), keys_of(5, 300))


def test_published_users_without_keys_have_none(tmp_path: Path) -> None:
    """The published code writes nothing for them; under another prefix nobody looked at all."""
    with open_database(tmp_path) as database:
        published(database, "", 5, keys_of(5))
        assert_same_keys(KeyStore(database, "").read(6), NO_KEYS)
        with pytest.raises(StoreError, match="user 6 "):
            KeyStore(database, "short_secs_").read(6)


def test_our_keys_may_lie_beside_published_ones(tmp_path: Path) -> None:
    with open_database(tmp_path) as database:
        published(database, "", 5, keys_of(5))
        store = KeyStore(database, "")
        store.begin(KeySettings(False, False))
        store.write({6: keys_of(6)})
        assert_same_keys(store.read(5), keys_of(5))
        assert_same_keys(store.read(6), keys_of(6))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(-5, 1000, dtype=torch.int32),
        torch.tensor([], dtype=torch.int32),
        torch.tensor([2**31 - 1, -(2**31)], dtype=torch.int32),
        torch.arange(100, dtype=torch.int32)[30:60],
    ],
    ids=["many", "empty", "extremes", "part"],
)
def test_int32_tensors_are_read_without_torch(tensor: torch.Tensor) -> None:
    values = read_int32_tensor(saved(tensor))
    assert values.dtype == np.int32
    assert values.tolist() == tensor.tolist()


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(3),
        torch.zeros(3),
        torch.zeros(2, 2, dtype=torch.int32),
        torch.arange(9, dtype=torch.int32)[::2],
        {"a": torch.zeros(1, dtype=torch.int32)},
        [1, 2],
        None,
        Path("x"),
    ],
    ids=["int64", "float32", "matrix", "strided", "dict", "list", "none", "object"],
)
def test_other_saved_values_are_refused(value: object) -> None:
    with pytest.raises(StoreError):
        read_int32_tensor(saved(value))


class _Trap:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_code_in_a_saved_value_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        read_int32_tensor(saved(_Trap(tmp_path / "created")))
    assert not (tmp_path / "created").exists()


def test_damaged_saved_values_never_end_in_another_error() -> None:
    data = np.frombuffer(saved(torch.arange(50, dtype=torch.int32)), np.uint8)
    rng = np.random.default_rng(0)
    refusals = 0
    for attempt in range(1500):
        damaged = data.copy()
        damaged[rng.integers(4, len(data), 3)] = rng.integers(0, 256, 3)
        value = damaged[: rng.integers(4, len(data))] if attempt % 4 == 0 else damaged
        try:
            read_int32_tensor(value.tobytes())
        except StoreError:
            refusals += 1
    assert refusals > 300
