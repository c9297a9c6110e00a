"""Running a network in PyTorch for the engine: where the native library is missing, and on a GPU."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rwkv.arrays import Bools, Float32s, Ints
from rwkv.device import threads_for
from rwkv.model.checkpoint import network_of, weights_fingerprint, weights_of
from rwkv.model.flat_states import flat_state, join_states, split_states
from rwkv.model.heads import joined
from rwkv.model.network import Network
from rwkv.model.packing import pack_stream, whole_stream
from rwkv.model.runner import KeepStates, LoadStates, Runner, StatesAfter, runner_of
from rwkv.model.slices import run_stream
from rwkv.model.spec import NetworkSpec
from rwkv.model.weights_file import Weights
from rwkv.ops.backend import Kernels, open_compute_device


class TorchRunner:
    """Runs a network of PyTorch, see `rwkv.model.runner.Runner`; its weights must not change meanwhile."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.spec: NetworkSpec = network.spec
        self.fingerprint = weights_fingerprint(network.state_dict())

    @classmethod
    def of(cls, weights: Weights, threads: int = 0) -> "TorchRunner":
        """Runs a network in float32 on the CPU. threads: those of PyTorch; 0 for its choice."""
        open_compute_device("cpu", threads)
        return cls(network_of(weights))

    @torch.inference_mode()
    def few_rows(
        self, inputs: Float32s, before: Sequence[Float32s | None], writes: int
    ) -> tuple[Float32s, list[Float32s]]:
        """See `rwkv.model.runner.Runner.few_rows`."""
        rows, device, spec = len(inputs), self.network.device, self.spec
        with threads_for(rows):
            states = [
                [layer[torch.zeros(rows, dtype=torch.int64)] for layer in join_states([state], device, spec, stream)]
                for state, stream in zip(_tensors(before), spec.streams, strict=True)
            ]
            outputs, after = self.network.step(torch.from_numpy(inputs).to(device), states)
            last = slice(rows - writes, rows)
            written = [flat_state([layer[last] for layer in state]).cpu().numpy() for state in after]
            return joined(outputs).cpu().numpy(), written

    @torch.inference_mode()
    def many_rows(
        self,
        inputs: Float32s,
        is_query: Bools,
        numbers: Ints,
        load: LoadStates,
        keep: KeepStates | None = None,
        ratings_only: bool = False,
    ) -> Float32s:
        """See `rwkv.model.runner.Runner.many_rows`."""
        with threads_for(len(inputs)), self.network.backend.threads():
            x = self._last_rows(torch.from_numpy(inputs), torch.from_numpy(is_query), numbers, load, keep)
            outputs = self.network.read_ratings(x) if ratings_only else joined(self.network.read_out(x))
            result: Float32s = outputs.cpu().numpy()
        return result

    def _last_rows(
        self, inputs: Tensor, is_query: Tensor, numbers: Ints, load: LoadStates, keep: KeepStates | None
    ) -> Tensor:
        """The rows before the heads, [N, C]."""
        device, spec = self.network.device, self.spec
        x = self.network.encode(inputs.to(device))
        for place, (stream, stream_spec) in enumerate(zip(self.network.streams, spec.streams, strict=True)):
            entities = np.unique(numbers[:, place]).tolist()
            before = join_states(_tensors(load(stream_spec.name, entities)), device, spec, stream_spec)
            layout = pack_stream(torch.from_numpy(numbers[:, place]), is_query).to(device)
            part = whole_stream(layout, before[0].seen, keeps_states=keep is not None)
            out, states = run_stream(stream, x, [part], before)
            x = out[layout.inverse]
            del before
            if keep is not None:
                keep(StatesAfter(stream_spec.name, entities, [state.numpy() for state in split_states(states)]))
        return x


def fastest_runner(network: Network) -> Runner:
    """The fastest runner of a network of PyTorch, with PyTorch's number of threads."""
    if network.backend.kernels is Kernels.NATIVE:
        return runner_of(weights_of(network), torch.get_num_threads())
    return TorchRunner(network)


def _tensors(states: Sequence[Float32s | None]) -> list[Tensor | None]:
    return [None if state is None else torch.from_numpy(state) for state in states]
