"""Running a network for the engine by the native kernels, without PyTorch."""

from collections.abc import Sequence

import numpy as np

from rwkv.arrays import Bools, Float32s, Ints
from rwkv.model.runner import KeepStates, LoadStates, StatesAfter
from rwkv.model.weight_table import native_sizes, native_weights
from rwkv.model.weights_file import Weights
from rwkv.native.network import network_rows, pack_network
from rwkv.native.step import network_step
from rwkv.native.threads import available


class NativeRunner:
    """Runs a network by the native kernels, see `rwkv.model.runner.Runner`.

    Args:
        weights: The weights of a network whose heads have a width of HEAD_WIDTHS.
        threads: Most threads; 0 for all.
    """

    def __init__(self, weights: Weights, threads: int = 0) -> None:
        self.spec, self.fingerprint = weights.spec, weights.fingerprint
        self._packed = pack_network(native_weights(self.spec, weights.arrays), native_sizes(self.spec))
        self._empty = [np.zeros((1, self.spec.state_size(stream)), np.float32) for stream in self.spec.streams]
        self._threads = threads or available()

    def few_rows(
        self, inputs: Float32s, before: Sequence[Float32s | None], writes: int
    ) -> tuple[Float32s, list[Float32s]]:
        """See `rwkv.model.runner.Runner.few_rows`."""
        seen = [state is not None for state in before]
        states = [empty if state is None else state for state, empty in zip(before, self._empty, strict=True)]
        return network_step(self._packed, inputs, states, seen, writes)

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
        streams = [stream.name for stream in self.spec.streams]
        parts = [np.unique(column, return_inverse=True) for column in numbers.T]
        entities, groups = [own.tolist() for own, _ in parts], np.stack([group for _, group in parts])
        before = [load(name, own) for name, own in zip(streams, entities, strict=True)]
        given = inputs, is_query, groups, before
        outputs, after = network_rows(self._packed, *given, keep is not None, self._threads, ratings_only)
        if keep is not None:
            for name, own, states in zip(streams, entities, after, strict=True):
                keep(StatesAfter(name, own, states))
        return outputs
