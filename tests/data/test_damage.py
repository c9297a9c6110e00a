"""Databases with changed or truncated files: right values, or an error. A crash of the process ends these tests."""

from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import numpy.typing as npt
import pytest

from rwkv.data.codec import StoredHistory
from rwkv.data.database import Database
from rwkv.data.encoded_user import EncodedUser, encode_user
from rwkv.data.key_store import KeySettings, KeyStore
from rwkv.data.keys import BenchmarkKeys
from rwkv.data.lmdb_file import check_lmdb_file
from rwkv.data.segments import segment_bounds
from rwkv.data.store import ReviewStore
from rwkv.data.store_settings import StoreSettings
from rwkv.errors import StoreError
from tests.data.old_stores import stored_before, write_version_1
from tests.data.test_key_store import published
from tests.helpers import assert_same_table, make_table, random_revlog

SIZE = 1 << 24
# Few reviews lie within a page with others, many have pages of their own.
USERS = {1: 20, 2: 60, 3: 60, 12: 1500}
PUBLISHED = {5: 40, 6: 700}
SETTINGS = StoreSettings(100, "own", "")
PREFIXES = ("", "short_secs_")

FLIPS, CUTS = 250, 60


def _encoded(user: int, reviews: int) -> EncodedUser:
    table = make_table(random_revlog(user, reviews, 8), user=user)
    bounds = segment_bounds(table, SETTINGS.max_batch_size)
    return encode_user(StoredHistory(table, table.review_th % 2 == 0), bounds, part_reviews=1000)


def _keys(user: int, count: int) -> BenchmarkKeys:
    review_ths = np.arange(1, count + 1, dtype=np.int32) * user
    return BenchmarkKeys(review_ths, (review_ths % 3).astype(np.int32))


def _write_histories(path: Path) -> None:
    with Database(path, SIZE, "LMDB_SIZE", durable=False) as database:
        store = ReviewStore(database)
        store.begin(SETTINGS)
        for user, reviews in USERS.items():
            store.write([_encoded(user, reviews)])


def _write_keys(path: Path) -> None:
    with Database(path, SIZE, "LMDB_SIZE", durable=False) as database:
        for prefix in PREFIXES:
            store = KeyStore(database, prefix)
            store.begin(KeySettings(bool(prefix), bool(prefix)))
            for user, count in USERS.items():
                store.write({user: _keys(user, count)})
        for user, count in PUBLISHED.items():
            published(database, "published_", user, _keys(user, count))


def _histories(path: Path, readonly: bool) -> list[object]:
    """All that the store says; first, unless readonly, another user is added."""
    with Database(path, SIZE, "LMDB_SIZE", readonly=readonly, durable=False) as database:
        store = ReviewStore(database)
        if not readonly:
            store.begin(SETTINGS)
            store.write([_encoded(77, 900)])
        output: list[object] = [store.settings, store.has(77)]
        for user in (*USERS, *([] if readonly else [77])):
            stored = store.read(user)
            output += [store.has(user), store.bounds(user), *vars(stored.table).values(), stored.is_key]
            output += vars(stored.table.cards).values()
        return [_plain(value) for value in output if value is not None and not hasattr(value, "note")]


def _all_keys(path: Path, readonly: bool) -> list[object]:
    """The same of the keys."""
    with Database(path, SIZE, "LMDB_SIZE", readonly=readonly, durable=False) as database:
        output: list[object] = []
        for prefix, users in (*((prefix, USERS) for prefix in PREFIXES), ("published_", PUBLISHED)):
            store = KeyStore(database, prefix)
            if not readonly and prefix == "":
                store.begin(KeySettings(False, False))
                store.write({77: _keys(77, 700)})
            output.append(store.settings)
            for user in users:
                keys = store.read(user)
                output += [store.has(user), _plain(keys.review_ths), _plain(keys.rmse_bins)]
        return output


def _plain(value: object) -> object:
    return (value.dtype, value.tolist()) if isinstance(value, np.ndarray) else value


