"""Predictions of the benchmark's reviews from whole histories (spec 6)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rwkv.arrays import Bools, Float32s, Int32s, Ints
from rwkv.batches.collate import Batch, collate
from rwkv.batches.loader import read_segment
from rwkv.batches.plan import Group
from rwkv.batches.single_buffer import SingleBuffer
from rwkv.batches.sliced import SlicedBatch, gpu_slices, plain_slices
from rwkv.data.key_store import KeyStore
from rwkv.data.keys import BenchmarkKeys
from rwkv.data.segments import Segment
from rwkv.data.store import ReviewStore
from rwkv.errors import CheckpointError, StoreError
from rwkv.evaluation.results import UserPredictions
from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.gpu_batch import GpuBatch
from rwkv.model.gpu_encoder import encode_fused
from rwkv.model.gpu_heads import ask_heads_fused
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network
from rwkv.model.slices import encode_rows, rows_of_a_slice, run_streams, slices
from rwkv.ops.backend import Backend, Kernels

# Batches on a GPU of at most a slice are padded to multiples of this many rows, so that they can be recorded.
_STEP = 8_192


@dataclass(frozen=True)
class Targets:
    """The n keys of one user that can be predicted, in review_th order.

    Attributes:
        user: Number of the user.
        review_th: Numbers of the reviews, int32 [n].
        bins: Bins of RMSE(bins), int32 [n].
        ahead_row: Row in the batch of the card's previous review, int64 [n].
        imm_row: Row in the batch of the query, int64 [n].
        y: Outcomes, int8 [n]: 1 recalled, 0 forgotten.
        elapsed_s: Seconds from the card's previous review, int64 [n].
        left_out: Number of keys without such rows.
    """

    user: int
    review_th: Int32s
    bins: Int32s
    ahead_row: Ints
    imm_row: Ints
    y: npt.NDArray[np.int8]
    elapsed_s: Ints
    left_out: int

    def __len__(self) -> int:
        return len(self.review_th)

    def part(self, chosen: Bools) -> "Targets":
        """The targets where `chosen` [n] holds."""
        columns: dict[str, Any] = {
            name: column[chosen] for name, column in vars(self).items() if isinstance(column, np.ndarray)
        }
        return replace(self, **columns)


@dataclass(frozen=True)
class EvaluationBatch:
    """The histories of some users in one batch, with the targets of each.

    Attributes:
        batch: The batch, cut into slices; None if no history could be read.
        targets: The targets of each user in the batch.
        problems: The error of each user whose history or keys could not be read.
    """

    batch: SlicedBatch | None
    targets: tuple[Targets, ...]
    problems: dict[int, StoreError]

    def pin_memory(self) -> "EvaluationBatch":
        """A copy in page-locked memory, from which transfers to a GPU are asynchronous."""
        return replace(self, batch=None if self.batch is None else self.batch.pin_memory())


def evaluation_batch(store: ReviewStore, keys: KeyStore, group: Group, backend: Backend) -> EvaluationBatch:
    """Read the histories of a group of users and find the rows that predict their keys.

    Args:
        store: The review store.
        keys: The benchmark's keys.
        group: The users' histories to read.
        backend: That of the network, which decides the form of the batch.
    """
    segments: list[Segment] = []
    targets, problems, start = [], {}, 0
    for place in group:
        try:
            segment = read_segment(store, place)
            targets.append(find_targets(segment, keys.read(place.user), start))
        except StoreError as error:
            problems[place.user] = error
        else:
            segments.append(segment)
            start += len(segment)
    batch = sliced_for(whole_histories(segments), backend) if segments else None
    return EvaluationBatch(batch, tuple(targets), problems)


def find_targets(segment: Segment, keys: BenchmarkKeys, start: int = 0) -> Targets:
    """Find the rows of a whole history that predict the user's keys.

    Args:
        segment: The whole history.
        keys: The keys to predict.
        start: Row in the batch of the first row of the history.
    """
    labels = segment.labels
    ahead = labels.has_label & ~segment.is_query
    ahead_row = _row_of(labels.review_th, ahead, keys.review_ths)
    imm_row = _row_of(labels.review_th, segment.is_query, keys.review_ths)
    usable = (ahead_row >= 0) & (imm_row >= 0)
    ahead_row, imm_row = ahead_row[usable], imm_row[usable]
    return Targets(
        user=segment.user,
        review_th=keys.review_ths[usable],
        bins=keys.rmse_bins[usable],
        ahead_row=start + ahead_row,
        imm_row=start + imm_row,
        y=labels.y[imm_row],
        elapsed_s=labels.elapsed_s[ahead_row],
        left_out=int(np.count_nonzero(~usable)),
    )


def _row_of(label_review_th: Int32s, mask: Bools, wanted: Int32s) -> Ints:
    """Among the rows where `mask` holds, the one that predicts each wanted review; -1 if there is none."""
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(label_review_th[rows], kind="stable")]
    position = np.searchsorted(label_review_th[rows], wanted)
    rows, review_th = np.append(rows, -1), np.append(label_review_th[rows], -1)
    return np.where(review_th[position] == wanted, rows[position], -1)


def whole_histories(segments: list[Segment]) -> Batch:
    """Collate whole histories with the random encodings of evaluation."""
    return collate(segments, [draw_sequence(segment.user) for segment in segments])


def sliced_for(batch: Batch, backend: Backend) -> SlicedBatch:
    """Cut a batch into slices for the network's backend. For a GPU, batches of one slice are padded to a few sizes."""
    rows = rows_of_a_slice(backend.device)
    if backend.kernels is not Kernels.TRITON:
        return plain_slices(batch, rows)
    return gpu_slices(batch, rows, _STEP if len(batch) <= rows else 1, backend.dtype)


