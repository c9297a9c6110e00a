"""The gradients of a step whose batch is divided among several processes.

The backward pass runs stream by stream, from the last to the first. The gradients of a stream are added up over the
processes while those of the streams before it are computed. Sums cannot be recorded as CUDA graphs while processes
record at different times, so a step is a sequence of parts with sums between them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.func import functional_call

from rwkv.batches.collate import Batch
from rwkv.model.dropout import DropoutMasks
from rwkv.model.network import Network, compute_weights
from rwkv.training.loss import TERM_WEIGHTS, compute_loss, optimised_rows
from rwkv.training.step import Parts, Sum, clip_gradients, network_inputs

# Alignment in elements of gradients that share a buffer: 16 bytes.
_ALIGNMENT = 4


class SharedGradients:
    """The gradients of a network's weights over the batches of all processes, in one buffer for each stream.

    The encoder's gradients are in the buffer of the first stream, and those of the heads in that of the last.

    Args:
        network: Float32 master weights.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        names: list[list[str]] = [[] for _ in network.streams]
        for name, _ in network.named_parameters():
            names[_stream_of(name, len(names))].append(name)
        self._names = names
        self._views: dict[str, Tensor] = {}
        self._buffers = [self._buffer(members) for members in names]

    def _buffer(self, names: list[str]) -> Tensor:
        shapes = [self._network.get_parameter(name).shape for name in names]
        sizes = [shape.numel() + -shape.numel() % _ALIGNMENT for shape in shapes]
        buffer = torch.zeros(sum(sizes), device=self._network.device)
        for name, shape, part in zip(names, shapes, buffer.split(sizes), strict=True):
            self._views[name] = part[: shape.numel()].view(shape)
        return buffer

    def sums(self) -> Iterator[Sum]:
        """Sums of the sizes of a step's, whose values do not matter. They connect the processes."""
        device = self._network.device
        yield Sum((torch.zeros(2, dtype=torch.int64, device=device),), True)
        yield Sum((torch.zeros(1 + len(TERM_WEIGHTS), device=device), *self._buffers), True)

    def parts(self, batch: Batch, dtype: torch.dtype, mode: str, masks: DropoutMasks | None) -> Parts:
        """Compute the clipped gradients of a step into the weights; see `clipped_gradients`, which does it alone.

        Args:
            batch: The part of the step's batch that this process computes.
            dtype: The dtype of the forward and backward pass.
            mode: LOSS_MODE, see `compute_loss`.
            masks: The dropout masks; None for no dropout.
        """
        network = self._network
        rows = optimised_rows(batch.labels, batch.is_query, mode)
        yield Sum((rows,), True)

        held = {name: weight.detach() for name, weight in network.named_parameters()}
        weights = {name: weight.requires_grad_() for name, weight in compute_weights(held, dtype).items()}
        with _entrances(network) as entrances:
            outputs = functional_call(network, weights, (network_inputs(network, batch, dtype), batch.layouts, masks))
        loss = compute_loss(outputs, batch.labels, batch.is_query, mode, rows)
        losses = loss.figures

        first: tuple[Tensor, ...] = (losses,)
        used: set[str] = set()
        end, upstream = loss.total, None
        for stream in reversed(range(len(self._names))):
            names = self._names[stream]
            inputs = [weights[name] for name in names] + ([entrances[stream]] if stream else [])
            gradients = dict(enumerate(torch.autograd.grad(end, inputs, upstream, allow_unused=True)))
            if stream:
                end, upstream = entrances[stream], gradients.pop(len(names))
            known = {names[index]: gradient for index, gradient in gradients.items() if gradient is not None}
            self._keep(known)
            used |= known.keys()
            yield Sum((*first, self._buffers[stream]), is_awaited=stream == 0)
            first = ()

        for name, parameter in network.named_parameters():
            # Gradients of unused weights are missing in all processes alike.
            parameter.grad = self._views[name] if name in used else None
        return clip_gradients(network, losses, rows)

    def _keep(self, gradients: dict[str, Tensor]) -> None:
        """Copy gradients into the buffers, in a few launches for each dtype."""
        for dtype in {gradient.dtype for gradient in gradients.values()}:
            names = [name for name, gradient in gradients.items() if gradient.dtype == dtype]
            torch._foreach_copy_(
                [self._views[name] for name in names], [gradients[name].contiguous() for name in names]
            )


def _stream_of(name: str, streams: int) -> int:
    """The stream in whose buffer the gradient of a weight is."""
    module, _, rest = name.partition(".")
    if module == "rwkv_modules":
        return int(rest.partition(".")[0])
    return 0 if module == "features2card" else streams - 1


@contextmanager
def _entrances(network: Network) -> Iterator[list[Tensor]]:
    """Collect the input of each stream during a forward pass."""
    inputs: list[Tensor] = []
    hooks = [
        stream.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0])) for stream in network.streams
    ]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()
