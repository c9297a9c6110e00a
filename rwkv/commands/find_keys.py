"""Fill the database of benchmark keys (spec 2)."""

from functools import partial
from pathlib import Path

from rwkv.commands.users import users_with_history, write_outcomes
from rwkv.config import Config, FindKeysConfig
from rwkv.data.database import Database, DatabasePlace
from rwkv.data.key_store import KeySettings, KeyStore
from rwkv.data.keys import BenchmarkKeys, benchmark_keys
from rwkv.data.revlogs import read_history
from rwkv.locks import only_writer_in
from rwkv.runtime import log

NAME = "python -m rwkv.find_equalize_test_reviews"


def find_keys(config: FindKeysConfig) -> int:
    """Find the keys of all configured users that are not there yet. Returns the exit code."""
    users = users_with_history(config.data_path, config.users)
    path, size = config.label_filter_lmdb_path, config.label_filter_lmdb_size
    with (
        only_writer_in(path, "another LABEL_FILTER_LMDB_PATH"),
        Database(path, size, "LABEL_FILTER_LMDB_SIZE") as database,
    ):
        store = KeyStore(database, config.label_filter_key_prefix)
        store.begin(KeySettings(config.short, config.secs))
        job = partial(_keys_of, config.data_path, config.short, config.secs)
        todo = [user for user in users if not store.has(user)]
        log.info("%d users, %d of them done before", len(users), len(users) - len(todo))

        def write(found: list[tuple[int, tuple[BenchmarkKeys, tuple[str, ...]]]]) -> None:
            store.write({user: keys for user, (keys, _) in found})
            for user, (keys, notices) in found:
                for notice in notices:
                    log.info("user %d: %s", user, notice)
                if len(keys) == 0:
                    log.info("user %d has no keys: too few reviews that count", user)

        return write_outcomes(job, todo, config.processes, write, "keys").exit_code()


def key_database(config: Config) -> DatabasePlace:
    """Where other commands find the keys, by their configuration."""
    path, size = config.label_filter_lmdb_path, config.label_filter_lmdb_size
    return DatabasePlace(path, size, "LABEL_FILTER_LMDB_SIZE", NAME)


def _keys_of(data_path: Path, short: bool, secs: bool, user: int) -> tuple[BenchmarkKeys, tuple[str, ...]]:
    """The user's keys, and what is odd about the data."""
    table = read_history(data_path, user)
    return benchmark_keys(table, short, secs), table.notices
