"""The loss (spec 5): terms computed row by row, masks, weights, empty masks and extreme values."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from rwkv.batches.collate import BatchLabels
from rwkv.model.curve import curve_logits
from rwkv.model.heads import Outputs
from rwkv.training.loss import Loss, compute_loss

WEIGHTS = {"ahead": 0.5, "imm": 1, "ahead_raw": 0.5, "w": 1e-5, "ahead_logits_mag": 1e-4, "ahead_logits_diff": 1e-3}

# Float64 on both sides.
EXACT = 1e-12

Rows = tuple[Outputs, BatchLabels, Tensor]


def rows(count: int = 40, seed: int = 0) -> Rows:
    """Outputs, labels and is_query of all kinds of rows, float64."""
    rng = torch.Generator().manual_seed(seed)

    def normal(width: int) -> Tensor:
        return torch.randn(count, width, generator=rng, dtype=torch.float64).requires_grad_()

    def share(value: float) -> Tensor:
        return torch.rand(count, generator=rng) < value

    is_query = share(0.4)
    has_label = is_query | share(0.7)
    rating = torch.where(has_label, torch.randint(1, 5, (count,), generator=rng), 1)
    labels = BatchLabels(
        has_label=has_label,
        elapsed_s=torch.where(has_label & ~is_query, torch.rand(count, generator=rng) * 1e7, 0.0),
        rating=rating,
        y=(rating > 1).to(torch.float64),
        is_equalize=has_label & share(0.5),
    )
    return Outputs(normal(128), normal(128), normal(4)), labels, is_query


def select(part: Rows, index: Tensor) -> Rows:
    """The rows of a mask or an index."""
    outputs, labels, is_query = part
    chosen = BatchLabels(**{name: column[index] for name, column in vars(labels).items()})
    return Outputs(*(column.detach()[index].requires_grad_() for column in outputs)), chosen, is_query[index]


def bce(logit: float, y: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -(y * math.log(p) + (1 - y) * math.log(1 - p))


def row_terms(outputs: Outputs, labels: BatchLabels, row: int) -> dict[str, float]:
    """All terms of one row, whether or not its mask selects it."""
    row_slice = slice(row, row + 1)
    w_logits, ahead_logits = outputs.w_logits.detach(), outputs.ahead_logits.detach()
    curve = curve_logits(w_logits[row_slice], ahead_logits[row_slice], labels.elapsed_s[row_slice])
    y, rating = float(labels.y[row]), int(labels.rating[row])
    weights = w_logits[row].softmax(-1).tolist()
    ahead = ahead_logits[row].tolist()
    ratings = outputs.p_logits[row].detach().softmax(-1).tolist()
    steps = [right - left for left, right in pairwise(ahead)]
    recall = 1 - ratings[0]
    return {
        "ahead": bce(float(curve.corrected), y),
        "ahead_raw": bce(float(curve.raw), y),
        "imm": -math.log(ratings[rating - 1]),
        "w": sum((math.log(1 / 128) - math.log(w)) / 128 for w in weights) / 128,
        "ahead_logits_mag": math.sqrt(1e-16 + sum(x * x for x in ahead) / 128),
        "ahead_logits_diff": math.sqrt(1e-16 + sum(x * x for x in steps) / 127),
        "imm_binary": -(y * math.log(recall) + (1 - y) * math.log(1 - recall)),
    }


def mean(part: Rows, name: str, mask: Tensor) -> float:
    outputs, labels, _ = part
    values = [row_terms(outputs, labels, row)[name] for row in torch.nonzero(mask).flatten().tolist()]
    return sum(values) / len(values) if values else 0.0


def compute(part: Rows, mode: str = "all") -> Loss:
    outputs, labels, is_query = part
    return compute_loss(outputs, labels, is_query, mode)


def numbers(tensors: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in tensors.items()}


@pytest.mark.parametrize("mode", ["all", "equalize"])
def test_terms_are_means_over_their_masks(mode: str) -> None:
    part = rows()
    _, labels, is_query = part
    ahead, imm, equalize = labels.has_label & ~is_query, is_query, labels.is_equalize
    used = equalize if mode == "equalize" else torch.ones_like(equalize)
    loss = compute(part, mode)
    assert numbers(loss.terms) == pytest.approx(
        {name: mean(part, name, (imm if name == "imm" else ahead) & used) for name in WEIGHTS}, rel=EXACT
    )
    assert numbers(loss.reported) == pytest.approx(
        {
            "ahead_equalize": mean(part, "ahead", ahead & equalize),
            "ahead_raw_equalize": mean(part, "ahead_raw", ahead & equalize),
            "imm_binary_equalize": mean(part, "imm_binary", imm & equalize),
        },
        rel=EXACT,
    )
    assert numbers(loss.counts) == {
        "ahead": (ahead & used).sum(),
        "imm": (imm & used).sum(),
        "ahead_equalize": (ahead & equalize).sum(),
        "imm_equalize": (imm & equalize).sum(),
    }


@pytest.mark.parametrize("mode", ["all", "equalize"])
def test_the_total_is_weighted(mode: str) -> None:
    loss = compute(rows(), mode)
    assert loss.terms.keys() == WEIGHTS.keys()
    assert float(loss.total.detach()) == pytest.approx(
        sum(WEIGHTS[name] * x for name, x in numbers(loss.terms).items()), rel=EXACT
    )
    assert loss.total.requires_grad
    assert not any(value.requires_grad for value in loss.reported.values())


@pytest.mark.parametrize("mode", ["all", "equalize"])
def test_rows_outside_the_masks_do_not_affect_the_loss(mode: str) -> None:
    part = rows()
    outputs, labels, is_query = part
    used = labels.has_label & (labels.is_equalize if mode == "equalize" else torch.ones_like(is_query))
    assert not used.all()
    total = compute(part, mode).total
    total.backward()
    whole = float(total.detach())
    w, ahead, p = (column.grad for column in outputs)
    assert w is not None
    assert ahead is not None
    assert p is not None
    for gradient, mask in ((w, used & ~is_query), (ahead, used & ~is_query), (p, used & is_query)):
        assert torch.equal(gradient.abs().sum(1) > 0, mask)
    assert float(compute(select(part, used), mode).total.detach()) == pytest.approx(whole, rel=EXACT)


def without_labels(part: Rows) -> Rows:
    outputs, labels, is_query = part
    nothing = torch.zeros_like(is_query)
    return outputs, BatchLabels(**{**vars(labels), "has_label": nothing, "is_equalize": nothing}), nothing


@pytest.mark.parametrize(
    ("part", "empty"),
    [
        (select(rows(), rows()[2]), {"ahead", "ahead_raw", "w", "ahead_logits_mag", "ahead_logits_diff"}),
        (select(rows(), ~rows()[2]), {"imm"}),
        (without_labels(rows()), set(WEIGHTS)),
        (select(rows(), torch.zeros(40, dtype=torch.bool)), set(WEIGHTS)),
    ],
    ids=["queries only", "reviews only", "no labels", "no rows"],
)
def test_the_mean_over_an_empty_mask_is_zero(part: Rows, empty: set[str]) -> None:
    for column in part[0]:
        column.grad = None
    loss = compute(part)
    assert {name for name, value in loss.terms.items() if value == 0} == empty
    loss.total.backward()
    for column in part[0]:
        assert column.grad is not None
        assert torch.isfinite(column.grad).all()


def test_no_equalize_rows() -> None:
    outputs, labels, is_query = rows()
    loss = compute(
        (outputs, BatchLabels(**{**vars(labels), "is_equalize": torch.zeros_like(is_query)}), is_query), "equalize"
    )
    assert {*numbers(loss.terms).values(), *numbers(loss.reported).values(), float(loss.total.detach())} == {0.0}
    loss.total.backward()
    assert all(column.grad is not None and not column.grad.any() for column in outputs)


@pytest.mark.parametrize("size", [0.0, 100.0, 1e4])
def test_loss_and_gradients_are_finite_at_extreme_outputs(size: float) -> None:
    """In float32: zero corrections (a root at 0), one-hot weights, certain ratings that are wrong."""
    _, labels, is_query = rows()
    labels = BatchLabels(**{**vars(labels), "y": labels.y.float()})
    one_hot = torch.nn.functional.one_hot(torch.arange(40), 128) * size
    outputs = Outputs(
        *(x.float().requires_grad_() for x in (one_hot, one_hot.flip(0), one_hot[:, :4] - one_hot[:, 4:8].flip(1)))
    )
    loss = compute((outputs, labels, is_query))
    assert all(math.isfinite(x) for group in (loss.terms, loss.reported) for x in numbers(group).values())
    loss.total.backward()
    for column in outputs:
        assert column.grad is not None
        assert torch.isfinite(column.grad).all()
