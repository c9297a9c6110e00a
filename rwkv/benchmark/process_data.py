"""Fill a review store with users' histories, compressed, with keys marked, in segments (spec 3)."""

from functools import partial

from rwkv.benchmark.databases import key_database, users_with_history, write_outcomes
from rwkv.config import ProcessDataConfig
from rwkv.data.codec import StoredHistory
from rwkv.data.database import Database
from rwkv.data.encoded_user import EncodedUser, encode_user
from rwkv.data.key_store import KeyStore
from rwkv.data.revlogs import read_history
from rwkv.data.segments import segment_bounds
from rwkv.data.store import ReviewStore
from rwkv.data.store_settings import StoreSettings
from rwkv.locks import only_writer_in
from rwkv.plurals import counted
from rwkv.runtime import log
from rwkv.workers import LocalPool, Pool


def process_data(config: ProcessDataConfig, pool: Pool | None = None) -> int:
    """Store the configured users that are not in the store.

    Args:
        config: The configuration.
        pool: The workers; by default PROCESSES of this machine.

    Returns:
        The exit code.
    """
    users = users_with_history(config.data_path, config.users)
    with key_database(config).open() as keys:
        KeyStore(keys, config.label_filter_key_prefix).check_begun()
    settings = StoreSettings(config.max_batch_size, config.missing_notes, config.label_filter_key_prefix)
    with (
        only_writer_in(config.lmdb_path, "another LMDB_PATH"),
        Database(config.lmdb_path, config.lmdb_size, "LMDB_SIZE") as database,
    ):
        store = ReviewStore(database)
        store.begin(settings)
        todo = [user for user in users if not store.has(user)]
        log.info("%s, %s of them done before", counted(len(users), "user"), f"{len(users) - len(todo):,}")
        if todo:
            store.check_open_for_more()
        job = partial(_encode_user, config, settings)
        reviews = size = 0

        def write(encoded: list[tuple[int, EncodedUser]]) -> None:
            nonlocal reviews, size
            store.write([user for _, user in encoded])
            for number, user in encoded:
                reviews += user.reviews
                size += user.size
                for notice in user.notices:
                    log.info("user %d: %s", number, notice)

        failures = write_outcomes(job, todo, pool or LocalPool(config.processes), write, "histories")
        log.info("%s stored, %.2f bytes each", counted(reviews, "review"), size / max(1, reviews))
    return failures.exit_code()


def _encode_user(config: ProcessDataConfig, settings: StoreSettings, user: int) -> EncodedUser:
    table = read_history(config.data_path, user, settings.missing_notes)
    with key_database(config).open(is_checked=True) as database:
        keys = KeyStore(database, settings.label_filter_key_prefix).read(user)
    bounds = segment_bounds(table, settings.max_batch_size)
    return encode_user(StoredHistory(table, keys.mark(table.review_th)), bounds)
