"""Keys, preprocessing and reading: reviews per second, and bytes per review in the databases.

python -m bench.data_pipeline [--users 250] [--reviews 4000] [--processes 2] [--repeats 3] [--long 630000 3900000]

--long measures a single segment from the middle of histories of these lengths.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.report import print_json, timed
from rwkv.batches.loader import read_segment
from rwkv.batches.plan import segment_places
from rwkv.benchmark.find_keys import find_keys
from rwkv.benchmark.process_data import process_data
from rwkv.benchmark.simulate import simulate
from rwkv.config import FindKeysConfig, ProcessDataConfig
from rwkv.data.codec import StoredHistory
from rwkv.data.database import Database
from rwkv.data.encoded_user import encode_user
from rwkv.data.revlogs import read_history
from rwkv.data.segments import segment_bounds
from rwkv.data.store import ReviewStore
from rwkv.data.store_settings import StoreSettings

_SIZE = 4_000_000_000
_SEGMENT_REVIEWS = 32_768


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=250)
    parser.add_argument("--reviews", type=int, default=4000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--long", type=int, nargs="*", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = _measure(Path(folder), options)
        for reviews in options.long:
            figures |= _long_history(Path(folder) / str(reviews), reviews, options.repeats)
    for name, value in figures.items():
        print(f"{name:<32} {value:,.6g}" if isinstance(value, float) else f"{name:<32} {value}")
    print_json("data_pipeline", figures)


def _measure(root: Path, options: argparse.Namespace) -> dict[str, object]:
    users = range(1, options.users + 1)
    simulated = timed(lambda: simulate(options.users, options.reviews, 1, root / "data"), 1)
    key_path, store_path = root / "keys", root / "store"
    keys = FindKeysConfig(
        data_path=root / "data",
        label_filter_lmdb_path=key_path,
        label_filter_lmdb_size=_SIZE,
        user_ids=tuple(users),
        processes=options.processes,
    )
    store = ProcessDataConfig(
        data_path=root / "data",
        label_filter_lmdb_path=key_path,
        lmdb_path=store_path,
        lmdb_size=_SIZE,
        max_batch_size=2 * _SEGMENT_REVIEWS,
        user_ids=tuple(users),
        processes=options.processes,
    )
    key_times = timed(lambda: _rebuild(key_path, lambda: find_keys(keys)), options.repeats)
    store_times = timed(lambda: _rebuild(store_path, lambda: process_data(store)), options.repeats)
    with Database(store_path, _SIZE, "", readonly=True) as database:
        review_store = ReviewStore(database)
        reviews = sum(int(review_store.bounds(user)[-1, 1]) for user in users)
        read_times = timed(lambda: _read_all(review_store, users), options.repeats)
    return {
        "reviews": reviews,
        "processes": options.processes,
        "simulate_reviews_per_s": reviews / simulated["median_s"],
        "keys_reviews_per_s": reviews / key_times["median_s"],
        "processing_reviews_per_s": reviews / store_times["median_s"],
        "segments_reviews_per_s_one_process": reviews / read_times["median_s"],
        "key_bytes_per_review": _bytes(key_path) / reviews,
        "store_bytes_per_review": _bytes(store_path) / reviews,
    }


def _long_history(folder: Path, reviews: int, repeats: int) -> dict[str, object]:
    """Read one segment of a learner with this many reviews. A long history takes a second of simulation per 250,000."""
    simulate(1, reviews, 1, folder / "data", spread=0)
    table = read_history(folder / "data", 1)
    bounds = segment_bounds(table, 2 * _SEGMENT_REVIEWS)
    encoded = encode_user(StoredHistory(table, np.ones(len(table), bool)), bounds)
    with Database(folder / "store", _SIZE, "", durable=False) as database:
        store = ReviewStore(database)
        store.begin(StoreSettings(2 * _SEGMENT_REVIEWS, "own", ""))
        store.write([encoded])
        places = segment_places(store, [1])
        times = timed(lambda: read_segment(store, places[len(places) // 2]), repeats)
    return {
        f"segment_ms_of_{reviews}": 1000 * times["median_s"],
        f"bytes_per_review_of_{reviews}": encoded.size / len(table),
    }


def _rebuild(path: Path, run: Callable[[], int]) -> None:
    shutil.rmtree(path, ignore_errors=True)
    if run() != 0:
        raise RuntimeError(f"the command that writes {path} failed")


def _read_all(store: ReviewStore, users: range) -> None:
    """Read every segment of every user with features and labels, as training does."""
    for place in segment_places(store, users):
        read_segment(store, place)


def _bytes(path: Path) -> int:
    """The size of the database on disk."""
    return sum(512 * file.stat().st_blocks for file in path.iterdir())


if __name__ == "__main__":
    main()
