"""A folder with a dataset and databases, in which whole commands of the data layer are run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import rwkv.data_processing
import rwkv.find_equalize_test_reviews
from rwkv.data.codec import StoredHistory
from rwkv.data.database import Database
from rwkv.data.key_store import KeyStore
from rwkv.data.keys import BenchmarkKeys
from rwkv.data.store import ReviewStore
from rwkv.errors import StoreError
from tests.helpers import (
    DECKS,
    SECONDS_PER_DAY,
    Columns,
    IntColumns,
    cards_of,
    revlog_columns,
    with_value,
    write_history,
    write_parquet,
)

SIZE = 1 << 24
REPOSITORY = Path(rwkv.__file__).resolve().parents[1]
_PATIENCE_S = 60


@dataclass
class Workspace:
    """Settings are keys of the configuration files; a call's own go before `settings`, None leaves a key out."""

    root: Path
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    def find_keys(self, *flags: str, **settings: object) -> int:
        """Run the command `find_equalize_test_reviews`; its exit code."""
        return rwkv.find_equalize_test_reviews.main(["--config", self.write_config(settings), *flags])

    def process_data(self, *flags: str, **settings: object) -> int:
        """Run the command `data_processing`; its exit code."""
        return rwkv.data_processing.main(["--config", self.write_config(self._store_keys() | settings), *flags])

    def killed(self, module: str, is_time: Callable[[], bool], **settings: object) -> None:
        """Run a command as a process of its own and end it by SIGKILL once `is_time`; its workers must end too."""
        extra = self._store_keys() if module == "rwkv.data_processing" else {}
        command = [sys.executable, "-m", module, "--config", self.write_config(extra | settings)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=REPOSITORY)
        try:
            wait_until(lambda: process.poll() is not None or is_time())
            assert process.poll() is None, "the command ended before it could be killed"
        finally:
            process.kill()
        process.communicate(timeout=_PATIENCE_S)  # returns when all who share its output have ended
        assert process.returncode == -signal.SIGKILL

    def write_config(self, settings: dict[str, object]) -> str:
        """The configuration file of a command."""
        keys = {
            "DATA_PATH": str(self.dataset),
            "LABEL_FILTER_LMDB_PATH": str(self.root / "keys_db"),
            "LABEL_FILTER_LMDB_SIZE": SIZE,
            "USER_START": 0,
            "USER_END": 1000,
        }
        keys |= self.settings | settings
        path = self.root / "config.toml"
        lines = [f"{key} = {_toml(value)}" for key, value in keys.items() if value is not None]
        path.write_text("\n".join(lines))
        return str(path)

    def _store_keys(self) -> dict[str, object]:
        return {"LMDB_PATH": str(self.root / "store_db"), "LMDB_SIZE": SIZE, "MAX_BATCH_SIZE": 100}

    def keys(self, user: int, prefix: str = "") -> BenchmarkKeys:
        """A user's stored keys."""
        with Database(self.root / "keys_db", SIZE, "", readonly=True) as database:
            return KeyStore(database, prefix).read(user)

    def stored(self, user: int, path: str = "store_db") -> StoredHistory:
        """A user's stored history."""
        with Database(self.root / path, SIZE, "", readonly=True) as database:
            return ReviewStore(database).read(user)

    def put(self, path: str, values: dict[str, bytes]) -> None:
        """Change items of a database."""
        with Database(self.root / path, SIZE, "") as database:
            database.put(values)

    def users_with_keys(self, prefix: str = "") -> list[int]:
        """Whose keys are stored; none while there is no database."""
        return self._users("keys_db", prefix, "_rmse_bins")

    def users_stored(self) -> list[int]:
        """Whose histories are stored; none while there is no database."""
        return self._users("store_db", "", "_cards")

    def _users(self, path: str, prefix: str, ending: str) -> list[int]:
        names = [
            key.removeprefix(prefix).removesuffix(ending) for key in items(self.root / path) if key.startswith(prefix)
        ]
        return sorted(int(name) for name in names if name.isdigit())


def items(path: Path) -> dict[str, bytes]:
    """All items of a database; none where there is no database yet."""
    try:
        with Database(path, SIZE, "", readonly=True) as database:
            return {key: database.get(key) or b"" for key in database}
    except StoreError:
        return {}


def studied(seed: int, cards: int = 60) -> IntColumns:
    """A seeded revlog with benchmark keys of every kind: regular second intervals, some same-day reviews, lapses."""
    rng = np.random.default_rng(seed)
    days = np.arange(cards)[:, None] // 20 + [0, 0, 1, 1, 4, 14]
    seconds = days * SECONDS_PER_DAY + np.array([0, 600, 0, 900, 0, 0]) + rng.integers(0, 500, (cards, 6))
    came = rng.random((cards, 6)) < [1, 0.4, 1, 0.3, 0.8, 0.7]
    card, time_s = np.nonzero(came)[0], seconds[came]
    order = np.argsort(time_s, kind="stable")
    ratings = rng.choice([1, 3, 4], len(order), p=[0.2, 0.7, 0.1])
    return revlog_columns(card[order], time_s[order], ratings, rng.integers(0, 60_000, len(order)))


def add_users(root: Path, users: Iterable[int]) -> dict[int, IntColumns]:
    """Write users with histories that have keys; their revlogs."""
    revlogs = {user: studied(user) for user in users}
    for user, revlog in revlogs.items():
        write_history(root, user, revlog, cards_of(revlog), DECKS)
    return revlogs


def revlog_file(root: Path, user: int) -> Path:
    """Where `add_users` writes a user's reviews."""
    return root / "revlogs" / f"user_id={user}" / "data.parquet"


def _cut_file(root: Path, user: int) -> None:
    path = revlog_file(root, user)
    path.write_bytes(path.read_bytes()[:-50])


def _without_rating(root: Path, user: int) -> None:
    write_history(root, user, {name: column for name, column in studied(user).items() if name != "rating"})


def _day_missing(root: Path, user: int) -> None:
    write_history(root, user, with_value(studied(user), "day_offset", 5, np.nan))


def _day_decreasing(root: Path, user: int) -> None:
    write_history(root, user, with_value(studied(user), "day_offset", 5, 10_000))


def _card_twice(root: Path, user: int) -> None:
    cards = cards_of(studied(user))
    write_history(root, user, studied(user), {name: np.append(ids, ids[:1]) for name, ids in cards.items()}, DECKS)


# What may be wrong with one user's files, and what the command must say of it.
DAMAGES = pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut_file, ("cannot be read", "data.parquet")),
        (_without_rating, ("missing: rating", "data.parquet")),
        (_day_missing, ("day_offset", "missing", "row 6")),
        (_day_decreasing, ("day_offset decreases", "row 7")),
        (_card_twice, ("occurs twice", "card_id")),
    ],
)
Damage = Callable[[Path, int], None]


def block(root: Path, user: int) -> None:
    """Make the reading of a user's revlog wait for ever, so that a command stands still there."""
    path = revlog_file(root, user)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def unblock(root: Path, user: int, revlog: Columns) -> None:
    """Give the user its revlog back."""
    revlog_file(root, user).unlink()
    write_parquet(revlog_file(root, user), revlog)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition that other processes bring about."""
    deadline = time.monotonic() + _PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def assert_said(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """Standard error since the last look says all of `words`, without a traceback."""
    message = capsys.readouterr().err
    assert "Traceback" not in message
    for word in words:
        assert word in message


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
