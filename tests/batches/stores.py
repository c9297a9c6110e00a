"""Small review stores on disk for tests of the plan and the loader."""

from collections.abc import Iterable
from pathlib import Path

from rwkv.data.codec import StoredHistory
from rwkv.data.database import Database, DatabasePlace
from rwkv.data.encoded_user import encode_user
from rwkv.data.segments import segment_bounds
from rwkv.data.store import ReviewStore
from rwkv.data.store_settings import StoreSettings
from tests.helpers import make_table, random_revlog

SIZE = 1 << 24


def make_store(
    path: Path, users: Iterable[int], reviews: int = 30, max_rows: int = 20, change: int = 0
) -> DatabasePlace:
    """Write a store of random histories in segments of at most max_rows rows; `change` shifts the last rating."""
    place = DatabasePlace(path, SIZE, "TRAIN_DATASET_LMDB_SIZE", "the command")
    with Database(path, SIZE, "LMDB_SIZE") as database:
        store = ReviewStore(database)
        store.begin(StoreSettings(max_rows, "own", ""))
        for user in users:
            table = make_table(random_revlog(user, reviews, cards=6), user=user)
            table.rating[-1] = (table.rating[-1] - 1 + change) % 4 + 1
            stored = StoredHistory(table, table.review_th % 3 == 0)
            store.write([encode_user(stored, segment_bounds(table, max_rows), part_reviews=12)])
    return place
