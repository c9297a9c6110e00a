"""Judge weights on people: calibration by interval, and the intervals of `rwkv predict` beside FSRS-6's.

    python -m recipes.weights.people DATASET [--model WEIGHTS] [--users 1,4-6]

`rwkv compare` has the metrics of the same people. FSRS-6 is optimised on all reviews of each person.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from rwkv.arrays import AnyFloats, Floats, Ints
from rwkv.collection.card_predictions import CardPredictions, predict_learner
from rwkv.collection.chosen_model import ChosenModel, choose_model
from rwkv.collection.compare_users import compare_users
from rwkv.collection.learner import Learner, read_learner
from rwkv.collection.users import users_in
from rwkv.command_line.user_numbers import user_numbers
from rwkv.data.revlogs import read_history
from rwkv.evaluation.comparison import AHEAD, IMM, Comparison, days_since_first, fsrs_parameters
from rwkv.evaluation.fsrs6 import interval_by_stability, stabilities
from rwkv.runtime import run_command

# The first day of each band of intervals; the last band has no end.
BANDS = {"1": 1, "2-3": 2, "4-7": 4, "8-15": 8, "16-31": 16, "32-90": 32, "more": 91}
_ALGORITHMS = (AHEAD, IMM, "FSRS-6", "AVG")
_GOOD, _FLOOR_DAYS = 3, 1.0


@dataclass(frozen=True)
class Calibration:
    """Means by band of intervals, [bands]: reviews, recall, and predictions by algorithm; NaN without reviews."""

    reviews: Ints
    recall: Floats
    p: dict[str, Floats]


def calibration_of(people: Sequence[Comparison], days: Sequence[AnyFloats | Ints]) -> Calibration:
    """The calibration over the reviews of several people. days: the interval of each review, [n] for each person."""
    band = np.searchsorted([*BANDS.values()], np.concatenate(days), side="right") - 1
    reviews = np.bincount(band, minlength=len(BANDS))

    def means(values: Sequence[AnyFloats]) -> Floats:
        sums = np.bincount(band, np.concatenate(values).astype(np.float64), len(BANDS))
        return np.divide(sums, reviews, out=np.full(len(BANDS), np.nan), where=reviews > 0)

    recall = means([person.y.astype(np.float64) for person in people])
    return Calibration(reviews, recall, {name: means([person.p[name] for person in people]) for name in _ALGORITHMS})


@dataclass(frozen=True)
class Intervals:
    """The intervals of one person's reviewed cards after each button.

    Attributes:
        median_days: Medians after Again, Hard, Good and Easy.
        fsrs_days: The median after Good by FSRS-6.
        rank: The rank correlation of Good with FSRS-6's; NaN for equal intervals.
        anki_days, anki_rank: The same of the current intervals in Anki; NaN where they are unknown.
        at_floor: The share of cards with a Good of a day.
        is_rising: The share of cards with Again < Hard < Good < Easy, without ties.
    """

    median_days: Floats
    fsrs_days: float
    rank: float
    anki_days: float
    anki_rank: float
    at_floor: float
    is_rising: float


def intervals_of(cards: CardPredictions, fsrs_days: Floats) -> Intervals:
    """Compare the intervals of reviewed cards [n] with FSRS-6's after Good, [n]."""
    buttons = np.stack([cards.days_again, cards.days_hard, cards.days_good, cards.days_easy])
    anki_days = cards.anki_interval_days.astype(np.float64)
    is_known = anki_days > 0
    return Intervals(
        median_days=np.median(buttons, axis=1),
        fsrs_days=float(np.median(fsrs_days)),
        rank=_rank(cards.days_good, fsrs_days),
        anki_days=float(np.median(anki_days[is_known])) if is_known.any() else np.nan,
        anki_rank=_rank(cards.days_good[is_known], anki_days[is_known]),
        at_floor=float(np.mean(cards.days_good <= _FLOOR_DAYS)),
        is_rising=float(np.mean((np.diff(buttons, axis=0) > 0).all(axis=0))),
    )


