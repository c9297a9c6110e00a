"""The groups and batches of a training and of its validation, read from the configured stores."""

from rwkv.batches.collate import Batch
from rwkv.batches.loader import training_batch
from rwkv.batches.padding import ROW_STEPS, ROW_STEPS_OF_SHARES, PaddedBatch, pad_batch
from rwkv.batches.plan import Group, Share, filled_groups, fingerprint, history_places, segment_places, training_groups
from rwkv.benchmark.databases import PROCESS_DATA, review_database
from rwkv.config import TrainConfig
from rwkv.data.database import DatabasePlace
from rwkv.data.store import ReviewStore
from rwkv.errors import InputError
from rwkv.ops.backend import Backend
from rwkv.plurals import counted
from rwkv.runtime import log
from rwkv.training.validate import HeldOut, validation_batch


def configured_training_groups(config: TrainConfig) -> tuple[list[Group], str]:
    """The groups of training segments, and a fingerprint of their contents.

    Raises:
        InputError: None of the training users is in the store.
    """
    with _training_store(config).open() as database:
        store = ReviewStore(database)
        places = segment_places(store, config.train_users)
        data = fingerprint(store, places)
    if not places:
        raise InputError(
            "None of the training users is in the store.",
            where=str(config.train_dataset_lmdb_path),
            got=f"users {config.train_users_start} to {config.train_users_end}",
            hint=f"correct TRAIN_USERS_START and _END, or run `{PROCESS_DATA}` for these users",
        )
    if missing := len(config.train_users) - len({place.user for place in places}):
        log.info("not in the store: %s of %s", f"{missing:,}", counted(len(config.train_users), "training user"))
    return training_groups(places, config.max_train_global_len), data


def configured_validation_groups(config: TrainConfig) -> tuple[list[Group], str]:
    """The groups of validation histories, empty if no user is in the store, and a fingerprint of their contents."""
    with _validation_store(config).open() as database:
        store = ReviewStore(database)
        places = history_places(store, config.validate_users)
        data = fingerprint(store, places)
    if not places:
        log.warning("no validation: none of its users is in %s", config.validate_dataset_lmdb_path)
    return filled_groups(places, config.max_train_global_len), data


def read_batch(config: TrainConfig, shares: list[Share], visit: tuple[int, int]) -> Batch:
    """In a worker process: the batch of one step. shares: those of this process in the groups."""
    epoch, group = visit
    return training_batch(ReviewStore(_training_store(config).shared()), shares[group].places, config.seed, epoch)


def read_padded_batch(config: TrainConfig, shares: list[Share], processes: int, visit: tuple[int, int]) -> PaddedBatch:
    """In a worker process: the batch of one step, padded to one of a few sizes."""
    full_rows = -(-config.max_train_global_len // processes)
    steps = ROW_STEPS if processes == 1 else ROW_STEPS_OF_SHARES
    return pad_batch(read_batch(config, shares, visit), full_rows, steps)


def read_validation_batch(config: TrainConfig, backend: Backend, group: Group) -> HeldOut:
    """In a worker process: the batch of one validation group."""
    store = ReviewStore(_validation_store(config).shared())
    return validation_batch(store, group, backend)


def _training_store(config: TrainConfig) -> DatabasePlace:
    path, size = config.train_dataset_lmdb_path, config.train_dataset_lmdb_size
    return review_database(path, size, "TRAIN_DATASET_LMDB_SIZE")


def _validation_store(config: TrainConfig) -> DatabasePlace:
    path, size = config.validate_dataset_lmdb_path, config.validate_dataset_lmdb_size
    return review_database(path, size, "VALIDATE_DATASET_LMDB_SIZE")
