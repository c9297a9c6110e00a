"""The metrics of published predictions."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rwkv.evaluation.metrics import recall_metrics

# Both sides are rounded to 6 places.
TOLERANCE = 1e-6


def test_metrics(vectors: Path, differences: Callable[[str, float], None]) -> None:
    path = vectors / "metrics.json"
    if not path.is_file():
        pytest.skip(f"{path} is missing: the vectors hold no predictions")
    cases = json.loads(path.read_text())
    assert cases
    for case in cases:
        ours = recall_metrics(case["p_float32"], np.asarray(case["rating_minus_1"]) > 0, case["rmse_bins"])
        expected = case["stats"]["metrics"]
        assert list(ours) == list(expected)
        assert len(case["p_float32"]) == case["stats"]["size"]
        for name, value in expected.items():
            if ours[name] is not None and value is not None:
                differences(f"metrics: {name}", abs(ours[name] - value))
            assert ours[name] == pytest.approx(value, abs=1.001 * TOLERANCE), f"user {case['user']}: {name}"