def fsrs_good_days(learner: Learner, rows: Ints, at_s: float, retention: AnyFloats) -> Floats:
    """The interval in days of the cards `rows` [n] after a Good at a moment, by FSRS-6 optimised on the person."""
    table, number = learner.history, learner.number[rows]
    days = days_since_first(table)
    latest = np.zeros(learner.reviewed, np.int64)
    latest[table.card] = days  # the last remains
    since = np.maximum(0, learner.day_of(at_s) - learner.latest_day[rows]).astype(np.int64)
    card, rating = np.append(table.card, number), np.append(table.rating, np.full(len(rows), _GOOD))
    parameters = fsrs_parameters(table)
    after = stabilities(card, rating, np.append(days, latest[number] + since), parameters)[len(table) :]
    return interval_by_stability(after, retention, parameters)


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--users", type=user_numbers)
    options = parser.parse_args()
    model, users = choose_model(options.model), users_in(options.dataset, options.users)
    print(format_calibration(_calibration(options.dataset, users, model)), flush=True)
    print(f"\n{'user':<6}{'Again':>9}{'Hard':>9}{'Good':>9}{'Easy':>9}{'FSRS-6':>9}{'factor':>8}{'rank':>7}", end="")
    print(f"{'Anki':>9}{'rank':>7}{'floor':>8}{'no ties':>9}")
    for user in users:
        print(f"{user:<6}{format_intervals(_intervals(options.dataset, user, model))}", flush=True)
    print("days; FSRS-6 and Anki beside Good; floor: cards with a Good of a day; no ties: Again < Hard < Good < Easy")
    return 0


def format_calibration(calibration: Calibration) -> str:
    """A table with a line for each algorithm and a column for each band."""
    lines = [f"{'days':<10}" + "".join(f"{name:>8}" for name in BANDS)]
    lines.append(f"{'reviews':<10}" + "".join(f"{count:>8,}" for count in calibration.reviews))
    for name, means in ({"recall": calibration.recall} | calibration.p).items():
        lines.append(f"{name:<10}" + "".join(f"{_number(mean, 3):>8}" for mean in means))
    return "\n".join(lines)


def format_intervals(intervals: Intervals) -> str:
    """The cells of a person's line."""
    days = [_number(value, 1) for value in (*intervals.median_days, intervals.fsrs_days)]
    factor = _number(intervals.median_days[_GOOD - 1] / intervals.fsrs_days, 2)
    cells = "".join(f"{cell:>9}" for cell in days) + f"{factor:>8}{_number(intervals.rank, 2):>7}"
    cells += f"{_number(intervals.anki_days, 1):>9}{_number(intervals.anki_rank, 2):>7}"
    return cells + f"{intervals.at_floor:>8.1%}{intervals.is_rising:>9.1%}"


def _calibration(dataset: Path, users: Sequence[int], model: ChosenModel) -> Calibration:
    people = compare_users(dataset, users, model.runner).users
    days = []
    for person in people:
        table = read_history(dataset, person.user)
        days.append(table.elapsed_days[np.searchsorted(table.review_th, person.review_th)].astype(np.int64))
    return calibration_of(people, days)


def _intervals(dataset: Path, user: int, model: ChosenModel) -> Intervals:
    learner = read_learner(dataset, user)
    at_s = learner.now_s()
    cards, _ = predict_learner(learner, model, at_s)
    rows = np.flatnonzero(learner.is_reviewed & ~cards.is_new)
    return intervals_of(cards.rows(rows), fsrs_good_days(learner, rows, at_s, cards.desired_retention[rows]))


def _rank(ours: Floats, theirs: Floats) -> float:
    """Spearman's rank correlation; NaN where it is not defined."""
    if len(ours) < 2 or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return np.nan
    return float(spearmanr(ours, theirs).statistic)


def _number(value: float, places: int) -> str:
    return "-" if np.isnan(value) else f"{value:.{places}f}"


if __name__ == "__main__":
    raise SystemExit(run_command(main))
