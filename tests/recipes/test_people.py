"""Weights judged on people: calibration by interval, and intervals beside FSRS-6's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recipes.weights import people
from recipes.weights.people import BANDS, Intervals, calibration_of, format_intervals, fsrs_good_days, intervals_of
from rwkv.collection.card_predictions import CardPredictions, predict_learner
from rwkv.collection.learner import read_learner
from rwkv.evaluation.comparison import Comparison
from rwkv.evaluation.fsrs6 import DEFAULT_PARAMETERS, stabilities
from tests.benchmark.workspace import add_users
from tests.collection.people import MODEL
from tests.collection.student import make_student

NAMES = ("RWKV", "RWKV-P", "FSRS-6", "AVG")


def person(p: list[float], y: list[int]) -> Comparison:
    columns = {name: np.array(p, np.float32) for name in NAMES} | {"AVG": np.full(len(p), 0.5)}
    return Comparison(1, np.arange(len(p), dtype=np.int32), columns, np.array(y, np.int8), np.zeros(len(p), np.int32))


@pytest.fixture
def cards(tmp_path: Path) -> CardPredictions:
    learner = read_learner(make_student(tmp_path / "student"), 1)
    return predict_learner(learner, MODEL, learner.end_s)[0].rows(np.arange(4))


def test_reviews_are_calibrated_by_band() -> None:
    """Both ends of each band, over two people, each review with the same weight."""
    ends = [(1, 1), (2, 3), (4, 7), (8, 15), (16, 31), (32, 90)]
    days = [np.array(ends).ravel(), np.array([1, 91, 4000])]
    p = np.arange(len(days[0])) / 20
    both = [person(p.tolist(), [1, 0] * len(ends)), person([0.9, 0.8, 0.6], [1, 1, 1])]
    calibration = calibration_of(both, days)
    assert list(BANDS) == ["1", "2-3", "4-7", "8-15", "16-31", "32-90", "more"]
    np.testing.assert_array_equal(calibration.reviews, [3, 2, 2, 2, 2, 2, 2])
    np.testing.assert_allclose(calibration.recall, [2 / 3, *[0.5] * 5, 1])
    expected = [(0 + 0.05 + 0.9) / 3, *(p.reshape(-1, 2).mean(1)[1:]), 0.7]
    np.testing.assert_allclose(calibration.p["RWKV-P"], expected, rtol=1e-6)
    np.testing.assert_allclose(calibration.p["AVG"], 0.5)


def test_a_band_without_reviews_has_no_figures() -> None:
    calibration = calibration_of([person([0.9], [1])], [np.array([5])])
    assert np.isnan(calibration.recall).tolist() == [True, True, False, True, True, True, True]
    assert "-" in people.format_calibration(calibration)


def test_intervals_are_compared(cards: CardPredictions) -> None:
    """Two of four cards without ties, one at the floor, and Anki's interval of three."""
    given = replace(
        cards,
        days_again=np.array([1.0, 1, 1, 2]),
        days_hard=np.array([1.0, 2, 2, 3]),
        days_good=np.array([1.0, 4, 9, 16]),
        days_easy=np.array([5.0, 4, 20, np.inf]),
        anki_interval_days=np.array([9, 5, 0, 1]),
    )
    intervals = intervals_of(given, np.array([2.0, 3, 8, 7]))
    np.testing.assert_allclose(intervals.median_days, [1, 2, 6.5, 12.5])
    assert (intervals.fsrs_days, intervals.anki_days) == (5, 5)
    assert intervals.rank == pytest.approx(0.8)
    assert intervals.anki_rank == pytest.approx(-1)
    assert (intervals.at_floor, intervals.is_rising) == (0.25, 0.5)
    assert format_intervals(intervals).split()[5] == "1.30"  # Good as a multiple of FSRS-6's


def test_intervals_without_anki_or_differences(cards: CardPredictions) -> None:
    same = replace(cards, days_good=np.full(4, 3.0), anki_interval_days=np.zeros(4, np.int64))
    intervals = intervals_of(same, np.arange(1, 5.0))
    assert np.isnan([intervals.rank, intervals.anki_days, intervals.anki_rank]).all()
    assert isinstance(intervals, Intervals)
    assert format_intervals(intervals).count("-") == 3


def test_fsrs_good_is_one_more_review(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stability after each card's own reviews and a Good, some days after the last one."""
    monkeypatch.setattr(people, "fsrs_parameters", lambda table: list(DEFAULT_PARAMETERS))
    learner = read_learner(make_student(tmp_path / "student"), 1)
    at_s = learner.days_later(learner.end_s, 9)
    rows = np.flatnonzero(learner.is_reviewed)[[5, 2, 30]]
    ours = fsrs_good_days(learner, rows, at_s, np.array([0.9, 0.9, 0.8]))
    for days, row, retention in zip(ours, rows, (0.9, 0.9, 0.8), strict=True):
        own = learner.history.card == learner.number[row]
        day = np.append(learner.history.day_offset[own], learner.day_of(at_s))
        rating = np.append(learner.history.rating[own], 3)
        stability = stabilities(np.zeros(len(day), np.int64), rating, day)[-1]
        if retention == 0.9:
            assert days == pytest.approx(stability)
        else:
            assert days > 1.5 * stability


def test_both_tables_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_users(tmp_path / "dataset", (1, 2))
    monkeypatch.setattr("sys.argv", ["people", str(tmp_path / "dataset"), "--users", "1,2"])
    assert people.main() == 0
    lines = capsys.readouterr().out.splitlines()
    table = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert [len(table[name]) for name in ("reviews", "recall", *NAMES, "1", "2")] == [7] * 6 + [11] * 2
    assert sum(int(count) for count in table["reviews"]) > 100
    assert all(0 < float(mean) < 1 for name in ("recall", *NAMES) for mean in table[name] if mean != "-")
