"""Walk one user's reviews in order, predicting each before it is taken in (spec 7)."""

import math

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from rwkv.commands.compute import open_compute_device
from rwkv.commands.find_keys import key_database
from rwkv.config import SingleUserConfig
from rwkv.data.history import RevlogTable
from rwkv.data.key_store import KeyStore
from rwkv.data.keys import BenchmarkKeys
from rwkv.data.revlogs import list_users, read_history
from rwkv.device import TORCH_DTYPES
from rwkv.errors import InputError
from rwkv.evaluation.metrics import recall_metrics
from rwkv.evaluation.predict import not_finite
from rwkv.model.checkpoint import load_network
from rwkv.model.inputs import draw_sequence
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.features import reviews_of
from rwkv.runtime import log, progress

NAME = "python -m rwkv.run_as_rnn"

Floats = npt.NDArray[np.float64]


def run_single_user(config: SingleUserConfig) -> int:
    """Print what the model says of the user's reviews, and how good it was. Returns the exit code."""
    table, keys = _read_user(config), _read_keys(config)
    device = open_compute_device(config.device, config.threads)
    engine = Engine(load_network(config.model_path, device, TORCH_DTYPES[config.dtype]), draw_sequence(config.user))
    # Recall by RWKV and by RWKV-P; NaN where there is no prediction.
    p_ahead, p_imm = np.full((2, len(table)), np.nan)
    for i, review in enumerate(progress(reviews_of(table), len(table), f"user {config.user}", "review")):
        prediction = engine.answer(review)
        p_ahead[i], p_imm[i] = (_recall(p, config, i) for p in (prediction.p_ahead, prediction.p_imm))
        if config.verbose and prediction.p_ahead is not None:
            truth = int(review.rating > 1)
            # Plain printing would tear the progress bar.
            tqdm.write(f"review, {i}, ahead: {p_ahead[i]:.3f}, immediate: {p_imm[i]:.3f}, truth: {truth}")
    _print_metrics(table, keys, p_ahead, p_imm)
    return 0


def _read_user(config: SingleUserConfig) -> RevlogTable:
    present = list_users(config.data_path)
    if config.user not in present:
        raise InputError(
            "The configured user is not in the dataset.",
            where=str(config.data_path),
            got=f"USER = {config.user}",
            expected=f"one of its users, {present[0]} to {present[-1]}",
            hint="correct USER or DATA_PATH",
        )
    table = read_history(config.data_path, config.user, config.missing_notes)
    for notice in table.notices:
        log.info("user %d: %s", config.user, notice)
    return table


def _read_keys(config: SingleUserConfig) -> BenchmarkKeys:
    with key_database(config).open() as database:
        return KeyStore(database, config.label_filter_key_prefix).read(config.user)


def _recall(p: float | None, config: SingleUserConfig, i: int) -> float:
    """A probability; NaN where there is none. Raises CheckpointError where the model gave what is no number."""
    if p is not None and not math.isfinite(p):
        raise not_finite(f"{config.model_path}, USER = {config.user}, review {i}")
    return math.nan if p is None else p


def _print_metrics(table: RevlogTable, keys: BenchmarkKeys, p_ahead: Floats, p_imm: Floats) -> None:
    """The metrics of both predictions over the keys. A key without one of the two counts in neither."""
    predicted = np.isfinite(p_ahead) & np.isfinite(p_imm)
    _, row, key = np.intersect1d(table.review_th[predicted], keys.review_ths, return_indices=True)
    if len(key) < len(keys):
        log.info(
            "%d of %d keys left out: nothing earlier in the history predicts them", len(keys) - len(key), len(keys)
        )
    if len(key) == 0:
        print(f"User {table.user} has no reviews that the benchmark counts, so there are no metrics.")
        return
    y = table.rating[predicted][row] > 1
    for name, p in (("RWKV-P", p_imm), ("RWKV", p_ahead)):
        print(f"{name}:")
        print(recall_metrics(p[predicted][row], y, keys.rmse_bins[key]))
