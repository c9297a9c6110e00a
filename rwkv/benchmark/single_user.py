"""Predict one user's reviews in order, each from the reviews before it (spec 7)."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from tqdm import tqdm

from rwkv.benchmark.databases import key_database
from rwkv.config import RecurrentConfig
from rwkv.data.history import RevlogTable
from rwkv.data.key_store import KeyStore
from rwkv.data.keys import BenchmarkKeys
from rwkv.data.revlogs import list_users, read_history
from rwkv.errors import CheckpointError, InputError
from rwkv.evaluation.history_predictions import not_finite
from rwkv.evaluation.scores import Score, result_line, score
from rwkv.model.checkpoint import load_network
from rwkv.model.inputs import draw_sequence
from rwkv.model.runner import Runner
from rwkv.model.torch_runner import fastest_runner
from rwkv.ops.backend import compute_dtype, open_compute_device
from rwkv.plurals import counted
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.predictions import Predictions, joined
from rwkv.runtime import log, progress

NAME = "python -m rwkv.run_as_rnn"


def run_single_user(config: RecurrentConfig) -> int:
    """Print predictions and metrics of the configured user. Returns the exit code."""
    (user,) = config.users
    present = list_users(config.data_path)
    if user not in present:
        raise InputError(
            "The configured user is not in the dataset.",
            where=str(config.data_path),
            got=f"USER = {user}",
            expected=f"a user between {present[0]} and {present[-1]}",
            hint="correct USER or DATA_PATH",
        )
    table, keys = read_user(config, user)
    for notice in table.notices:
        log.info("user %d: %s", user, notice)
    load_runner(config)  # fail before the progress bar
    parts: list[Predictions] = []
    done = 0
    with progress((), len(table), f"user {user}", "review") as bar:
        for predictions in walk(config, table):
            if config.verbose:
                for line in review_lines(predictions, table, done):
                    tqdm.write(line)  # print() would break the progress bar
            parts.append(predictions)
            done += len(predictions.p_imm)
            bar.update(len(predictions.p_imm))
    scores, left_out = score_keys(table, keys, joined(parts))
    if left_out:
        log.info("%s of %s left out: no earlier review to predict from", f"{left_out:,}", counted(len(keys), "key"))
    if not scores:
        print(f"User {user} has no reviews that the benchmark counts, so there are no metrics.")
    for name, user_score in scores.items():
        print(f"{name}:")
        print(result_line(user, user_score))
    return 0


@lru_cache(maxsize=1)
def load_runner(config: RecurrentConfig) -> Runner:
    """The configured model on its device. It is loaded once per process."""
    threads = config.threads or (1 if config.processes > 1 else 0)
    device = open_compute_device(config.device, threads, config.dtype)
    return fastest_runner(load_network(config.model_path, device, compute_dtype(config.dtype, device)))


def read_user(config: RecurrentConfig, user: int) -> tuple[RevlogTable, BenchmarkKeys]:
    """A user's reviews and benchmark keys."""
    table = read_history(config.data_path, user, config.missing_notes)
    with key_database(config).open() as database:
        return table, KeyStore(database, config.label_filter_key_prefix).read(user)


def walk(config: RecurrentConfig, table: RevlogTable) -> Iterator[Predictions]:
    """Predict each review from those before it. Yields predictions of consecutive parts of the history."""
    engine = Engine(load_runner(config), draw_sequence(table.user), memory=config.memory)
    try:
        yield from engine.feeding(table)
    except CheckpointError as error:
        dtype = compute_dtype(config.dtype, torch.device(config.device))
        raise not_finite(f"{config.model_path}, user {table.user}", dtype) from error
    finally:
        engine.close()


def review_lines(predictions: Predictions, table: RevlogTable, start: int = 0) -> Iterator[str]:
    """A line for each review with an earlier review of its card. start: the index of the first prediction."""
    for i in np.flatnonzero(~np.isnan(predictions.p_ahead)).tolist():
        truth = int(table.rating[start + i] > 1)
        line = f"ahead: {predictions.p_ahead[i]:.3f}, immediate: {predictions.p_imm[i]:.3f}, truth: {truth}"
        yield f"review, {start + i}, {line}"


def score_keys(table: RevlogTable, keys: BenchmarkKeys, predictions: Predictions) -> tuple[dict[str, Score], int]:
    """The scores of both predictions, empty if no key has both; and the number of keys without one."""
    predicted = np.isfinite(predictions.p_ahead) & np.isfinite(predictions.p_imm)
    _, row, key = np.intersect1d(table.review_th[predicted], keys.review_ths, return_indices=True)
    if len(key) == 0:
        return {}, len(keys)
    y = (table.rating[predicted][row] > 1).astype(np.int8)
    both = {"RWKV-P": predictions.p_imm, "RWKV": predictions.p_ahead}
    scores = {name: score(p[predicted][row], y, keys.rmse_bins[key]) for name, p in both.items()}
    return scores, len(keys) - len(key)
