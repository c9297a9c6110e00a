"""Steps recorded as CUDA graphs, one a size of batch, and replayed: the GPU never waits for the launches of a step."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rwkv.batches.collate import Batch
from rwkv.batches.padding import PaddedBatch, Sizes
from rwkv.model.dropout import DropoutSource
from rwkv.model.network import Network
from rwkv.training.optimizer import Optimizer
from rwkv.training.step import Launched, StepReport, clipped_gradients, read_report

# Runs before a recording: they compile kernels and settle the memory.
_WARM_UPS = 2


@dataclass(frozen=True)
class _Recording:
    """A graph, the batch it reads and the figures it leaves, all at fixed addresses."""

    graph: torch.cuda.CUDAGraph
    batch: PaddedBatch
    figures: Tensor


class RecordedSteps:
    """Optimiser steps on a GPU. optimizer: of `make_optimizer` over weights on it.

    A step whose loss or gradient is not finite changes nothing.
    """

    def __init__(self, network: Network, optimizer: Optimizer, dtype: torch.dtype, mode: str) -> None:
        device = network.device
        self._network, self._optimizer, self._dtype, self._mode = network, optimizer, dtype, mode
        self._seed = torch.zeros(1, dtype=torch.int64, device=device)
        self._found_inf = torch.zeros((), device=device)
        self._pool = torch.cuda.graph_pool_handle()
        self._recordings: dict[Sizes, _Recording] = {}
        optimizer.found_inf = self._found_inf

    def launch(self, padded: PaddedBatch, seed: int) -> Launched:
        """Begin one step on a batch that lies on the device, see `staged`; others may be begun before its report."""
        recording = self._recordings.get(padded.sizes)
        if recording is None:
            recording = self._record(padded)
            self._recordings[padded.sizes] = recording
        else:
            recording.batch.data.copy_(padded.data)
        self._seed.fill_(seed)
        recording.graph.replay()
        # The next step writes over them.
        figures, are_there = recording.figures.to("cpu", non_blocking=True), torch.cuda.Event()
        are_there.record()

        def report() -> StepReport:
            are_there.synchronize()
            return read_report(figures)

        return report

    def _record(self, padded: PaddedBatch) -> _Recording:
        # The batch itself is given back, the recording goes on reading its own.
        ours = replace(padded, data=padded.data.clone())
        batch = ours.batch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._gradients(batch)
            # A step that must not count makes the moments, if they are not there yet.
            self._found_inf.fill_(1)
            self._optimizer.step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads may copy batches meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            figures = self._gradients(batch)
            self._found_inf.copy_((~figures[:2].isfinite()).any())
            self._optimizer.step()
        return _Recording(graph, ours, figures)

    def _gradients(self, batch: Batch) -> Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        source = DropoutSource(self._seed)
        return clipped_gradients(self._network, batch, self._dtype, self._mode, source)
