"""The loss on users that are not trained on: whole histories, rows of the benchmark's keys (spec 5)."""

from collections.abc import Iterable
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

# Which rows each reported mean is taken over.
_ROWS_OF = {
    "ahead_equalize": "ahead_equalize",
    "ahead_raw_equalize": "ahead_equalize",
    "imm_binary_equalize": "imm_equalize",
}


@dataclass(frozen=True)
class HeldOut:
    """Whole histories, and what their rows are held against: is_query bool [N] and labels, on the CPU."""

    batch: SlicedBatch
    is_query: Tensor
    labels: BatchLabels

    def __len__(self) -> int:
        return len(self.is_query)

    def pin_memory(self) -> "HeldOut":
        """The same with the batch in memory from which copies to a GPU do not wait."""
        return replace(self, batch=self.batch.pin_memory())


def validation_batch(store: ReviewStore, group: Group, backend: Backend) -> HeldOut:
    """Whole histories with the codes of evaluation, for a network on a backend."""
    batch = whole_histories([read_segment(store, place) for place in group])
    return HeldOut(sliced_for(batch, backend), batch.is_query, batch.labels)


@torch.inference_mode()
def validate(network: Network, batches: Iterable[HeldOut], dtype: torch.dtype) -> dict[str, float]:
    """Means over the equalize rows of all batches, by the names of Loss.reported; none where there is no such row."""
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
    return {name: sums[name] / counts[name] for name in _ROWS_OF if counts[name]}
