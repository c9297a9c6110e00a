"""One optimiser step: forward, loss, backward, clipping, update (spec 5)."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.utils import clip_grad_norm_

from rwkv.batches.collate import Batch
from rwkv.model.dropout import DropoutSource
from rwkv.model.heads import Outputs
from rwkv.model.network import Network, compute_weights
from rwkv.training.loss import TERM_WEIGHTS, Loss, compute_loss
from rwkv.training.optimizer import CLIP_NORM, Optimizer


@dataclass(frozen=True)
class StepReport:
    """What a step did. loss: None where it was skipped, because the loss or a gradient was not finite.

    terms: the unscaled terms of the loss. norm: of all gradients before clipping. rows: with a label that the loss is
    taken over; where there is none it is 0.
    """

    loss: float | None
    terms: dict[str, float]
    norm: float
    rows: int


# Waits for a step that was begun.
Launched = Callable[[], StepReport]


def reports(
    launched: Iterable[tuple[int, Launched]], settles: Callable[[int], bool]
) -> Iterator[tuple[int, StepReport]]:
    """(n, its report) of steps begun one by one, each read when the next has been begun, so that a GPU goes on.

    After a step n that `settles` none is begun before its report has been used.
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
    source: DropoutSource | None,
) -> StepReport:
    """Take one step on a batch that lies on the network's device.

    network: float32 master weights. dtype: what the forward and backward pass compute in. mode: LOSS_MODE. source: of
    dropout. A step whose loss or gradient is not finite changes nothing.
    """
    optimizer.zero_grad(set_to_none=True)
    report = read_report(clipped_gradients(network, batch, dtype, mode, source))
    if report.loss is not None:
        optimizer.step()
    return report


def clipped_gradients(
    network: Network, batch: Batch, dtype: torch.dtype, mode: str, source: DropoutSource | None
) -> Tensor:
    """Leave clipped gradients in the weights. Returns figures [9] for `read_report`, on the device: nothing waits."""
    loss = batch_loss(network, batch, dtype, mode, source)
    parameters = list(network.parameters())
    # Not by backward(), which copies each gradient that is a part of a larger tensor.
    gradients = torch.autograd.grad(loss.total, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else gradient.contiguous()
    norm = clip_grad_norm_(parameters, CLIP_NORM)
    rows = loss.counts["ahead"] + loss.counts["imm"]
    terms = [loss.terms[name].detach() for name in TERM_WEIGHTS]
    return torch.stack([loss.total.detach(), norm, *terms, rows.to(norm.dtype)])


def read_report(figures: Tensor) -> StepReport:
    """What `clipped_gradients` found, as numbers."""
    total, norm, *terms, rows = figures.tolist()
    is_finite = math.isfinite(total) and math.isfinite(norm)
    return StepReport(total if is_finite else None, dict(zip(TERM_WEIGHTS, terms, strict=True)), norm, int(rows))


def batch_loss(network: Network, batch: Batch, dtype: torch.dtype, mode: str, source: DropoutSource | None) -> Loss:
    """The loss over a batch, with gradients to the network's float32 weights."""
    weights = compute_weights(dict(network.named_parameters()), dtype)
    outputs: Outputs = functional_call(network, weights, (batch.inputs(), batch.layouts, source))
    return compute_loss(outputs, batch.labels, batch.is_query, mode)
