"""From whole histories to predictions of the benchmark's reviews (spec 6)."""

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
from rwkv.batches.single_buffer import OnePiece
from rwkv.batches.sliced import SlicedBatch, gpu_slices, plain_slices
from rwkv.data.key_store import KeyStore
from rwkv.data.keys import BenchmarkKeys
from rwkv.data.segments import Segment
from rwkv.data.store import ReviewStore
from rwkv.errors import CheckpointError, StoreError
from rwkv.evaluation.results import UserPredictions
from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.gpu_heads import ask_heads_fused
from rwkv.model.gpu_network import rows_before_heads_fused
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network
from rwkv.model.slices import rows_before_heads, rows_of_a_slice, slices
from rwkv.ops.backend import has_gpu_kernels


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

    def part(self, chosen: Bools) -> "Targets":
        """Some of them."""
        columns: dict[str, Any] = {
            name: column[chosen] for name, column in vars(self).items() if isinstance(column, np.ndarray)
        }
        return replace(self, **columns)


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
    cut = gpu_slices if has_gpu_kernels(device) else plain_slices
    return cut(batch, rows_of_a_slice(device))


def last_rows(network: Network, batch: SlicedBatch) -> Tensor:
    """The batch's rows before the heads: [N, C] on the network's device, from dropout-free streams."""
    if isinstance(batch, OnePiece):
        return rows_before_heads_fused(network, batch.to(network.device).batch)
    rows = batch.rows.to(network.device)
    return rows_before_heads(network, rows.inputs, batch.parts, len(batch), rows_of_a_slice(network.device))


def predict_history(network: Network, segment: Segment, of: Targets) -> UserPredictions:
    """Both predictions of at least one target of a whole history. Raises CheckpointError where they are not finite."""
    batch = sliced_for(whole_histories([segment]), network.device)
    (predictions,) = predict_users(network, last_rows(network, batch), [of])
    if not predictions.is_finite:
        raise not_finite(f"user {segment.user}")
    return predictions


def predict_users(network: Network, x: Tensor, targets: Sequence[Targets]) -> list[UserPredictions]:
    """Both predictions of the targets of at least one user, asked of the batch's last rows x [N, C] all at once.

    The results come to the CPU in one copy.
    """
    ends = np.cumsum([len(of) for of in targets])
    asked = np.concatenate([np.stack([of.ahead_row, of.elapsed_s, of.imm_row]) for of in targets], 1)
    p_ahead, p_imm, p_all = read_predictions(network, x, *torch.from_numpy(asked).to(x.device))
    found = torch.cat([p_ahead, p_imm, p_all.flatten()]).cpu().numpy()
    n = len(p_ahead)
    parts = (np.split(of, ends[:-1]) for of in (found[:n], found[n : 2 * n], found[2 * n :].reshape(n, -1)))
    return [_user_predictions(*of) for of in zip(targets, *parts, strict=True)]


def _user_predictions(of: Targets, p_ahead: Float32s, p_imm: Float32s, p_all: Float32s) -> UserPredictions:
    return UserPredictions(of.user, of.review_th, of.y, of.bins, p_ahead, p_imm, p_all, of.elapsed_s)


@torch.inference_mode()
def read_predictions(
    network: Network, x: Tensor, ahead_row: Tensor, elapsed_s: Tensor, imm_row: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """From a batch's last rows x [N, C], float32 on its device: p_ahead [n], p_imm [m] and p_all [m, 4].

    p_ahead: recall by RWKV elapsed_s [n] seconds after rows ahead_row [n]. p_imm, p_all: by RWKV-P, of recall and of
    the ratings, from the query rows imm_row [m].
    """
    ask = ask_heads_fused if has_gpu_kernels(x.device) else _ask_heads
    p_ahead, p_logits = ask(network, x, ahead_row, elapsed_s, imm_row)
    return p_ahead.float(), immediate_recall(p_logits).float(), p_logits.softmax(-1).float()


def _ask_heads(
    network: Network, x: Tensor, ahead_row: Tensor, elapsed_s: Tensor, imm_row: Tensor
) -> tuple[Tensor, Tensor]:
    """The heads in plain ops, slice by slice: p_ahead [n] and p_logits [m, 4]."""
    p_ahead = [
        curve_logits(*network.read_curve(x[ahead_row[part]]), elapsed_s[part]).corrected.sigmoid()
        for part in slices(len(ahead_row), rows_of_a_slice(x.device))
    ]
    p_logits = [network.read_ratings(x[imm_row[part]]) for part in slices(len(imm_row), rows_of_a_slice(x.device))]
    return torch.cat(p_ahead), torch.cat(p_logits)


def not_finite(where: str) -> CheckpointError:
    """The error to raise where a model's predictions are no numbers."""
    hint = 'use another model, or DTYPE = "float"'
    return CheckpointError("The model's predictions are not finite.", where=where, hint=hint)


@torch.inference_mode()
def curve_weights(network: Network, x: Tensor, of: Targets) -> Tensor:
    """The weights of the 128 curves in the rows that predict a user's targets: float32 [n, 128] on the CPU.

    In plain ops, which in bfloat16 on a GPU round otherwise than what p_ahead is made of.
    """
    rows = torch.from_numpy(of.ahead_row).to(x.device)
    parts = slices(len(of), rows_of_a_slice(x.device))
    return torch.cat([network.read_curve(x[rows[part]])[0].softmax(-1).cpu() for part in parts])
