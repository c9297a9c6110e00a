"""The part of an evaluation that is spread over devices and machines: from groups of users to lines of results."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from rwkv.batches.loader import fetch
from rwkv.batches.plan import Group
from rwkv.benchmark.databases import key_database, review_database
from rwkv.config import EvaluateConfig
from rwkv.data.database import DatabasePlace
from rwkv.data.key_store import KeyStore
from rwkv.data.store import ReviewStore
from rwkv.device import memory_errors, open_device
from rwkv.errors import RwkvError
from rwkv.evaluation.history_predictions import (
    EvaluationBatch,
    curve_weights,
    evaluation_batch,
    not_finite,
    predict_users,
)
from rwkv.evaluation.recorded import RecordedRows
from rwkv.evaluation.results import UserLines, user_lines
from rwkv.model.checkpoint import network_of, tensor_bytes
from rwkv.model.network import Network
from rwkv.model.weights_file import read_weights
from rwkv.ops.backend import Backend, compute_dtype


@dataclass(frozen=True)
class Todo:
    """A group of users that share a batch. done: those who have results, and need no others."""

    group: Group
    done: frozenset[int]

    @property
    def rows(self) -> int:
        """The rows of the batch."""
        return sum(place.rows for place in self.group)


@dataclass(frozen=True)
class Evaluated:
    """The results of a group, without the users who had some.

    Attributes:
        rows: The rows of the batch.
        lines: The lines of each user in the result files.
        weights: The curve weights by user, as torch.save writes them; empty without RAW.
        problems: The errors of users without results.
        without_keys: Users without reviews to predict.
        left_out: The number of keys without an earlier review.
        computed_by: The kernels and the GPU.
    """

    rows: int
    lines: tuple[UserLines, ...]
    weights: Mapping[int, bytes]
    problems: Mapping[int, RwkvError]
    without_keys: tuple[int, ...]
    left_out: int
    computed_by: str


def review_store(config: EvaluateConfig) -> DatabasePlace:
    """The place of the store of whole histories."""
    return review_database(config.dataset_lmdb_path, config.dataset_lmdb_size, "DATASET_LMDB_SIZE")


def evaluate_groups(config: EvaluateConfig, groups: Sequence[Todo], number: int) -> Iterator[Evaluated]:
    """Predict the users of groups, and score them.

    Args:
        config: The configuration.
        groups: The groups.
        number: The number of this worker, which has its own of DEVICES.

    Raises:
        CheckpointError: The model cannot be read.
        DeviceError: The device cannot be used.
        RwkvError: A process that reads histories was killed.
    """
    network = _network(config.model_path, config.all_devices[number], config.threads, config.dtype)
    read = partial(_read_users, config, network.backend)
    with memory_errors("end other programs on it, then rerun to continue"):
        is_on_gpu = network.device.type == "cuda"
        batches = fetch(read, [todo.group for todo in groups], config.num_fetch_processes, pin_memory=is_on_gpu)
        recorded = RecordedRows(network)
        for todo, batch in zip(groups, batches, strict=True):
            yield _evaluated(config, network, recorded, todo, batch)


def _network(path: Path, device_name: str, threads: int, dtype: str) -> Network:
    device = open_device(device_name, threads)
    weights = read_weights(path)  # of which the command has warned, where it must
    return network_of(weights, compute_dtype(dtype, device)).to(device)


def _read_users(config: EvaluateConfig, backend: Backend, group: Group) -> EvaluationBatch:
    """In a worker process: read a group of users."""
    keys = KeyStore(key_database(config).shared(), config.label_filter_key_prefix)
    return evaluation_batch(ReviewStore(review_store(config).shared()), keys, group, backend)


def _evaluated(
    config: EvaluateConfig, network: Network, recorded: RecordedRows, todo: Todo, batch: EvaluationBatch
) -> Evaluated:
    """Predict a batch.

    The heads also run for users with results, because rounding depends on the number of rows.
    """
    missing = [targets for targets in batch.targets if targets.user not in todo.done]
    problems: dict[int, RwkvError] = {user: error for user, error in batch.problems.items() if user not in todo.done}
    lines: list[UserLines] = []
    weights: dict[int, bytes] = {}
    predictable = [targets for targets in batch.targets if len(targets) > 0]
    if batch.batch is not None and any(len(targets) > 0 for targets in missing):
        x = recorded(batch.batch)
        for targets, predictions in zip(predictable, predict_users(network, x, predictable), strict=True):
            user = targets.user
            if user in todo.done:
                continue
            if not predictions.is_finite:
                problems[user] = not_finite(f"{config.model_path}, user {user}", network.dtype)
                continue
            lines.append(user_lines(predictions, config.raw))
            if config.raw:
                weights[user] = tensor_bytes(curve_weights(network, x, targets))
    return Evaluated(
        rows=todo.rows,
        lines=tuple(lines),
        weights=weights,
        problems=problems,
        without_keys=tuple(targets.user for targets in missing if len(targets) == 0),
        left_out=sum(targets.left_out for targets in missing),
        computed_by=_computed_by(network.backend),
    )


def _computed_by(backend: Backend) -> str:
    kernels, device = backend.kernels.value, backend.device
    return f"{kernels} on {torch.cuda.get_device_name(device)}" if device.type == "cuda" else kernels
