"""From whole histories to predictions of the benchmark's reviews (spec 6)."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rwkv.batches.collate import Batch, collate
from rwkv.batches.loader import read_segment
from rwkv.batches.one_piece import OnePiece
from rwkv.batches.plan import Group
from rwkv.batches.sliced import SlicedBatch, slice_batch
from rwkv.data.history import Bools, Int32s, Ints
from rwkv.data.key_store import KeyStore
from rwkv.data.keys import BenchmarkKeys
from rwkv.data.segments import Segment
from rwkv.data.store import ReviewStore
from rwkv.errors import CheckpointError, StoreError
from rwkv.evaluation.results import UserPredictions
from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.fused_parts import rows_before_heads_fused
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network
from rwkv.model.slices import has_gpu_kernels, rows_before_heads, rows_of_a_slice, slices


@dataclass(frozen=True)
class Targets:
    """The keys of one user that can be predicted, in review_th order. All arrays [n].

    ahead_row: the card's review row before; imm_row: the query row, both as places in the batch. y, elapsed_s: what
    came of it, and how many seconds after ahead_row. left_out: how many keys have no such rows.
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


@dataclass(frozen=True)
class Question:
    """Histories in one batch and what is asked of each user. problems: users whose data or keys cannot be read.

    batch: None where no user is left.
    """

    batch: SlicedBatch | None
    targets: tuple[Targets, ...]
    problems: dict[int, StoreError]

    def pin_memory(self) -> "Question":
        """The same in memory from which copies to a GPU do not wait."""
        return replace(self, batch=None if self.batch is None else self.batch.pin_memory())


def make_question(store: ReviewStore, keys: KeyStore, group: Group, device: torch.device) -> Question:
    """Read the histories of a group of users and find the rows that predict their keys. device: of the network."""
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
    batch = sliced_for(whole_histories(segments), device) if segments else None
    return Question(batch, tuple(targets), problems)


def find_targets(segment: Segment, keys: BenchmarkKeys, start: int = 0) -> Targets:
    """The rows of a whole history that predict the user's keys; the history's first row has place `start`."""
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
    """Among the rows where `mask` holds, the one that predicts each wanted review; -1 where there is none."""
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(label_review_th[rows], kind="stable")]
    found = np.searchsorted(label_review_th[rows], wanted)
    rows, there = np.append(rows, -1), np.append(label_review_th[rows], -1)
    return np.where(there[found] == wanted, rows[found], -1)


def whole_histories(segments: list[Segment]) -> Batch:
    """Whole histories with the codes of evaluation."""
    return collate(segments, [draw_sequence(segment.user) for segment in segments])


def sliced_for(batch: Batch, device: torch.device) -> SlicedBatch:
    """A batch cut up for the network's device."""
    return slice_batch(batch, rows_of_a_slice(device), has_gpu_kernels(device))


def last_rows(network: Network, batch: SlicedBatch) -> Tensor:
    """The batch's rows before the heads: [N, C] on the network's device, from dropout-free streams."""
    if isinstance(batch, OnePiece):
        return rows_before_heads_fused(network, batch.to(network.device).batch)
    rows = batch.rows.to(network.device)
    return rows_before_heads(network, rows.inputs, batch.parts, len(batch), rows_of_a_slice(network.device))


def predict_history(network: Network, segment: Segment, of: Targets) -> UserPredictions:
    """Both predictions of at least one target of a whole history. Raises CheckpointError where they are not finite."""
    batch = sliced_for(whole_histories([segment]), network.device)
    predictions = predict_user(network, last_rows(network, batch), of)
    if not predictions.is_finite:
        raise not_finite(f"user {segment.user}")
    return predictions


@torch.inference_mode()
def predict_user(network: Network, x: Tensor, of: Targets) -> UserPredictions:
    """Both predictions of one user's targets, at least one, from the batch's last rows x [N, C]."""
    p_ahead, p_imm, p_all = [], [], []
    for part in slices(len(of), rows_of_a_slice(x.device)):
        curve = network.read_curve(_rows(x, of.ahead_row[part]))
        elapsed_s = torch.from_numpy(of.elapsed_s[part]).to(x.device)
        p_ahead.append(curve_logits(*curve, elapsed_s).corrected.sigmoid())
        p_logits = network.read_ratings(_rows(x, of.imm_row[part]))
        p_imm.append(immediate_recall(p_logits))
        p_all.append(p_logits.softmax(-1))
    return UserPredictions(
        user=of.user,
        review_th=of.review_th,
        y=of.y,
        bins=of.bins,
        p_ahead=_joined(p_ahead),
        p_imm=_joined(p_imm),
        p_all=_joined(p_all),
        label_elapsed_seconds=of.elapsed_s,
    )


def not_finite(where: str) -> CheckpointError:
    """The error to raise where a model's predictions are no numbers."""
    hint = 'use another model, or DTYPE = "float"'
    return CheckpointError("The model's predictions are not finite.", where=where, hint=hint)


@torch.inference_mode()
def curve_weights(network: Network, x: Tensor, of: Targets) -> Tensor:
    """The weights of the 128 curves in the rows that predict a user's targets: float32 [n, 128] on the CPU."""
    parts = slices(len(of), rows_of_a_slice(x.device))
    return torch.cat([network.read_curve(_rows(x, of.ahead_row[part]))[0].softmax(-1).cpu() for part in parts])


def _rows(x: Tensor, rows: Ints) -> Tensor:
    return x[torch.from_numpy(rows).to(x.device)]


def _joined(parts: list[Tensor]) -> npt.NDArray[np.float32]:
    return torch.cat(parts).float().cpu().numpy()
