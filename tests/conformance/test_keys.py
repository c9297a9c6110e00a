"""The four sets of benchmark keys: which reviews count is exact, bins are equal as partitions."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from rwkv.data.keys import BenchmarkKeys, benchmark_keys
from tests.conformance import vectors as files


def test_keys(vectors: Path, key_set: str, user: int, differences: Callable[[str, float], None]) -> None:
    short, secs = files.KEY_SETS[key_set]
    expected = files.published_keys(files.key_files(vectors)[key_set], user)
    ours = benchmark_keys(files.history(vectors, user), short, secs)
    if expected is None:
        differences("keys: users without", len(ours))
        assert len(ours) == 0
        return
    assert len(expected) > 0
    differences("keys: review_ths", files.unequal(ours.review_ths, expected.review_ths))
    np.testing.assert_array_equal(ours.review_ths, expected.review_ths)
    bins = files.partition(ours.rmse_bins)
    differences("keys: rmse_bins", files.unequal(bins, files.partition(expected.rmse_bins)))
    np.testing.assert_array_equal(bins, files.partition(expected.rmse_bins))


def test_keys_do_not_depend_on_missing_notes(vectors: Path, key_set: str, user: int) -> None:
    short, secs = files.KEY_SETS[key_set]
    keys: list[BenchmarkKeys] = [
        benchmark_keys(files.history(vectors, user, missing), short, secs) for missing in ("own", "published")
    ]
    np.testing.assert_array_equal(keys[0].review_ths, keys[1].review_ths)
    np.testing.assert_array_equal(keys[0].rmse_bins, keys[1].rmse_bins)


def test_files_of_keys_name_known_users_only(vectors: Path, key_set: str) -> None:
    named = {name.split("_")[0] for name in files.load(files.key_files(vectors)[key_set])}
    assert named <= {f"user{user}" for user in files.users(vectors)}
