"""Validation: the loss on the benchmark's keys of users who are not trained on, over whole histories (spec 5)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rwkv.batches.collate import BatchLabels
from rwkv.batches.loader import read_segment
from rwkv.batches.plan import Group
from rwkv.batches.sliced import SlicedBatch
from rwkv.data.store import ReviewStore
from rwkv.evaluation.history_predictions import last_rows, sliced_for, whole_histories
from rwkv.model.network import Network, frozen_network
from rwkv.model.slices import ROWS_OF_A_SLICE, slices
from rwkv.ops.backend import Backend
from rwkv.training.loss import compute_loss

# The mask of rows of each reported mean.
_ROWS_OF = {
    "ahead_equalize": "ahead_equalize",
    "ahead_raw_equalize": "ahead_equalize",
    "imm_binary_equalize": "imm_equalize",
}


@dataclass(frozen=True)
class HeldOut:
    """Whole histories with the targets of their rows.

    Attributes:
        batch: The histories, cut into slices.
        is_query: Whether each row is a query, bool [N] on the CPU.
        labels: The targets of the rows, on the CPU.
    """

    batch: SlicedBatch
    is_query: Tensor
    labels: BatchLabels

    def __len__(self) -> int:
        return len(self.is_query)

    def pin_memory(self) -> "HeldOut":
        """A copy in page-locked memory, from which transfers to a GPU are asynchronous."""
        return replace(self, batch=self.batch.pin_memory())


def validation_batch(store: ReviewStore, group: Group, backend: Backend) -> HeldOut:
    """Read whole histories, with the random encodings of evaluation, for a network on a backend."""
    batch = whole_histories([read_segment(store, place) for place in group])
    return HeldOut(sliced_for(batch, backend), batch.is_query, batch.labels)


@torch.inference_mode()
def validate(
    network: Network,
    batches: Iterable[HeldOut],
    dtype: torch.dtype,
    add: Callable[[list[float]], list[float]] = lambda numbers: numbers,
) -> dict[str, float]:
    """The means of `Loss.reported` over all batches, by name; a mean without rows is left out.

    Args:
        network: Float32 master weights.
        batches: The batches that this process computes.
        dtype: The dtype of the forward pass.
        add: Adds each of some numbers up over all processes.
    """
    frozen = frozen_network(network.state_dict(), dtype, network.spec)
    device = network.device
    sums, counts = dict.fromkeys(_ROWS_OF, 0.0), dict.fromkeys(_ROWS_OF, 0)
    for held_out in batches:
        x = last_rows(frozen, held_out.batch)
        for part in slices(len(held_out), ROWS_OF_A_SLICE):
            labels = held_out.labels[part].to(device)
            loss = compute_loss(frozen.read_out(x[part]), labels, held_out.is_query[part].to(device))
            for name, rows in _ROWS_OF.items():
                sums[name] += float(loss.reported[name]) * int(loss.counts[rows])
                counts[name] += int(loss.counts[rows])
    totals = add([*sums.values(), *map(float, counts.values())])
    pairs = zip(totals[: len(sums)], totals[len(sums) :], strict=True)
    return {name: total / count for name, (total, count) in zip(_ROWS_OF, pairs, strict=True) if count}
