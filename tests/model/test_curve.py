"""The forgetting curve and the immediate prediction (spec 4), against the formulas in NumPy's float64."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rwkv.forgetting_curve import CURVES, FLOOR
from rwkv.model.curve import correction_points, curve_logits, curve_stabilities, immediate_recall

CPU = torch.device("cpu")
INDEX = np.arange(128)
STABILITIES = 0.1 + (np.exp(18.5 * INDEX / 127) - 1) * np.exp(3.5)
POINTS = 0.5 + (np.exp(18.5 * INDEX / 127) - 1) * np.exp(2.5)
YEAR_S = 365.25 * 86_400

# Float64 on both sides; a logit of R near the floor amplifies a rounding of 1e-16 by 1e5.
EXACT = 1e-9
# Float32: sums of 128 weights round at some 1e-7 of R, and of 1 - R, each from its own sum.
SINGLE = 5e-6


def softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def expected_logits(w_logits: np.ndarray, ahead_logits: np.ndarray, elapsed_s: np.ndarray) -> tuple[np.ndarray, ...]:
    """The expected logits, raw: logit R(t), and corrected: logit R(t) + q(t)."""
    t = np.maximum(elapsed_s, 1.0)[:, None]
    recall = 1e-5 + (1 - 2e-5) * (softmax(w_logits) * 0.9 ** (t / STABILITIES)).sum(-1)
    correction = [np.interp(at, POINTS, logits) for at, logits in zip(t[:, 0], ahead_logits, strict=True)]
    raw = np.log(recall / (1 - recall))
    return raw, raw + 1e-5 + (1 - 2e-5) * np.array(correction)


def random_rows(rows: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights from even to nearly one-hot, corrections, and times from 0 s to 100 years including the points."""
    rng = np.random.default_rng(5)
    w_logits = rng.standard_normal((rows, 128)) * np.exp(rng.uniform(-2, 3, (rows, 1)))
    elapsed_s = np.exp(rng.uniform(-1, np.log(100 * YEAR_S), rows))
    elapsed_s[:128] = POINTS
    return w_logits, rng.standard_normal((rows, 128)), elapsed_s


def test_grids() -> None:
    np.testing.assert_allclose(curve_stabilities(CPU).numpy(), STABILITIES, rtol=1e-12)
    np.testing.assert_allclose(correction_points(CPU).numpy(), POINTS, rtol=1e-12)
    assert correction_points(CPU)[-1] / YEAR_S == pytest.approx(41.8, abs=0.05)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, EXACT), (torch.float32, SINGLE)])
def test_curve(dtype: torch.dtype, tolerance: float) -> None:
    w_logits, ahead_logits, elapsed_s = random_rows()
    elapsed_s = elapsed_s.astype(np.float32)
    given = (
        torch.from_numpy(w_logits).to(dtype),
        torch.from_numpy(ahead_logits).to(dtype),
        torch.from_numpy(elapsed_s),
    )
    raw, corrected = expected_logits(given[0].double().numpy(), given[1].double().numpy(), elapsed_s.astype(np.float64))
    ours = curve_logits(*given)
    assert ours.raw.dtype == ours.corrected.dtype == dtype
    np.testing.assert_allclose(ours.raw.double(), raw, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ours.corrected.double(), corrected, rtol=tolerance, atol=tolerance)


def curve_of(w_logits: Tensor, ahead_logits: Tensor, elapsed_s: list[float]) -> tuple[Tensor, Tensor]:
    """One row's raw and corrected logits at several times."""
    times = torch.tensor(elapsed_s, dtype=torch.float64)
    return curve_logits(w_logits.expand(len(times), -1), ahead_logits.expand(len(times), -1), times)


def one_row(seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(CURVES, generator=rng), torch.randn(CURVES, generator=rng)


def test_less_than_a_second_counts_as_one() -> None:
    raw, corrected = curve_of(*one_row(), [-1.0, 0.0, 0.5, 1.0, 1.5])
    for logits in (raw, corrected):
        assert len(set(logits[:4].tolist())) == 1
        assert logits[4] != logits[3]


def test_beyond_the_last_point_the_last_correction_holds() -> None:
    w_logits, ahead_logits = one_row()
    last = POINTS[-1]
    raw, corrected = curve_of(w_logits, ahead_logits, [last, last + 1, 2 * last, 1e4 * last, 1e15])
    wanted = FLOOR + (1 - 2 * FLOOR) * float(ahead_logits[-1])
    # q is a difference of float32 logits of size 10.
    torch.testing.assert_close(corrected - raw, torch.full_like(raw, wanted), rtol=0, atol=4e-6)
    assert torch.isfinite(corrected).all()


def test_each_point_has_its_own_correction() -> None:
    raw, corrected = curve_of(one_row()[0], torch.arange(128.0), POINTS[1:].tolist())
    wanted = FLOOR + (1 - 2 * FLOOR) * torch.arange(1, 128, dtype=torch.float32)
    torch.testing.assert_close(corrected - raw, wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("curve", [0, 64, 127])
def test_a_stability_is_the_time_to_nine_tenths(curve: int) -> None:
    w_logits = torch.full((CURVES,), -1e4)
    w_logits[curve] = 0.0
    stability = float(STABILITIES[curve])
    raw, _ = curve_of(w_logits, torch.zeros(CURVES), [max(1.0, stability)])
    expected = FLOOR + (1 - 2 * FLOOR) * 0.9 ** max(1.0, 1 / stability)
    assert float(raw.sigmoid()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_recall_by_the_mixture_falls(seed: int) -> None:
    raw, _ = curve_of(
        one_row(seed)[0].double(), torch.zeros(CURVES, dtype=torch.float64), np.geomspace(1, 1e10, 200).tolist()
    )
    assert (raw.diff() < 0).all()


@pytest.mark.parametrize("curve", [0, 64, 127])
@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_extremes_are_finite(curve: int, size: float) -> None:
    """Recall stays between the floors and gradients are finite for all weights and times."""
    w_logits = torch.zeros(CURVES)
    w_logits[curve] = size
    w_logits.requires_grad_()
    ahead_logits = torch.zeros(CURVES, requires_grad=True)
    raw, corrected = curve_of(w_logits, ahead_logits, [0.0, 1.0, 1e3, 1e9, 1e18])
    least = float(np.log(1e-5) - np.log1p(-1e-5))
    assert torch.isfinite(corrected).all()
    assert (raw.abs() <= -least + 1e-5).all()
    corrected.sum().backward()
    for leaf in (w_logits, ahead_logits):
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


def test_immediate_recall() -> None:
    p_logits = np.random.default_rng(2).standard_normal((50, 4)) * 2
    ours = immediate_recall(torch.from_numpy(p_logits))
    np.testing.assert_allclose(ours, 1 - softmax(p_logits)[:, 0], rtol=1e-12)


@pytest.mark.parametrize(("again", "expected"), [(1e3, 1e-5), (-1e3, 1 - 1e-5), (12.0, 1.8e-5), (20.0, 1e-5)])
def test_immediate_recall_keeps_to_the_floors(again: float, expected: float) -> None:
    ours = immediate_recall(torch.tensor([[again, 0.0, 0.0, 0.0]], dtype=torch.float64))
    assert float(ours) == pytest.approx(expected, rel=0.03 if again == 12.0 else 1e-12)
