"""Training steps recorded as CUDA graphs, for each size of batch, so that the GPU never waits for launches."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rwkv.batches.collate import Batch
from rwkv.batches.padding import PaddedBatch
from rwkv.batches.single_buffer import Sizes
from rwkv.model.dropout import DropoutMasks
from rwkv.model.network import Network
from rwkv.training.optimizer import Optimizer
from rwkv.training.step import Gradients, Launched, Parts, StepReport, Sum, gradients_alone, read_report, run_parts


@dataclass(frozen=True)
class _Recording:
    """Graphs with the batch that they read and the figures that they write, all at fixed addresses.

    A graph is followed by a sum over all processes, the last one by None.
    """

    graphs: list[tuple[torch.cuda.CUDAGraph, Sum | None]]
    batch: PaddedBatch
    figures: Tensor


class RecordedSteps:
    """Recorded training steps on a GPU. A step whose loss or gradient is not finite changes nothing.

    Args:
        network: Float32 master weights on the GPU.
        optimizer: From `make_optimizer`, over these weights.
        dtype: The dtype of the forward and backward pass.
        mode: LOSS_MODE, see `compute_loss`.
        gradients: Computes the gradients, of `SharedGradients` if several processes share the steps.
        add: Starts a sum over the processes.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        dtype: torch.dtype,
        mode: str,
        gradients: Gradients | None = None,
        add: Callable[[Sum], None] = lambda _: None,
    ) -> None:
        device = network.device
        self._optimizer, self._dtype, self._mode = optimizer, dtype, mode
        self._gradients, self._add = gradients or gradients_alone(network), add
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
        sizes = padded.sizes
        recording = self._recordings.get(sizes)
        if recording is None:
            recording = self._record(padded)
            self._recordings[sizes] = recording
        else:
            recording.batch.data.copy_(padded.data)
        self._seed.fill_(seed)
        for graph, following in recording.graphs:
            graph.replay()
            if following is not None:
                self._add(following)
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
        if not self._recordings:
            self._warm_up(batch)
        graphs: list[tuple[torch.cuda.CUDAGraph, Sum | None]] = []
        parts = self._parts(batch)
        while True:
            graph = torch.cuda.CUDAGraph()
            # Other threads may copy batches during the recording.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                try:
                    following = next(parts)
                except StopIteration as end:
                    figures: Tensor = end.value
                    self._found_inf.copy_((~figures[:2].isfinite()).any())
                    self._optimizer.step()
                    following = None
            graphs.append((graph, following))
            if following is None:
                return _Recording(graphs, ours, figures)

    def _warm_up(self, batch: Batch) -> None:
        """Run a step that changes nothing: it compiles and loads what a recording cannot, and allocates what it keeps.

        These are Triton's kernels, which are the same for all sizes, the libraries' handles, the thread of the backward
        pass, and the optimiser's state.
        """
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            # Without sums, since other processes may replay a step meanwhile.
            run_parts(self._parts(batch), lambda _: None)
            self._found_inf.fill_(1)
            self._optimizer.step()
        torch.cuda.current_stream().wait_stream(side)

    def _parts(self, batch: Batch) -> Parts:
        self._optimizer.zero_grad(set_to_none=True)
        return self._gradients(batch, self._dtype, self._mode, DropoutMasks(self._seed))
