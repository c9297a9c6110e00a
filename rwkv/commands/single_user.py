"""Walk one user's reviews in order, predicting each before it is taken in (spec 7)."""

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
from rwkv.errors import CheckpointError, InputError
from rwkv.evaluation.metrics import recall_metrics
from rwkv.evaluation.predict import not_finite
from rwkv.model.checkpoint import load_network
from rwkv.model.inputs import draw_sequence
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.predict import Predictions, joined
from rwkv.runtime import log, progress

NAME = "python -m rwkv.run_as_rnn"

Floats = npt.NDArray[np.float64]


def run_single_user(config: SingleUserConfig) -> int:
    """Print what the model says of the user's reviews, and how good it was. Returns the exit code."""
    table, keys = _read_user(config), _read_keys(config)
    device = open_compute_device(config.device, config.threads)
    network = load_network(config.model_path, device, TORCH_DTYPES[config.dtype])
    engine = Engine(network, draw_sequence(config.user), memory=config.memory)
    try:
        said = _walk(engine, table, config)
    except CheckpointError as error:
        raise not_finite(f"{config.model_path}, USER = {config.user}") from error
    finally:
        engine.close()
    _print_metrics(table, keys, said.p_ahead, said.p_imm)
    return 0


def _walk(engine: Engine, table: RevlogTable, config: SingleUserConfig) -> Predictions:
    """What the model says of each review from those before it, printed as it comes where VERBOSE is set."""
    parts: list[Predictions] = []
    done = 0
    with progress((), len(table), f"user {config.user}", "review") as bar:
        for said in engine.feeding(table):
            if config.verbose:
                _print_reviews(said, table, done)
            parts.append(said)
            done += len(said.p_imm)
            bar.update(len(said.p_imm))
    return joined(parts)


def _print_reviews(said: Predictions, table: RevlogTable, start: int) -> None:
    """A line for each review of a card seen before; `said` begins with review `start`."""
    for i in np.flatnonzero(~np.isnan(said.p_ahead)).tolist():
        truth = int(table.rating[start + i] > 1)
        line = f"ahead: {said.p_ahead[i]:.3f}, immediate: {said.p_imm[i]:.3f}, truth: {truth}"
        # Plain printing would tear the progress bar.
        tqdm.write(f"review, {start + i}, {line}")


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
