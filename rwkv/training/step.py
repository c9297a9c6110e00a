"""One training step: forward, loss, backward, clipping and update (spec 5)."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.utils import clip_grad_norm_

from rwkv.batches.collate import Batch
from rwkv.batches.sliced import stored_rows
from rwkv.model.dropout import DropoutMasks
from rwkv.model.gpu_encoder import inputs_fused
from rwkv.model.heads import Outputs
from rwkv.model.network import Network, compute_weights
from rwkv.ops.backend import Kernels
from rwkv.training.loss import TERM_WEIGHTS, Loss, compute_loss
from rwkv.training.optimizer import CLIP_NORM, Optimizer


@dataclass(frozen=True)
class StepReport:
    """The report of a step.

    Attributes:
        loss: The loss; None if the step was skipped, since the loss or a gradient was not finite.
        terms: The unweighted terms of the loss.
        norm: Norm of all gradients before clipping.
        rows: Number of labelled rows in the loss; without any the loss is 0.
    """

    loss: float | None
    terms: dict[str, float]
    norm: float
    rows: int


# Waits for a started step and returns its report.
Launched = Callable[[], StepReport]


def reports(
    launched: Iterable[tuple[int, Launched]], settles: Callable[[int], bool]
) -> Iterator[tuple[int, StepReport]]:
    """Yield (n, report) of steps that are started one by one.

    The report of a step is read after the next step is started, so that the GPU stays busy. After a step n for which
    `settles(n)` holds, no step is started before the consumer has used its report.
    """
    behind: tuple[int, Launched] | None = None
    for n, report in launched:
        if behind is not None:
            yield behind[0], behind[1]()
        behind = None if settles(n) else (n, report)
        if behind is None:
            yield n, report()
    if behind is not None:
        yield behind[0], behind[1]()


@dataclass(frozen=True)
class Sum:
    """Tensors to add up in place over all processes.

    Attributes:
        tensors: The tensors of this process.
        is_awaited: Whether the next part needs this sum and all earlier ones.
    """

    tensors: tuple[Tensor, ...]
    is_awaited: bool


# The computation of gradients in parts, with a sum after each but the last. Returns the figures of `clipped_gradients`.
Parts = Generator[Sum, None, Tensor]
# Computes the gradients of a batch.
Gradients = Callable[[Batch, torch.dtype, str, DropoutMasks | None], Parts]


def gradients_alone(network: Network) -> Gradients:
    """The gradients of a step that one process computes, in a single part."""

    def parts(batch: Batch, dtype: torch.dtype, mode: str, masks: DropoutMasks | None) -> Parts:
        yield from ()
        return clipped_gradients(network, batch, dtype, mode, masks)

    return parts


def run_parts(parts: Parts, add: Callable[[Sum], None]) -> Tensor:
    """Run the parts of a step one after another. `add` starts each sum. Returns the figures."""
    while True:
        try:
            add(next(parts))
        except StopIteration as end:
            return end.value


def train_step(
    network: Network,
    optimizer: Optimizer,
    batch: Batch,
    dtype: torch.dtype,
    mode: str,
    masks: DropoutMasks | None,
    gradients: Gradients | None = None,
    add: Callable[[Sum], None] = lambda _: None,
) -> StepReport:
    """Take one step on a batch. A step whose loss or gradient is not finite changes nothing.

    Args:
        network: Float32 master weights.
        optimizer: From `make_optimizer`, over these weights.
        batch: A batch on the network's device.
        dtype: The dtype of the forward and backward pass.
        mode: LOSS_MODE, see `compute_loss`.
        masks: The dropout masks; None for no dropout.
        gradients: Computes the gradients, of `SharedGradients` if several processes share the step.
        add: Starts a sum over the processes.
    """
    optimizer.zero_grad(set_to_none=True)
    gradients = gradients or gradients_alone(network)
    with network.backend_in(dtype).threads():
        report = read_report(run_parts(gradients(batch, dtype, mode, masks), add))
        if report.loss is not None:
            optimizer.step()
    return report


def clipped_gradients(
    network: Network, batch: Batch, dtype: torch.dtype, mode: str, masks: DropoutMasks | None
) -> Tensor:
    """Compute clipped gradients into the weights, without waiting for the device.

    Returns:
        Figures [9] on the device for `read_report`.
    """
    loss = batch_loss(network, batch, dtype, mode, masks)
    parameters = list(network.parameters())
    # backward() would copy each gradient that is a part of a larger tensor.
    gradients = torch.autograd.grad(loss.total, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else gradient.contiguous()
    return clip_gradients(network, loss.figures, torch.stack([loss.counts["ahead"], loss.counts["imm"]]))


def clip_gradients(network: Network, losses: Tensor, rows: Tensor) -> Tensor:
    """Clip the gradients of a step.

    Args:
        network: The weights with their gradients.
        losses: `Loss.figures` of the step, [7].
        rows: Rows of the loss by mask, see `optimised_rows`.

    Returns:
        Figures [9] on the device for `read_report`.
    """
    norm = clip_grad_norm_(list(network.parameters()), CLIP_NORM)
    return torch.cat([losses[:1], norm[None], losses[1:], rows.sum()[None].to(norm.dtype)])


def read_report(figures: Tensor) -> StepReport:
    """Turn the figures of `clipped_gradients` into a report."""
    total, norm, *terms, rows = figures.tolist()
    is_finite = math.isfinite(total) and math.isfinite(norm)
    return StepReport(total if is_finite else None, dict(zip(TERM_WEIGHTS, terms, strict=True)), norm, int(rows))


def batch_loss(network: Network, batch: Batch, dtype: torch.dtype, mode: str, masks: DropoutMasks | None) -> Loss:
    """The loss over a batch, differentiable with respect to the network's float32 weights."""
    weights = compute_weights(dict(network.named_parameters()), dtype)
    outputs: Outputs = functional_call(network, weights, (network_inputs(network, batch, dtype), batch.layouts, masks))
    return compute_loss(outputs, batch.labels, batch.is_query, mode)


def network_inputs(network: Network, batch: Batch, dtype: torch.dtype) -> Tensor:
    """The network's inputs, [N, E]: float32, or in the dtype of the forward pass."""
    if network.backend_in(dtype).kernels is Kernels.TRITON:
        return inputs_fused(stored_rows(batch), dtype)
    return batch.inputs()
