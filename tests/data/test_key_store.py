"""The benchmark keys in a database: prefixes, versions, published values, damage."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from rwkv.data.database import Database
from rwkv.data.key_store import KeySettings, KeyStore
from rwkv.data.keys import NO_KEYS, BenchmarkKeys
from rwkv.data.stored_bytes import read_int32_tensor
from rwkv.errors import StoreError

SIZE = 1 << 24


def open_database(path: Path, size: int = SIZE) -> Database:
    return Database(path / "db", size, "LMDB_SIZE")


def keys_of(user: int, count: int = 10) -> BenchmarkKeys:
    review_ths = np.arange(1, count + 1, dtype=np.int32) * user
    return BenchmarkKeys(review_ths, (review_ths % 3).astype(np.int32))


def assert_same_keys(ours: BenchmarkKeys, expected: BenchmarkKeys) -> None:
    assert ours.review_ths.dtype == ours.rmse_bins.dtype == np.int32
    np.testing.assert_array_equal(ours.review_ths, expected.review_ths)
    np.testing.assert_array_equal(ours.rmse_bins, expected.rmse_bins)


def saved(tensor: object) -> bytes:
    """As the published code stores a value."""
    buffer = io.BytesIO()
    torch.save(tensor, buffer)
    return buffer.getvalue()


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