def _damaged_copies(data: npt.NDArray[np.uint8], seed: int) -> list[bytes]:
    """With one bit changed, half of them where the pages say what they hold; and cut short."""
    rng = np.random.default_rng(seed)
    copies = []
    for flip in range(FLIPS):
        place = rng.integers(len(data)) if flip % 2 else rng.integers(len(data) // 4096) * 4096 + rng.integers(160)
        copy = data.copy()
        copy[place] ^= 1 << rng.integers(8)
        copies.append(copy.tobytes())
    return copies + [data[: rng.integers(len(data))].tobytes() for _ in range(CUTS)]


@pytest.mark.parametrize("readonly", [True, False], ids=["read", "written"])
@pytest.mark.parametrize(("write", "read"), [(_write_histories, _histories), (_write_keys, _all_keys)])
def test_a_flipped_bit_or_a_lost_end_is_an_error_or_harmless(
    tmp_path: Path, write: Callable[[Path], None], read: Callable[[Path, bool], list[object]], readonly: bool
) -> None:
    write(tmp_path)
    file = tmp_path / "data.mdb"
    sound = file.read_bytes()
    expected = read(tmp_path, readonly)
    refused = 0
    copies = _damaged_copies(np.frombuffer(sound, np.uint8), seed=3 + readonly)
    for number, copy in enumerate(copies):
        file.write_bytes(copy)
        try:
            assert read(tmp_path, readonly) == expected, f"copy {number}"
        except StoreError:
            refused += 1
    assert len(copies) // 4 < refused < len(copies), "both happen: much of a small file is empty"


def _spoil(path: Path, what: bytes) -> None:
    """Change the last letter of these bytes, also in pages that are no longer in use."""
    content = (path / "data.mdb").read_bytes()
    assert what in content
    (path / "data.mdb").write_bytes(content.replace(what, what[:-1] + bytes([what[-1] ^ 1])))


def test_a_damaged_history_or_bound_names_its_user_and_spares_the_others(tmp_path: Path) -> None:
    _write_histories(tmp_path)
    with Database(tmp_path, SIZE, "", readonly=True) as database:
        values = [database.get(key) or b"" for key in ("2_segments", "12_reviews_1")]
    for value in values:
        _spoil(tmp_path, value[: 16 + 9])  # a letter of what follows the checksum
    with Database(tmp_path, SIZE, "", readonly=True) as database:
        store = ReviewStore(database)
        with pytest.raises(StoreError, match="user 2 is damaged"):
            store.bounds(2)
        with pytest.raises(StoreError, match="user 12 is damaged"):
            store.read(12)
        assert [len(store.read(user).table) for user in (1, 3)] == [20, 60]
        assert [int(store.bounds(user)[-1, 1]) for user in (3, 12)] == [60, 1500]


def test_another_users_value_is_refused(tmp_path: Path) -> None:
    _write_histories(tmp_path)
    with Database(tmp_path, SIZE, "") as database:
        database.put(
            {key.replace("3", "2", 1): database.get(key) or b"" for key in list(database) if key.startswith("3_")}
        )
        for ask in (ReviewStore(database).read, ReviewStore(database).bounds):
            with pytest.raises(StoreError, match="user 2 is damaged"):
                ask(2)


@pytest.mark.parametrize("name", ["cards", "segments"])
def test_a_user_with_a_lost_entry_is_damaged(tmp_path: Path, name: str) -> None:
    _write_histories(tmp_path)
    _spoil(tmp_path, f"12_{name}".encode())
    with Database(tmp_path, SIZE, "", readonly=True) as database, pytest.raises(StoreError, match="user 12 is damaged"):
        ReviewStore(database).has(12)


def test_half_of_a_users_keys_are_an_error_in_published_databases_too(tmp_path: Path) -> None:
    _write_keys(tmp_path)
    _spoil(tmp_path, b"published_6_rmse_bins")
    with Database(tmp_path, SIZE, "", readonly=True) as database:
        store = KeyStore(database, "published_")
        assert len(store.read(5)) == PUBLISHED[5]
        with pytest.raises(StoreError, match="keys of user 6 are damaged"):
            store.read(6)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    _write_histories(tmp_path)
    file = tmp_path / "data.mdb"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(StoreError, match=r"damaged or truncated(.|\n)*data.mdb(.|\n)*the file ends(.|\n)*backup"):
        Database(tmp_path, SIZE, "LMDB_SIZE", readonly=True)


def test_an_enormous_size_is_refused_without_allocating_it(tmp_path: Path) -> None:
    _write_histories(tmp_path)
    with Database(tmp_path, SIZE, "") as database:
        value = database.get("12_reviews_0") or b""
    content = bytearray((tmp_path / "data.mdb").read_bytes())
    # The upper half of the size, in the entry before the key.
    content[content.index(b"12_reviews_0") - 6 : content.index(b"12_reviews_0") - 4] = b"\xff\xff"
    assert len(value) > 4096 > len(b"12_reviews_0")
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(StoreError, match="damaged or truncated"):
        Database(tmp_path, SIZE, "LMDB_SIZE", readonly=True)


def test_what_lmdb_writes_passes(tmp_path: Path) -> None:
    """Values of all sizes put, changed and taken away, pages used again, transactions given up."""
    rng = np.random.default_rng(0)
    sizes = [0, 5, 100, 1500, 2500, 5000, 40_000]
    with lmdb.open(str(tmp_path), map_size=1 << 28, sync=False) as environment:
        for step in range(150):
            with environment.begin(write=True) as transaction:
                for _ in range(rng.integers(40)):
                    key = f"{rng.integers(2000)}_reviews".encode()
                    if rng.random() < 0.2:
                        transaction.delete(key)
                    else:
                        transaction.put(key, bytes(int(rng.choice(sizes))))
                if step == 90:
                    for key in list(transaction.cursor().iternext(values=False)):
                        transaction.delete(key)
                if rng.random() < 0.1:
                    transaction.abort()
            for to_write in (False, True):
                check_lmdb_file(tmp_path / "data.mdb", to_write)
        assert environment.stat()["depth"] > 1
        assert environment.info()["last_pgno"] > 1000


# --- What was written before there were checksums


def test_a_store_without_checksums_is_read_and_no_longer_added_to(tmp_path: Path) -> None:
    table = stored_before()
    with Database(tmp_path, SIZE, "") as database:
        write_version_1(database)
        store = ReviewStore(database)
        assert store.has(7)
        assert_same_table(store.read(7).table, table)
        np.testing.assert_array_equal(store.read(7).is_key, table.review_th % 2 == 0)
        np.testing.assert_array_equal(store.bounds(7), segment_bounds(table, 40))
        with pytest.raises(StoreError, match=r"older version(.|\n)*version 1(.|\n)*LMDB_PATH"):
            store.write([_encoded(77, 900)])


def test_bounds_without_a_checksum_must_cut_a_history(tmp_path: Path) -> None:
    with Database(tmp_path, SIZE, "") as database:
        write_version_1(database)
        bounds = np.frombuffer(database.get("7_segments") or b"", "<i4").copy()
        bounds[4] ^= 1 << 30
        database.put({"7_segments": bounds.tobytes()})
        with pytest.raises(StoreError, match=r"user 7 is damaged(.|\n)*invalid bounds"):
            ReviewStore(database).bounds(7)


def test_keys_without_checksums_are_read(tmp_path: Path) -> None:
    with Database(tmp_path, SIZE, "") as database:
        store = KeyStore(database, "")
        store.begin(KeySettings(False, False))
        for name, values in vars(_keys(4, 9)).items():
            database.put({f"4_{name}": b"rwkvkey1" + values.astype("<i4").tobytes()})
        store.write({3: _keys(3, 5)})
        for user, count in ((3, 5), (4, 9)):
            assert store.read(user).review_ths.tolist() == _keys(user, count).review_ths.tolist()
