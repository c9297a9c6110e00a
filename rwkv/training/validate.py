"""The loss on users that are not trained on: whole histories, rows of the benchmark's keys (spec 5)."""

from collections.abc import Iterable

import torch

from rwkv.batches.collate import BatchLabels
from rwkv.batches.loader import read_segment
from rwkv.batches.plan import Group
from rwkv.batches.sliced import SlicedBatch
from rwkv.data.store import ReviewStore
from rwkv.evaluation.predict import last_rows, sliced_histories
from rwkv.model.network import Network, frozen_network
from rwkv.model.slices import ROWS_OF_A_SLICE, slices
from rwkv.training.loss import compute_loss

# Which rows each reported mean is taken over.
_ROWS_OF = {
    "ahead_equalize": "ahead_equalize",
    "ahead_raw_equalize": "ahead_equalize",
    "imm_binary_equalize": "imm_equalize",
}


def validation_batch(store: ReviewStore, group: Group, device: torch.device) -> SlicedBatch:
    """Whole histories with the codes of evaluation, for a network on a device."""
    return sliced_histories([read_segment(store, place) for place in group], device)


@torch.inference_mode()
def validate(network: Network, batches: Iterable[SlicedBatch], dtype: torch.dtype) -> dict[str, float]:
    """Means over the equalize rows of all batches, by the names of Loss.reported; none where there is no such row."""
    frozen = frozen_network(network.state_dict(), dtype, network.spec)
    device = network.device
    sums, counts = dict.fromkeys(_ROWS_OF, 0.0), dict.fromkeys(_ROWS_OF, 0)
    for batch in batches:
        x = last_rows(frozen, batch)
        for part in slices(len(batch), ROWS_OF_A_SLICE):
            labels = BatchLabels(**{name: value[part].to(device) for name, value in vars(batch.rows.labels).items()})
            loss = compute_loss(frozen.read_out(x[part]), labels, batch.rows.is_query[part].to(device))
            for name, rows in _ROWS_OF.items():
                sums[name] += float(loss.reported[name]) * int(loss.counts[rows])
                counts[name] += int(loss.counts[rows])
    return {name: sums[name] / counts[name] for name in _ROWS_OF if counts[name]}
