"""Training steps recorded as CUDA graphs, one for each size of batch, so that the GPU never waits for launches."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rwkv.batches.collate import Batch
from rwkv.batches.padding import PaddedBatch, Sizes
from rwkv.model.dropout import DropoutMasks
from rwkv.model.network import Network
from rwkv.training.optimizer import Optimizer
from rwkv.training.step import Launched, StepReport, clipped_gradients, read_report

# Runs before a recording, which compile the kernels and allocate the memory.
_WARM_UPS = 2


@dataclass(frozen=True)
class _Recording:
    """A graph with the batch that it reads and the figures that it writes, all at fixed addresses."""

    graph: torch.cuda.CUDAGraph
    batch: PaddedBatch
    figures: Tensor


class RecordedSteps:
    """Recorded training steps on a GPU. A step whose loss or gradient is not finite changes nothing.

    Args:
        network: Float32 master weights on the GPU.
        optimizer: From `make_optimizer`, over these weights.
        dtype: The dtype of the forward and backward pass.
        mode: LOSS_MODE, see `compute_loss`.
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
        """Start one step without waiting for it; further steps may be started before its report is read.

        Args:
            padded: A batch on the device, see `staged`.
            seed: Seed of the dropout masks.
        """
        recording = self._recordings.get(padded.sizes)
        if recording is None:
            recording = self._record(padded)
            self._recordings[padded.sizes] = recording
        else:
            recording.batch.data.copy_(padded.data)
        self._seed.fill_(seed)
        recording.graph.replay()
        # The next step overwrites the figures.
        figures, copied = recording.figures.to("cpu", non_blocking=True), torch.cuda.Event()
        copied.record()

        def report() -> StepReport:
            copied.synchronize()
            return read_report(figures)

        return report

    def _record(self, padded: PaddedBatch) -> _Recording:
        # The recording keeps its own copy of the batch.
        ours = replace(padded, data=padded.data.clone())
        batch = ours.batch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._gradients(batch)
            # A skipped step allocates the optimiser's state if it does not exist yet.
            self._found_inf.fill_(1)
            self._optimizer.step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads may copy batches during the recording.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            figures = self._gradients(batch)
            self._found_inf.copy_((~figures[:2].isfinite()).any())
            self._optimizer.step()
        return _Recording(graph, ours, figures)

    def _gradients(self, batch: Batch) -> Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        masks = DropoutMasks(self._seed)
        return clipped_gradients(self._network, batch, self._dtype, self._mode, masks)
