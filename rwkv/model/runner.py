"""What runs a network for the engine: arrays in and out, whatever computes between."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rwkv.arrays import Bools, Float32s, Ints
from rwkv.extras import missing_package
from rwkv.model.spec import NetworkSpec
from rwkv.model.weights_file import Weights
from rwkv.native.library import HEAD_WIDTHS, is_built

# Loads the flat states [1, state] of a stream's entities; None for an entity without a review.
LoadStates = Callable[[str, Sequence[int]], Sequence[Float32s | None]]
# Keeps the new states of a stream.
KeepStates = Callable[["StatesAfter"], None]


@dataclass(frozen=True)
class StatesAfter:
    """The states of a stream after some rows.

    Attributes:
        stream: Name of the stream.
        entities: Numbers of the entities in the rows, ascending.
        states: Flat state [1, state] of each entity.
    """

    stream: str
    entities: list[int]
    states: list[Float32s]


class Runner(Protocol):
    """Runs a network on rows; the network's weights do not change meanwhile."""

    @property
    def spec(self) -> NetworkSpec:
        """The sizes of the network."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its weights, see `rwkv.model.weights_file.fingerprint_of`."""

    def few_rows(
        self, inputs: Float32s, before: Sequence[Float32s | None], writes: int
    ) -> tuple[Float32s, list[Float32s]]:
        """Run rows that share one past, independently of one another.

        Args:
            inputs: The network's inputs, float32 [N, E].
            before: Flat state [1, state] of the rows' entity in each stream; None for an entity without a review.
            writes: Number of last rows whose new states are returned.

        Returns:
            The joined outputs of the heads, float32 [N, outputs], and for each stream the states [writes, state] after
            the last rows.
        """

    def many_rows(
        self,
        inputs: Float32s,
        is_query: Bools,
        numbers: Ints,
        load: LoadStates,
        keep: KeepStates | None = None,
        ratings_only: bool = False,
    ) -> Float32s:
        """Run rows in time order.

        Args:
            inputs: The network's inputs, float32 [N, E].
            is_query: Whether each row is a query, bool [N].
            numbers: Number of each row's entity in each stream, int64 [N, streams].
            load: Loads the states before the rows, stream by stream.
            keep: Receives the states after the rows, stream by stream.
            ratings_only: Whether the other heads are not asked for.

        Returns:
            The joined outputs of the heads, float32 [N, outputs], or the rating logits alone, [N, 4].
        """


def runner_of(weights: Weights, threads: int = 0) -> Runner:
    """The fastest runner of a network on the CPU: by the native kernels, or else by PyTorch.

    Args:
        weights: The weights of the network.
        threads: Most threads; 0 for all.

    Raises:
        InputError: The kernels do not run this network, and PyTorch is not installed.
    """
    if is_built() and weights.spec.head_width in HEAD_WIDTHS:
        from rwkv.model.native_runner import NativeRunner

        return NativeRunner(weights, threads)
    try:
        from rwkv.model.torch_runner import TorchRunner  # loads PyTorch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise missing_package("torch", "Running this network without the native kernels") from error
    return TorchRunner.of(weights, threads)
