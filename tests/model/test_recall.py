"""Recall of arrays, by the native kernel if it is built and by NumPy alone, equals the curve's definition."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from rwkv.model import curve
from rwkv.model.curve import curve_logits
from rwkv.model.recall import (
    correction_points,
    curve_stabilities,
    immediate_recall,
    recall,
    recall_at,
    recall_plain,
    softmax,
)
from rwkv.model.spec import CURVES

CPU = torch.device("cpu")
# Seconds: below the least, at it, between and on the points, and far beyond the last.
TIMES = [-1e9, -1.0, 0.0, 0.3, 1.0, 59.0, 86_400.0, 3e7, 1.31e9, 1.33e9, 1e12]

Recall = Callable[[np.ndarray, np.ndarray], np.ndarray]
BOTH = pytest.mark.parametrize("form", [recall, recall_plain])


def random_outputs(seed: int, rows: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal((rows, 2 * CURVES + 4))).astype(np.float32)


def definition(outputs: np.ndarray, elapsed_s: np.ndarray) -> np.ndarray:
    wide = torch.from_numpy(outputs).double()
    logits = curve_logits(wide[:, :CURVES], wide[:, CURVES : 2 * CURVES], torch.from_numpy(elapsed_s))
    return logits.corrected.sigmoid().numpy()


@BOTH
@pytest.mark.parametrize("scale", [0.0, 1.0, 8.0])
def test_equals_the_definition(form: Recall, scale: float) -> None:
    elapsed_s = np.concatenate([TIMES, correction_points()[::9]])
    outputs = random_outputs(0, len(elapsed_s), scale)
    ours = form(outputs, elapsed_s)
    assert ours.dtype == np.float32
    # Half a unit of a float32 near 1, and float32 sums of 128 terms.
    np.testing.assert_allclose(ours, definition(outputs, elapsed_s), rtol=0, atol=5e-7)


@BOTH
def test_beyond_the_last_point_the_last_correction_holds(form: Recall) -> None:
    outputs = np.zeros((2, 2 * CURVES), np.float32)
    outputs[:, 2 * CURVES - 1] = 3.0
    last = correction_points()[-1]
    at_last, beyond = form(outputs, np.array([last, 100 * last]))
    assert at_last > beyond > 1e-5


@BOTH
def test_extreme_corrections_give_probabilities(form: Recall, recwarn: pytest.WarningsRecorder) -> None:
    outputs = np.zeros((2, 2 * CURVES), np.float32)
    outputs[:, CURVES:] = np.array([[-1000.0], [1000.0]])
    np.testing.assert_array_equal(form(outputs, np.array([60.0, 60.0])), [0, 1])
    assert len(recwarn) == 0


def test_whole_seconds_are_taken() -> None:
    outputs = random_outputs(1, 1)
    assert recall(outputs, [86_400]) == recall(outputs, [86_400.0])


def test_many_times_at_once() -> None:
    """Every row at every time, within the rounding of float32 sums of 128 terms in another order."""
    outputs = random_outputs(5, 7, 2.0)
    seconds = np.concatenate([[-3.0, 0.0, 1.0], np.geomspace(1, 1e10, 40)])
    expected = np.stack([recall(outputs, np.full(7, second)) for second in seconds], 1)
    np.testing.assert_allclose(recall_at(outputs, seconds), expected, rtol=0, atol=2e-6)


def test_the_grids_are_those_of_tensors() -> None:
    # Both compute e^x in float64, each in its own way.
    np.testing.assert_allclose(curve_stabilities(), curve.curve_stabilities(CPU), rtol=1e-14)
    np.testing.assert_allclose(correction_points(), curve.correction_points(CPU), rtol=1e-14)


def test_ratings_are_those_of_tensors() -> None:
    logits = np.array([[0.0, 0.0, 0.0, 0.0], [50.0, 0.0, 1.0, -1.0], [-500.0, 300.0, 0.0, 1.0]], np.float32)
    ours, tensors = softmax(logits), torch.from_numpy(logits)
    assert ours.dtype == np.float32
    # Two units of a float32 near 1.
    np.testing.assert_allclose(ours, tensors.softmax(-1), rtol=0, atol=1.2e-7)
    np.testing.assert_allclose(immediate_recall(ours), curve.immediate_recall(tensors), rtol=0, atol=1.2e-7)
