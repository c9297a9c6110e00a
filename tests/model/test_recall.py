"""Recall without gradient, by the native kernel if it is built, equals the curve's definition."""

import torch

from rwkv.model.curve import correction_points, curve_logits, recall, recall_at
from rwkv.model.spec import CURVES

# Seconds: below the least, at it, between and on the points, and far beyond the last.
TIMES = [-1e9, -1.0, 0.0, 0.3, 1.0, 59.0, 86_400.0, 3e7, 1.31e9, 1.33e9, 1e12]


def definition(outputs: torch.Tensor, elapsed_s: torch.Tensor) -> torch.Tensor:
    wide = outputs.to(torch.float64)
    return curve_logits(wide[:, :CURVES], wide[:, CURVES : 2 * CURVES], elapsed_s).corrected.sigmoid()


def test_equals_the_definition() -> None:
    rng = torch.Generator().manual_seed(0)
    points = correction_points(torch.device("cpu"))
    elapsed_s = torch.cat([torch.tensor(TIMES, dtype=torch.float64), points[::9]])
    for scale in (0.0, 1.0, 8.0):
        outputs = scale * torch.randn(len(elapsed_s), 2 * CURVES + 4, generator=rng)
        ours = recall(outputs, elapsed_s)
        assert ours.dtype == torch.float32
        # Half a unit of a float32 near 1, and the float32 sums of the PyTorch form.
        torch.testing.assert_close(ours.double(), definition(outputs, elapsed_s), rtol=0, atol=5e-7)


def test_beyond_the_last_point_the_last_correction_holds() -> None:
    outputs = torch.zeros(2, 2 * CURVES)
    outputs[:, 2 * CURVES - 1] = 3.0
    last = correction_points(torch.device("cpu"))[-1]
    at_last, beyond = recall(outputs, torch.stack([last, 100 * last]))
    assert at_last > beyond > 1e-5


def test_whole_seconds_are_taken() -> None:
    outputs = torch.randn(1, 2 * CURVES, generator=torch.Generator().manual_seed(1))
    assert recall(outputs, torch.tensor([86_400])) == recall(outputs, torch.tensor([86_400.0]))


def test_many_times_at_once() -> None:
    """Every row at every time, within the rounding of float32 sums of 128 terms in another order."""
    rng = torch.Generator().manual_seed(5)
    outputs = 2 * torch.randn(7, 260, generator=rng)
    seconds = torch.cat([torch.tensor([-3.0, 0.0, 1.0]), torch.logspace(0, 10, 40)]).double()
    expected = torch.stack([recall(outputs, second.repeat(7)) for second in seconds], 1)
    torch.testing.assert_close(recall_at(outputs, seconds), expected, rtol=0, atol=2e-6)
