"""Predict the benchmark's reviews of all configured users and write the result files (spec 6)."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from rwkv.batches.loader import DatabasePlace, fetch
from rwkv.batches.plan import Group, history_places, packed_groups
from rwkv.commands.find_keys import NAME as FIND_KEYS
from rwkv.commands.process_data import NAME as PROCESS_DATA
from rwkv.config import EvaluateConfig
from rwkv.data.database import Database
from rwkv.data.key_store import KeyStore
from rwkv.data.store import ReviewStore
from rwkv.device import TORCH_DTYPES, open_device
from rwkv.errors import InputError
from rwkv.evaluation.predict import Question, curve_weights, last_rows, make_question, predict_user
from rwkv.evaluation.results import ResultFiles
from rwkv.model.checkpoint import load_network, tensor_bytes
from rwkv.runtime import Failures, log, progress

NAME = "python -m rwkv.get_result"

# Short histories run together, up to so many rows; the configured range alone decides which.
_ROWS_TOGETHER = 65_536


def evaluate(config: EvaluateConfig) -> int:
    """Evaluate the configured users who are not done yet. Returns the exit code."""
    device = open_device(config.device, config.threads)
    network = load_network(config.model_path, device, TORCH_DTYPES[config.dtype])
    groups = _groups(config)
    _keys(config).open().close()
    raw_folder = config.raw_folder if config.raw else None
    results = ResultFiles(config.result_folder, raw_folder, config.file_ahead, config.file_imm)
    done = results.done()
    todo = [group for group in groups if not all(place.user in done for place in group)]
    log.info("%d users, %d of them done before", sum(map(len, groups)), len({p.user for g in groups for p in g} & done))

    failures, left_out = Failures(), 0
    questions = fetch(partial(_question, config), todo, config.num_fetch_processes)
    with _raw_database(config) as raw:
        for question in progress(questions, len(todo), "evaluation", "batch"):
            for user, error in question.problems.items():
                failures.add(user, error)
            if question.batch is None:
                continue
            x = last_rows(network, question.batch, device)
            for targets in question.targets:
                if targets.user in done:
                    continue
                left_out += targets.left_out
                if len(targets) == 0:
                    log.info("user %d has no review to predict", targets.user)
                    continue
                predictions = predict_user(network, x, targets)
                if raw is not None:
                    raw.put({f"{targets.user}_w": tensor_bytes(curve_weights(network, x, targets))})
                results.append(predictions)
    results.finish()
    if left_out:
        log.info("%d keys were left out: their cards have no earlier review", left_out)
    return failures.exit_code()


def _groups(config: EvaluateConfig) -> list[Group]:
    with _store(config).open() as database:
        places = history_places(ReviewStore(database), config.users)
    if not places:
        raise InputError(
            "None of the configured users is in the store.",
            where=str(config.dataset_lmdb_path),
            hint="correct USER_START and USER_END, or run `python -m rwkv.data_processing` for these users",
        )
    if len(places) < len(config.users):
        log.info("%d of %d configured users are not in the store", len(config.users) - len(places), len(config.users))
    return packed_groups(places, _ROWS_TOGETHER)


def _question(config: EvaluateConfig, group: Group) -> Question:
    keys = KeyStore(_keys(config).shared(), config.label_filter_key_prefix)
    return make_question(ReviewStore(_store(config).shared()), keys, group)


def _store(config: EvaluateConfig) -> DatabasePlace:
    return DatabasePlace(config.dataset_lmdb_path, config.dataset_lmdb_size, "DATASET_LMDB_SIZE", PROCESS_DATA)


def _keys(config: EvaluateConfig) -> DatabasePlace:
    path, size = config.label_filter_lmdb_path, config.label_filter_lmdb_size
    return DatabasePlace(path, size, "LABEL_FILTER_LMDB_SIZE", FIND_KEYS)


@contextmanager
def _raw_database(config: EvaluateConfig) -> Iterator[Database | None]:
    """The database of curve weights, under RAW."""
    if not config.raw:
        yield None
        return
    with Database(config.raw_db_path, config.raw_db_size, "RAW_DB_SIZE") as database:
        yield database