def last_rows(network: Network, batch: SlicedBatch) -> Tensor:
    """Run the streams without dropout: the rows before the heads, [N, C] on the network's device."""
    if isinstance(batch, SingleBuffer):
        return gpu_rows(network, batch.to(network.device).batch)[: batch.template.count]
    rows = batch.rows.to(network.device)
    x = encode_rows(network, rows.inputs, len(batch), rows_of_a_slice(network.device))
    return run_streams(network, x, batch.streams)


def gpu_rows(network: Network, batch: GpuBatch) -> Tensor:
    """The rows before the heads of a batch on the network's GPU, with those of the padding."""
    return run_streams(network, encode_fused(network.features2card, batch.rows), batch.streams)


def predict_users(network: Network, x: Tensor, targets: Sequence[Targets]) -> list[UserPredictions]:
    """Predict the targets of at least one user from the rows before the heads.

    Args:
        network: The network, ready to predict.
        x: The batch's rows before the heads, [N, C] on the network's device.
        targets: The targets of each user, with rows of this batch.

    Returns:
        The predictions of each user, in the order of the targets.
    """
    ends = np.cumsum([len(part) for part in targets])
    columns = np.concatenate([np.stack([part.ahead_row, part.elapsed_s, part.imm_row]) for part in targets], 1)
    p_ahead, p_imm, p_all = read_predictions(network, x, *torch.from_numpy(columns).to(x.device))
    # One copy to the CPU.
    flat = torch.cat([p_ahead, p_imm, p_all.flatten()]).cpu().numpy()
    n = len(p_ahead)
    by_user = (np.split(p, ends[:-1]) for p in (flat[:n], flat[n : 2 * n], flat[2 * n :].reshape(n, -1)))
    return [_user_predictions(*user) for user in zip(targets, *by_user, strict=True)]


def _user_predictions(targets: Targets, p_ahead: Float32s, p_imm: Float32s, p_all: Float32s) -> UserPredictions:
    return UserPredictions(
        targets.user, targets.review_th, targets.y, targets.bins, p_ahead, p_imm, p_all, targets.elapsed_s
    )


@torch.inference_mode()
def read_predictions(
    network: Network, x: Tensor, ahead_row: Tensor, elapsed_s: Tensor, imm_row: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Read predictions from the rows before the heads.

    Args:
        network: The network, ready to predict.
        x: Rows before the heads, [N, C].
        ahead_row: Review rows from which RWKV predicts, int64 [n].
        elapsed_s: Seconds after these rows, [n].
        imm_row: Query rows from which RWKV-P predicts, int64 [m].

    Returns:
        Three float32 tensors on x's device: p_ahead [n], recall by RWKV; p_imm [m], recall by RWKV-P; p_all [m, 4],
        the ratings Again, Hard, Good and Easy by RWKV-P.
    """
    ask = ask_heads_fused if network.backend.kernels is Kernels.TRITON else _ask_heads
    p_ahead, p_logits = ask(network, x, ahead_row, elapsed_s, imm_row)
    return p_ahead.float(), immediate_recall(p_logits).float(), p_logits.softmax(-1).float()


def _ask_heads(
    network: Network, x: Tensor, ahead_row: Tensor, elapsed_s: Tensor, imm_row: Tensor
) -> tuple[Tensor, Tensor]:
    """Run the heads as in training but without dropout, slice by slice: p_ahead [n] and p_logits [m, 4]."""
    p_ahead = [
        curve_logits(*network.read_curve(x[ahead_row[part]]), elapsed_s[part]).corrected.sigmoid()
        for part in slices(len(ahead_row), rows_of_a_slice(x.device))
    ]
    p_logits = [network.read_ratings(x[imm_row[part]]) for part in slices(len(imm_row), rows_of_a_slice(x.device))]
    return torch.cat(p_ahead), torch.cat(p_logits)


def not_finite(where: str, dtype: torch.dtype) -> CheckpointError:
    """The error to raise if predictions are NaN or infinite. dtype: the one in which the network computed them."""
    hint = "use another model" + ("" if dtype == torch.float32 else ', or DTYPE = "float"')
    return CheckpointError("The model's predictions are not finite.", where=where, hint=hint)


@torch.inference_mode()
def curve_weights(network: Network, x: Tensor, targets: Targets) -> Tensor:
    """The weights of the 128 curves behind a user's p_ahead, float32 [n, 128] on the CPU.

    They are computed as in training, which in bfloat16 on a GPU rounds differently from the kernel that gives p_ahead.

    Args:
        network: The network, ready to predict.
        x: Rows before the heads, [N, C].
        targets: The user's targets.
    """
    rows = torch.from_numpy(targets.ahead_row).to(x.device)
    parts = slices(len(targets), rows_of_a_slice(x.device))
    return torch.cat([network.read_curve(x[rows[part]])[0].softmax(-1).cpu() for part in parts])
