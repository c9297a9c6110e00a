"""Find the reviews that the benchmark counts, and write their keys to a database (spec 2)."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rwkv.benchmark.databases import key_database, users_with_history, write_outcomes
from rwkv.config import FindKeysConfig
from rwkv.data.database import Database
from rwkv.data.key_store import KeySettings, KeyStore, delete_prefix
from rwkv.data.keys import BenchmarkKeys, benchmark_keys
from rwkv.data.revlogs import read_history
from rwkv.errors import ConfigError
from rwkv.locks import only_writer_in
from rwkv.plurals import counted
from rwkv.runtime import log
from rwkv.workers import LocalPool, Pool


def find_keys(config: FindKeysConfig, pool: Pool | None = None) -> int:
    """Find the keys of the configured users that are not in the database.

    Args:
        config: The configuration.
        pool: The workers; by default PROCESSES of this machine.

    Returns:
        The exit code.
    """
    _check_kind(config)
    users = users_with_history(config.data_path, config.users)
    with _written(config) as database:
        store = KeyStore(database, config.label_filter_key_prefix)
        store.begin(KeySettings(config.short, config.secs))
        job = partial(_keys_of, config.data_path, config.short, config.secs)
        todo = [user for user in users if not store.has(user)]
        log.info("%s, %s of them done before", counted(len(users), "user"), f"{len(users) - len(todo):,}")

        stored = 0

        def write(results: list[tuple[int, tuple[BenchmarkKeys, tuple[str, ...]]]]) -> None:
            nonlocal stored
            store.write({user: keys for user, (keys, _) in results})
            for user, (keys, notices) in results:
                stored += len(keys)
                for notice in notices:
                    log.info("user %d: %s", user, notice)
                if len(keys) == 0:
                    log.info("user %d has no keys: too few reviews count", user)

        failures = write_outcomes(job, todo, pool or LocalPool(config.processes), write, "keys")
        log.info("keys of %s stored", counted(stored, "review"))
        return failures.exit_code()


def delete_keys(config: FindKeysConfig) -> int:
    """Delete all keys with the configured prefix. Returns the exit code."""
    key_database(config).open().close()  # raises StoreError if it is missing
    with _written(config) as database:
        count = delete_prefix(database, config.label_filter_key_prefix)
    log.info("deleted %s with LABEL_FILTER_KEY_PREFIX %r", counted(count, "entry"), config.label_filter_key_prefix)
    return 0


def _check_kind(config: FindKeysConfig) -> None:
    """Raise ConfigError if the prefix names a kind of keys, such as "short_secs_", that SHORT and SECS contradict."""
    words = config.label_filter_key_prefix.split("_")
    missing = [name for name in ("short", "secs") if name in words and not getattr(config, name)]
    if missing:
        raise ConfigError(
            f"The prefix of the keys names the kind {' and '.join(missing)}, but the configuration does not.",
            where=f"LABEL_FILTER_KEY_PREFIX = {config.label_filter_key_prefix!r}",
            got=", ".join(f"{name.upper()} = false" for name in missing),
            hint=f"use {' '.join(f'--{name}' for name in missing)}, or choose another prefix",
        )


@contextmanager
def _written(config: FindKeysConfig) -> Iterator[Database]:
    """The key database, locked for this command."""
    path, size = config.label_filter_lmdb_path, config.label_filter_lmdb_size
    with (
        only_writer_in(path, "another LABEL_FILTER_LMDB_PATH"),
        Database(path, size, "LABEL_FILTER_LMDB_SIZE") as database,
    ):
        yield database


def _keys_of(data_path: Path, short: bool, secs: bool, user: int) -> tuple[BenchmarkKeys, tuple[str, ...]]:
    """A user's keys, and notices about the data."""
    table = read_history(data_path, user)
    return benchmark_keys(table, short, secs), table.notices
