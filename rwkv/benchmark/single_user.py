"""Walk one user's reviews in order, predicting each before it is taken in (spec 7)."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
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
from rwkv.model.network import Network
from rwkv.ops.backend import compute_dtype, open_compute_device
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.predictions import Predictions, joined
from rwkv.runtime import log, progress

NAME = "python -m rwkv.run_as_rnn"


def run_single_user(config: RecurrentConfig) -> int:
    """Print what the model says of the one user's reviews, and how good it was. Returns the exit code."""
    (user,) = config.users
    present = list_users(config.data_path)
    if user not in present:
        raise InputError(
            "The configured user is not in the dataset.",
            where=str(config.data_path),
            got=f"USER = {user}",
            expected=f"one of its users, {present[0]} to {present[-1]}",
            hint="correct USER or DATA_PATH",
        )
    table, keys = read_user(config, user)
    for notice in table.notices:
        log.info("user %d: %s", user, notice)
    network_of(config)  # whatever is wrong with it is said before the progress bar begins
    parts: list[Predictions] = []
    done = 0
    with progress((), len(table), f"user {user}", "review") as bar:
        for said in walk(config, table):
            if config.verbose:
                for line in review_lines(said, table, done):
                    tqdm.write(line)  # plain printing would tear the progress bar
            parts.append(said)
            done += len(said.p_imm)
            bar.update(len(said.p_imm))
    scores, left_out = score_keys(table, keys, joined(parts))
    if left_out:
        log.info("%d of %d keys left out: nothing earlier in the history predicts them", left_out, len(keys))
    if not scores:
        print(f"User {user} has no reviews that the benchmark counts, so there are no metrics.")
    for name, of in scores.items():
        print(f"{name}:")
        print(result_line(user, of))
    return 0


@lru_cache(maxsize=1)
def network_of(config: RecurrentConfig) -> Network:
    """The configured model on its device; read once in each process."""
    threads = config.threads or (1 if config.processes > 1 else 0)
    device = open_compute_device(config.device, threads, config.dtype)
    return load_network(config.model_path, device, compute_dtype(config.dtype, device))


def read_user(config: RecurrentConfig, user: int) -> tuple[RevlogTable, BenchmarkKeys]:
    """The user's reviews, and which of them count."""
    table = read_history(config.data_path, user, config.missing_notes)
    with key_database(config).open() as database:
        return table, KeyStore(database, config.label_filter_key_prefix).read(user)


def walk(config: RecurrentConfig, table: RevlogTable) -> Iterator[Predictions]:
    """What the model says of each review from those before it, part by part."""
    engine = Engine(network_of(config), draw_sequence(table.user), memory=config.memory)
    try:
        yield from engine.feeding(table)
    except CheckpointError as error:
        raise not_finite(f"{config.model_path}, user {table.user}") from error
    finally:
        engine.close()


def review_lines(said: Predictions, table: RevlogTable, start: int = 0) -> Iterator[str]:
    """A line for each review of a card seen before; `said` begins with review `start`."""
    for i in np.flatnonzero(~np.isnan(said.p_ahead)).tolist():
        truth = int(table.rating[start + i] > 1)
        line = f"ahead: {said.p_ahead[i]:.3f}, immediate: {said.p_imm[i]:.3f}, truth: {truth}"
        yield f"review, {start + i}, {line}"


def score_keys(table: RevlogTable, keys: BenchmarkKeys, said: Predictions) -> tuple[dict[str, Score], int]:
    """The scores of both predictions over the keys, none where no key has both; and how many keys lack one."""
    predicted = np.isfinite(said.p_ahead) & np.isfinite(said.p_imm)
    _, row, key = np.intersect1d(table.review_th[predicted], keys.review_ths, return_indices=True)
    if len(key) == 0:
        return {}, len(keys)
    y = (table.rating[predicted][row] > 1).astype(np.int8)
    both = {"RWKV-P": said.p_imm, "RWKV": said.p_ahead}
    scores = {name: score(p[predicted][row], y, keys.rmse_bins[key]) for name, p in both.items()}
    return scores, len(keys) - len(key)
