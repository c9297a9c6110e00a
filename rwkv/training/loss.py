"""The loss and its terms (spec 5)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rwkv.batches.collate import BatchLabels
from rwkv.model.curve import curve_rows, immediate_recall
from rwkv.model.heads import Outputs

TERM_WEIGHTS = {
    "ahead": 0.5,
    "imm": 1.0,
    "ahead_raw": 0.5,
    "w": 1e-5,
    "ahead_logits_mag": 1e-4,
    "ahead_logits_diff": 1e-3,
}


@dataclass(frozen=True)
class Loss:
    """The loss of a batch; all tensors are 0-dimensional.

    Attributes:
        total: The optimised loss.
        terms: Unweighted mean of each term.
        reported: Means over the rows of the benchmark's keys, which are not optimised.
        counts: Number of rows in the masks "ahead", "imm", "ahead_equalize" and "imm_equalize".
    """

    total: Tensor
    terms: dict[str, Tensor]
    reported: dict[str, Tensor]
    counts: dict[str, Tensor]

    @property
    def figures(self) -> Tensor:
        """The total and the terms in the order of TERM_WEIGHTS, without gradients, [7]."""
        return torch.stack([self.total, *(self.terms[name] for name in TERM_WEIGHTS)]).detach()


def optimised_rows(labels: BatchLabels, is_query: Tensor, mode: str) -> Tensor:
    """The numbers of rows in the masks "ahead" and "imm" of `compute_loss`, int64 [2]."""
    return torch.stack([mask.sum() for mask in _optimised(labels, is_query, mode)])


def _optimised(labels: BatchLabels, is_query: Tensor, mode: str) -> tuple[Tensor, Tensor]:
    """The masks "ahead" and "imm", bool [N] each."""
    used = labels.has_label & labels.is_equalize if mode == "equalize" else labels.has_label
    return ~is_query & used, is_query & used


def compute_loss(
    outputs: Outputs, labels: BatchLabels, is_query: Tensor, mode: str = "all", rows: Tensor | None = None
) -> Loss:
    """Compute the loss over all rows of a batch.

    Args:
        outputs: The network's outputs of N rows.
        labels: The targets of the rows.
        is_query: Whether each row is a query, bool [N].
        mode: "all", or "equalize" to use only rows that predict one of the benchmark's keys.
        rows: If the batch is a part of a step: `optimised_rows` of all parts together. The losses of the parts then add
            up to that of the step. None if it is the whole step.

    Source: Spec 5.
    """
    ahead, imm = _optimised(labels, is_query, mode)
    masks = {
        "ahead": ahead,
        "imm": imm,
        "ahead_equalize": ahead & labels.is_equalize,
        "imm_equalize": imm & labels.is_equalize,
    }
    counts = dict(zip(masks, torch.stack(list(masks.values())).sum(1).unbind(), strict=True))
    optimised = counts if rows is None else dict(zip(("ahead", "imm"), rows.unbind(), strict=True))

    curve = curve_rows(outputs.w_logits, outputs.ahead_logits, labels.elapsed_s)
    ahead_bce = F.binary_cross_entropy_with_logits(curve.corrected, labels.y, reduction="none")
    raw_bce = F.binary_cross_entropy_with_logits(curve.raw, labels.y, reduction="none")
    imm_ce = F.cross_entropy(outputs.p_logits, labels.rating - 1, reduction="none")
    # F.binary_cross_entropy would fail on a NaN and break the CUDA context. As there, logarithms are at least -100.
    recall = immediate_recall(outputs.p_logits.detach())
    imm_bce = -torch.where(labels.y == 1, recall, 1 - recall).log().clamp(min=-100)
    # Name -> the values, their mask, and its number of rows.
    means = {
        "ahead": (ahead_bce, "ahead", optimised["ahead"]),
        "imm": (imm_ce, "imm", optimised["imm"]),
        "ahead_raw": (raw_bce, "ahead", optimised["ahead"]),
        "w": (curve.divergence, "ahead", optimised["ahead"]),
        "ahead_logits_mag": (curve.magnitude, "ahead", optimised["ahead"]),
        "ahead_logits_diff": (curve.roughness, "ahead", optimised["ahead"]),
        "ahead_equalize": (ahead_bce.detach(), "ahead_equalize", counts["ahead_equalize"]),
        "ahead_raw_equalize": (raw_bce.detach(), "ahead_equalize", counts["ahead_equalize"]),
        "imm_binary_equalize": (imm_bce, "imm_equalize", counts["imm_equalize"]),
    }
    # All sums in one launch; an empty mask gives 0.
    values, names, numbers = zip(*means.values(), strict=True)
    sums = torch.where(torch.stack([masks[name] for name in names]), torch.stack(values), 0).sum(1)
    mean = dict(zip(means, (sums / torch.stack(numbers).clamp(min=1)).unbind(), strict=True))
    terms = {name: mean[name] for name in TERM_WEIGHTS}
    return Loss(
        total=torch.stack([weight * terms[name] for name, weight in TERM_WEIGHTS.items()]).sum(),
        terms=terms,
        reported={name: mean[name].detach() for name in means if name not in TERM_WEIGHTS},
        counts=counts,
    )
