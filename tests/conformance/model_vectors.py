"""The vectors of the network: rows, streams and labels of a file as our network takes them, and its weights."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rwkv.batches.collate import BatchLabels
from rwkv.model.network import Network
from rwkv.model.packing import StreamLayout
from rwkv.vocab import STREAMS
from tests.conformance.vectors import Arrays, load, partition
from tests.networks import Entities, layouts_of, recipe_weight

# Here the published parallel form shifts to leading query rows, which ours does not: an input, not a yardstick.
_LEADING_QUERIES = "model_segment1"


def model_files(folder: Path) -> list[Path]:
    """Files whose outputs ours must equal; model.npz, to be missed by name, if there are none."""
    paths = [path for path in sorted(folder.glob("model*.npz")) if not path.stem.startswith(_LEADING_QUERIES)]
    return paths or [folder / "model.npz"]


def leading_query_files(folder: Path) -> list[Path]:
    """Files whose streams start with query rows; likewise."""
    return sorted(folder.glob(f"{_LEADING_QUERIES}*.npz")) or [folder / f"{_LEADING_QUERIES}.npz"]


def arrays_of(path: Path) -> Arrays:
    """The arrays of a file; skips the test where the folder does not hold it."""
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    return load(path)


@dataclass(frozen=True)
class ModelRows:
    """What a file of the network feeds, the padding left out: N rows, those of one sample after those of the other.

    rows bool [samples, T]: which rows of the file's padded arrays these are. entities: no two samples share one.
    """

    arrays: Arrays
    rows: np.ndarray
    inputs: Tensor
    is_query: Tensor
    entities: Entities
    labels: BatchLabels

    def layouts(self) -> list[StreamLayout]:
        """One layout a stream, in the order of the network."""
        return layouts_of(self.entities, self.is_query)

    def expected(self, name: str) -> Tensor:
        """A padded array of the file [samples, T, ...] at our rows [N, ...]."""
        return torch.from_numpy(self.arrays[name][self.rows])


def read_rows(path: Path) -> ModelRows:
    """The rows of a file; skips the test where it is missing."""
    arrays = arrays_of(path)
    samples, length, _ = arrays["labels"].shape
    assert tuple(arrays["module_order"]) == STREAMS
    prefixes = [f"data{i}_" if f"data{i}_skips" in arrays else "" for i in range(samples)]
    skips = [arrays[f"{prefix}skips"] for prefix in prefixes]
    rows = np.arange(length) < np.array([len(skip) for skip in skips])[:, None]
    assert np.all(arrays["labels"][~rows] == 0), "a row that is no padding was taken for it"
    return ModelRows(
        arrays=arrays,
        rows=rows,
        inputs=torch.from_numpy(arrays["start"].reshape(samples, length, -1)[rows]),
        is_query=torch.from_numpy(np.concatenate(skips)),
        entities={stream: torch.from_numpy(_streams(arrays, prefixes, stream)) for stream in STREAMS},
        labels=_labels(arrays, rows),
    )


def _streams(arrays: Arrays, prefixes: list[str], stream: str) -> np.ndarray:
    """Numbers of a stream's entities int64 [N], distinct between samples."""
    parts = [arrays[f"{prefix}{stream}_stream"] for prefix in prefixes]
    sample = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    pairs = np.stack([sample, np.concatenate(parts).astype(np.int64)], 1)
    return partition(np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)).astype(np.int64)


def _labels(arrays: Arrays, rows: np.ndarray) -> BatchLabels:
    columns = dict(zip(arrays["label_names"].tolist(), torch.from_numpy(arrays["labels"][rows]).unbind(1), strict=True))
    return BatchLabels(
        has_label=columns["has_label"] == 1,
        elapsed_s=columns["label_elapsed_seconds"],
        rating=columns["label_rating"].to(torch.int64),
        y=columns["label_y"],
        is_equalize=columns["label_is_equalize"] == 1,
    )


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published weights, in their order; skips the test where the file is missing."""
    path = folder / "weight_names.json"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    return {name: tuple(shape) for name, shape in json.loads(path.read_text()).items()}


@lru_cache(maxsize=1)
def recipe_network_of(folder: Path) -> Network:
    """The published network with the weights of the vectors. It is shared between tests: do not change it."""
    network = Network()
    network.load_state_dict({name: recipe_weight(name, shape) for name, shape in weight_shapes(folder).items()})
    return network


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference, in float64; NaN if there is any. Raises for other shapes."""
    assert ours.shape == theirs.shape
    return float((ours.detach().to(torch.float64) - theirs.to(torch.float64)).abs().max())


def gradient_norms(network: Network) -> Iterator[tuple[str, float]]:
    """Of each parameter its name and the norm of its gradient, 0 where there is none."""
    for name, parameter in network.named_parameters():
        yield name, 0.0 if parameter.grad is None else float(parameter.grad.to(torch.float64).norm())
