"""Batches of whole histories recorded as CUDA graphs, so that a GPU does not wait for the launches of its kernels."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rwkv.batches.single_buffer import SingleBuffer, Sizes
from rwkv.batches.sliced import SlicedBatch
from rwkv.evaluation.history_predictions import gpu_rows, last_rows
from rwkv.model.gpu_batch import GpuBatch
from rwkv.model.network import Network
from rwkv.runtime import log

# Bytes of all recordings together, at most: each keeps its batch and its rows, about 0.45 kB a row in bfloat16. They
# share the memory in which everything in between is computed. The first sizes that are frequent get them.
_RECORDED_BYTES = 10**9
# Batches of a size before one is recorded. A recording costs the time that it saves in some batches, and half of the
# sizes that appear twice never appear again.
FREQUENT = 8
# Sizes whose batches are counted, those seen last.
_COUNTED = 1000


@dataclass(frozen=True)
class _Recording:
    """A graph, the batch that it reads, and all rows that it writes, at fixed addresses."""

    graph: torch.cuda.CUDAGraph
    batch: SingleBuffer[GpuBatch]
    x: Tensor


class RecordedRows:
    """`last_rows` of a network, with batches of frequent sizes recorded on a GPU as long as there is memory.

    A recording launches the same kernels, so its rows are the same bit by bit.

    Args:
        network: The network on the current device, ready to predict. Recordings read its weights where they are now.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._seen: dict[Sizes, int] = {}
        self._recordings: dict[Sizes, _Recording] = {}
        self._bytes = 0
        self._has_memory = True
        self._pool: Any = None
        self._weight = next(network.parameters())
        self._address = self._weight.data_ptr()

    def __call__(self, batch: SlicedBatch) -> Tensor:
        """The rows before the heads, [N, C] on the network's device; the next call may overwrite them.

        Raises:
            ValueError: The network has other weights, or they were moved.
        """
        # Weights are replaced and moved all at once.
        first = next(self._network.parameters())
        if first is not self._weight or first.data_ptr() != self._address:
            raise ValueError("The network's weights were replaced after RecordedRows was made; make a new one.")
        if not isinstance(batch, SingleBuffer) or any(len(parts) > 1 for parts in batch.template.streams.parts):
            return last_rows(self._network, batch)
        sizes = batch.sizes
        recording = self._recordings.get(sizes)
        if recording is not None:
            recording.batch.data.copy_(batch.data, non_blocking=True)
        elif self._is_due(sizes, self._bytes_of(batch)):
            recording = self._record_if_possible(batch, sizes)
        if recording is None:
            return last_rows(self._network, batch)  # compiles the kernels, if they are not yet
        recording.graph.replay()
        return recording.x[: batch.template.count]

    def _is_due(self, sizes: Sizes, needed: int) -> bool:
        """Count a batch without a recording; whether to record it, which keeps `needed` bytes."""
        if not self._has_memory:
            return False
        before = self._seen.pop(sizes, 0)
        self._seen[sizes] = before + 1
        if len(self._seen) > _COUNTED:
            del self._seen[next(iter(self._seen))]
        return before >= FREQUENT and self._bytes + needed <= _RECORDED_BYTES

    def _record_if_possible(self, batch: SingleBuffer[GpuBatch], sizes: Sizes) -> _Recording | None:
        """Record a batch; without memory for it, give up all recordings, since batches need it more.

        Giving up only the largest would not help: the memory that they share is freed with the last of them.
        """
        try:
            recording = self._recordings[sizes] = self._record(batch)
        except torch.cuda.OutOfMemoryError:
            log.info("the GPU has too little free memory to record batches, so they are launched kernel by kernel")
            self._has_memory, self._pool = False, None
            self._recordings.clear()
            return None
        del self._seen[sizes]
        self._bytes += self._bytes_of(batch)
        return recording

    def _bytes_of(self, batch: SingleBuffer[GpuBatch]) -> int:
        """The bytes that a recording of this size keeps."""
        network = self._network
        return batch.data.nbytes + len(batch.template.rows) * network.spec.channels * network.dtype.itemsize

    def _record(self, batch: SingleBuffer[GpuBatch]) -> _Recording:
        # A copy also of a batch on the GPU, since later batches overwrite it.
        ours = replace(batch, data=batch.data.to(self._network.device, non_blocking=True, copy=True))
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Other threads may copy batches during the recording.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            x = gpu_rows(self._network, ours.batch)
        return _Recording(graph, ours, x)
