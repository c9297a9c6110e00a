"""Finds and loads the conformance vectors, and keeps count of how far our numbers are from them.

The vectors are a folder of files; which users, key sets and segment sizes it holds is read from the folder, so that any
set of the same form can be tested.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rwkv.arrays import Bools
from rwkv.data.history import RevlogTable, number_by_appearance
from rwkv.data.keys import BenchmarkKeys
from rwkv.data.revlogs import list_users, read_history

Arrays = dict[str, np.ndarray]

VARIABLE = "RWKV_CONFORMANCE"
DEFAULT = "../shared/conformance"

_REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = _REPOSITORY / "tests" / "golden"

# (SHORT, SECS) of each file of keys.
KEY_SETS = {"default": (False, False), "short": (True, False), "secs": (False, True), "short_secs": (True, True)}

# The keys that are marked in the samples.
SAMPLE_KEYS = "short_secs"

_DIFFERENCE = "difference"


def wanted_folder() -> Path:
    """Where the full vectors should be: RWKV_CONFORMANCE, relative to the repository's root."""
    return Path(os.path.normpath(_REPOSITORY / (os.environ.get(VARIABLE) or DEFAULT)))


def vectors_folder() -> Path:
    """The folder of the vectors: the wanted one, or the small subset in tests/golden where that is absent."""
    wanted = wanted_folder()
    return wanted if wanted.is_dir() else GOLDEN


def dataset_root(folder: Path) -> Path:
    """The simulated users from which the vectors were made, in the layout of anki-revlogs-10k."""
    return folder / "dataset"


def users(folder: Path) -> list[int]:
    """The users whose histories the folder holds."""
    return list_users(dataset_root(folder))


def _by_user(folder: Path, pattern: str) -> dict[int, Path]:
    matches = ((re.fullmatch(pattern, path.name), path) for path in folder.glob("samples_*.npz"))
    return dict(sorted((int(match[1]), path) for match, path in matches if match))


def sample_files(folder: Path) -> dict[int, Path]:
    """By user: the rows of the whole history."""
    return _by_user(folder, r"samples_(\d+)\.npz")


def segment_files(folder: Path) -> dict[int, Path]:
    """By user: the rows of the history cut into segments."""
    return _by_user(folder, r"samples_(\d+)_segments\.npz")


def key_files(folder: Path) -> dict[str, Path]:
    """By key set: the files of benchmark keys."""
    paths = {name: folder / f"keys_{name}.npz" for name in KEY_SETS}
    return {name: path for name, path in paths.items() if path.is_file()}


@lru_cache(maxsize=16)
def load(path: Path) -> Arrays:
    """All arrays of a file. They are shared between tests: do not write into them."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@lru_cache(maxsize=64)
def history(folder: Path, user: int, missing_notes: str = "published") -> RevlogTable:
    """One user's history as we read it."""
    return read_history(dataset_root(folder), user, missing_notes)


def published_keys(path: Path, user: int) -> BenchmarkKeys | None:
    """A user's keys in a file of keys; None where the file has none."""
    arrays = load(path)
    if f"user{user}_review_ths" not in arrays:
        return None
    return BenchmarkKeys(arrays[f"user{user}_review_ths"], arrays[f"user{user}_rmse_bins"])


def sample_is_key(folder: Path, table: RevlogTable) -> Bools:
    """Which reviews [R] are marked in the samples: those with a short_secs key in the file."""
    keys = published_keys(key_files(folder)[SAMPLE_KEYS], table.user)
    return np.zeros(len(table), bool) if keys is None else keys.mark(table.review_th)


def with_prefix(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def partition(ids: np.ndarray) -> np.ndarray:
    """Ids renumbered 0, 1, ... in order of first appearance: equal for equal partitions."""
    return number_by_appearance(ids)[0]


def unequal(ours: np.ndarray, theirs: np.ndarray) -> int:
    """How many entries differ; all of them where the shapes do."""
    if ours.shape != theirs.shape:
        return max(ours.size, theirs.size, 1)
    return int(np.count_nonzero(ours != theirs))


def as_property(group: str, value: float) -> tuple[str, list[Any]]:
    """A difference in the form in which it travels with a test's report, also from worker processes."""
    return _DIFFERENCE, [group, float(value)]


def gather_differences(properties: Iterable[tuple[str, Any]]) -> dict[str, tuple[int, float]]:
    """By group: the number of comparisons and the largest difference (NaN if any is)."""
    groups: dict[str, list[float]] = defaultdict(list)
    for name, content in properties:
        if name == _DIFFERENCE:
            group, value = content
            groups[group].append(value)
    return {group: (len(values), float(np.max(values))) for group, values in sorted(groups.items())}
