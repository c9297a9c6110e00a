"""The review store and the database of benchmark keys, read, and read after something was added."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import lmdb
import numpy as np
import torch

from bench.fuzz import values
from bench.fuzz.damage import damaged
from bench.fuzz.subject import Subject
from rwkv.data.codec import StoredHistory
from rwkv.data.database import Database
from rwkv.data.encoded_user import EncodedUser, encode_user
from rwkv.data.key_store import KeySettings, KeyStore
from rwkv.data.keys import BenchmarkKeys
from rwkv.data.segments import segment_bounds
from rwkv.data.store import ReviewStore
from rwkv.data.store_settings import StoreSettings
from rwkv.data.stored_bytes import is_sealed, read_int32_tensor, seal, unseal
from tests.data.old_stores import write_version_1
from tests.helpers import make_table, random_revlog

_SIZE = 1 << 22
# Few reviews lie within a page with others, many have pages of their own.
_USERS = {1: 20, 2: 60, 3: 1500}
_ADDED = 9
_SETTINGS, _KEY_SETTINGS = StoreSettings(100, "own", ""), KeySettings(False, False)
_FILE = "data.mdb"


def _encoded(user: int) -> EncodedUser:
    table = make_table(random_revlog(user, _USERS.get(user, 300), 8), user=user)
    stored = StoredHistory(table, table.review_th % 2 == 0)
    return encode_user(stored, segment_bounds(table, _SETTINGS.max_batch_size), part_reviews=500)


def _keys(user: int) -> BenchmarkKeys:
    review_ths = np.arange(1, _USERS.get(user, 300) + 1, dtype=np.int32) * user
    return BenchmarkKeys(review_ths, (review_ths % 3).astype(np.int32))


def _make_store(folder: Path) -> None:
    with Database(folder, _SIZE, "", durable=False) as database:
        _add_histories(database, *_USERS)


def _make_keys(folder: Path) -> None:
    with Database(folder, _SIZE, "", durable=False) as database:
        _add_keys(database, *_USERS)


def _add_histories(database: Database, *users: int) -> None:
    store = ReviewStore(database)
    store.begin(_SETTINGS)
    for user in users:
        store.write([_encoded(user)])


def _add_keys(database: Database, *users: int) -> None:
    store = KeyStore(database, "")
    store.begin(_KEY_SETTINGS)
    for user in users:
        store.write({user: _keys(user)})


def _read_store(is_written: bool, folder: Path) -> object:
    with Database(folder, _SIZE, "", readonly=not is_written, durable=False) as database:
        if is_written:
            _add_histories(database, _ADDED)
        store = ReviewStore(database)
        users = [*_USERS, *[_ADDED] * is_written]
        return store.settings, [_read_user(store, user) for user in users]


def _read_user(store: ReviewStore, user: int) -> object:
    bounds = store.bounds(user)
    segments = [store.excerpt(user, start, stop) for start, stop, _ in bounds[[0, -1]].tolist()]
    return store.has(user), bounds, store.read(user), segments


def _read_keys(is_written: bool, folder: Path) -> object:
    with Database(folder, _SIZE, "", readonly=not is_written, durable=False) as database:
        if is_written:
            _add_keys(database, _ADDED)
        store = KeyStore(database, "")
        users = [*_USERS, *[_ADDED] * is_written]
        return store.settings, [store.read(user) for user in users]


def _wild(folder: Path, rng: Random) -> bytes:
    """Values under other keys, cut or foreign, and some with a right checksum."""
    copy = folder.parent / "wild"
    copy.mkdir(exist_ok=True)
    (copy / _FILE).write_bytes((folder / _FILE).read_bytes())
    with lmdb.open(str(copy), map_size=_SIZE, sync=False) as environment, environment.begin(write=True) as transaction:
        items = {bytes(key): bytes(value) for key, value in transaction.cursor()}
        for key in rng.sample(list(items), rng.randint(1, 2)):
            transaction.put(key, _wild_value(key.decode(), items, rng))
        if rng.random() < 0.2:
            transaction.delete(rng.choice(list(items)))
        if rng.random() < 0.2:
            transaction.put(values.text(rng).encode()[:400] or b"0", rng.randbytes(20))
    content = (copy / _FILE).read_bytes()
    (copy / _FILE).unlink()
    return content


def _wild_value(key: str, items: dict[bytes, bytes], rng: Random) -> bytes:
    value = items[key.encode()]
    changes: list[Callable[[], bytes]] = [
        lambda: damaged(value, rng),
        lambda: rng.choice(list(items.values())),
        lambda: rng.randbytes(rng.choice([0, 1, 8, 100])),
    ]
    if is_sealed(value):
        content = unseal(key, value)
        integers = np.array([values.integer(rng) for _ in range(len(content) // 4)]).astype("<i4")
        changes += [lambda: seal(key, damaged(content, rng))] * 3
        changes += [lambda: seal(key, integers.tobytes()), lambda: seal(key, content[: rng.randrange(len(content))])]
    return rng.choice(changes)()


# --- What the published program and earlier versions wrote

_OLD_USER = 7
_TENSOR = "tensor.pth"


def _make_old_store(folder: Path) -> None:
    with Database(folder, _SIZE, "", durable=False) as database:
        write_version_1(database)


def _read_old_store(folder: Path) -> object:
    with Database(folder, _SIZE, "", readonly=True) as database:
        store = ReviewStore(database)
        return store.settings, _read_user(store, _OLD_USER)


def _make_tensor(folder: Path) -> None:
    folder.mkdir()
    torch.save(torch.arange(100, dtype=torch.int32), folder / _TENSOR)


def _read_tensor(folder: Path) -> object:
    return read_int32_tensor((folder / _TENSOR).read_bytes())


def _wild_tensor(folder: Path, rng: Random) -> bytes:
    tensor = torch.arange(100).to(rng.choice([torch.int32, torch.int32, torch.int64, torch.float32, torch.bool]))
    changes: list[Callable[[], object]] = [
        lambda: tensor[:: rng.randint(1, 3)],
        lambda: tensor[rng.randrange(100) :],
        lambda: tensor.view(2, 50),
        lambda: tensor.expand(3, 100),
        lambda: [tensor],
        lambda: values.value(rng, 0),
    ]
    stream = io.BytesIO()
    torch.save(rng.choice(changes)(), stream)
    return stream.getvalue()


SUBJECTS = (
    *(
        Subject(name + "_written" * is_written, _FILE, make, partial(read, is_written), _wild, True, 0.5)
        for name, make, read in (("store", _make_store, _read_store), ("keys", _make_keys, _read_keys))
        for is_written in (False, True)
    ),
    Subject("old_store", _FILE, _make_old_store, _read_old_store, _wild, share=0.5),
    Subject("tensor", _TENSOR, _make_tensor, _read_tensor, _wild_tensor, has_checksum=True, share=0.5),
)
