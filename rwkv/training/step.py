"""One optimiser step: forward, loss, backward, clipping, update (spec 5)."""

from dataclasses import dataclass

import torch
from torch.func import functional_call
from torch.nn.utils import clip_grad_norm_

from rwkv.batches.collate import Batch
from rwkv.model.heads import Outputs
from rwkv.model.network import Network, compute_weights
from rwkv.training.loss import Loss, compute_loss
from rwkv.training.optimizer import CLIP_NORM


@dataclass(frozen=True)
class StepReport:
    """What a step did. loss: None where it was skipped, because the loss or a gradient was not finite.

    terms: the unscaled terms of the loss. norm: of all gradients before clipping.
    """

    loss: float | None
    terms: dict[str, float]
    norm: float


def train_step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    dtype: torch.dtype,
    mode: str,
    rng: torch.Generator,
) -> StepReport:
    """Take one step on a batch that lies on the network's device.

    network: float32 master weights. dtype: what the forward and backward pass compute in. mode: LOSS_MODE. rng: source
    of dropout. A step whose loss or gradient is not finite changes nothing.
    """
    optimizer.zero_grad(set_to_none=True)
    loss = batch_loss(network, batch, dtype, mode, rng)
    loss.total.backward()
    norm = clip_grad_norm_(network.parameters(), CLIP_NORM)
    terms = {name: float(value.detach()) for name, value in loss.terms.items()}
    total = loss.total.detach()
    is_finite = bool(torch.isfinite(total) & torch.isfinite(norm))
    if is_finite:
        optimizer.step()
    return StepReport(float(total) if is_finite else None, terms, float(norm))


def batch_loss(network: Network, batch: Batch, dtype: torch.dtype, mode: str, rng: torch.Generator | None) -> Loss:
    """The loss over a batch, with gradients to the network's float32 weights."""
    weights = compute_weights(dict(network.named_parameters()), dtype)
    outputs: Outputs = functional_call(network, weights, (batch.inputs(), batch.layouts, rng))
    return compute_loss(outputs, batch.labels, batch.is_query, mode)
