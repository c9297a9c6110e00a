"""One training step: forward, loss, backward, clipping and update (spec 5)."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.utils import clip_grad_norm_

from rwkv.batches.collate import Batch
from rwkv.model.dropout import DropoutMasks
from rwkv.model.heads import Outputs
from rwkv.model.network import Network, compute_weights
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


def train_step(
    network: Network,
    optimizer: Optimizer,
    batch: Batch,
    dtype: torch.dtype,
    mode: str,
    masks: DropoutMasks | None,
) -> StepReport:
    """Take one step on a batch. A step whose loss or gradient is not finite changes nothing.

    Args:
        network: Float32 master weights.
        optimizer: From `make_optimizer`, over these weights.
        batch: A batch on the network's device.
        dtype: The dtype of the forward and backward pass.
        mode: LOSS_MODE, see `compute_loss`.
        masks: The dropout masks; None for no dropout.
    """
    optimizer.zero_grad(set_to_none=True)
    with network.backend_in(dtype).threads():
        report = read_report(clipped_gradients(network, batch, dtype, mode, masks))
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
    norm = clip_grad_norm_(parameters, CLIP_NORM)
    rows = loss.counts["ahead"] + loss.counts["imm"]
    terms = [loss.terms[name].detach() for name in TERM_WEIGHTS]
    return torch.stack([loss.total.detach(), norm, *terms, rows.to(norm.dtype)])


def read_report(figures: Tensor) -> StepReport:
    """Turn the figures of `clipped_gradients` into a report."""
    total, norm, *terms, rows = figures.tolist()
    is_finite = math.isfinite(total) and math.isfinite(norm)
    return StepReport(total if is_finite else None, dict(zip(TERM_WEIGHTS, terms, strict=True)), norm, int(rows))


def batch_loss(network: Network, batch: Batch, dtype: torch.dtype, mode: str, masks: DropoutMasks | None) -> Loss:
    """The loss over a batch, differentiable with respect to the network's float32 weights."""
    weights = compute_weights(dict(network.named_parameters()), dtype)
    outputs: Outputs = functional_call(network, weights, (batch.inputs(), batch.layouts, masks))
    return compute_loss(outputs, batch.labels, batch.is_query, mode)
