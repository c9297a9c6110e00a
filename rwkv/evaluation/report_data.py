"""From a report's content to what the page draws: counts that can be filtered, and compact columns."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from rwkv.evaluation.report_content import (
    CURVE_TIMES_S,
    CardsNow,
    ComparisonRow,
    Floats,
    Ints,
    PredictedReviews,
    ReportContent,
    TrainingRun,
    Workload,
)
from rwkv.evaluation.summary import CONFIDENCE
from rwkv.vocab import SECONDS_PER_DAY

Arrays = dict[str, npt.NDArray[np.generic]]
Facts = dict[str, object]

# Edges of the bins of predicted recall: equal steps of arcsin(sqrt(p)), so that every bin needs about as many reviews
# for the same certainty in bins of its width; they are narrow near 0 and 1.
BINS = 20
BIN_EDGES = np.sin(np.linspace(0, np.pi / 2, BINS + 1)) ** 2

# Intervals are told apart by these limits, in seconds: same-day reviews in three bands, the others in six.
SAME_DAY_LIMITS_S = (600, 3600)
LIMITS_DAYS = (2, 7, 21, 60, 180)
BAND_NAMES = (
    "same day, under 10 min",
    "same day, 10 to 60 min",
    "same day, over an hour",
    "under 2 days",
    "2 to 7 days",
    "7 to 21 days",
    "21 to 60 days",
    "60 to 180 days",
    "over 180 days",
)
SAME_DAY_BANDS = len(SAME_DAY_LIMITS_S) + 1

# Decks with fewer reviews than the largest so many are shown as one.
MOST_DECKS = 200
OTHER_DECKS = "(other decks)"

# Losses are shown in blocks of so many days: the shortest of which there are not more than MOST_PERIODS.
PERIOD_DAYS = (1, 7, 30, 91, 365)
MOST_PERIODS = 60

# Recall and curves are sent in steps of 1/254, at most 0.002 off; 255 stands for unknown.
RECALL_STEPS = 254
UNKNOWN = 255


@dataclass(frozen=True)
class ReportData:
    """What the page gets: facts that JSON can hold, and arrays by name."""

    facts: Facts
    arrays: Arrays


def report_data(content: ReportContent) -> ReportData:
    """Compute all that the page shows. Raises ValueError where columns of the content do not fit together."""
    facts: Facts = {
        "title": content.title,
        "subtitle": content.subtitle,
        "notice": content.notice,
        "facts": [list(pair) for pair in content.facts],
        "retention": content.retention,
        "comparison": comparison_facts(content.comparison),
        "confidence": CONFIDENCE,
        "superiority": {name: dict(row) for name, row in content.superiority.items()},
        "training": [training_facts(run) for run in content.training],
    }
    arrays: Arrays = {}
    if content.reviews is not None and len(content.reviews):
        facts["predicted"], of_reviews = predicted_data(content.reviews, content.decks_of_reviews)
        arrays |= of_reviews
    if content.cards is not None and len(content.cards):
        facts["cards"], of_cards = cards_data(content.cards, content.decks)
        arrays |= of_cards
    if content.workload is not None:
        facts["workload"] = workload_facts(content.workload)
    return ReportData(facts, arrays)


# --- Reviews that were predicted


def interval_bands(elapsed_s: Ints, same_day: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The index into BAND_NAMES of each interval, [n]."""
    short = np.searchsorted(SAME_DAY_LIMITS_S, elapsed_s, "right")
    long = SAME_DAY_BANDS + np.searchsorted(np.multiply(LIMITS_DAYS, SECONDS_PER_DAY), elapsed_s, "right")
    return np.where(same_day, short, long).astype(np.uint8)


def review_losses(p: Floats, y: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """The term of each review in LogLoss, [n]: its mean is `recall_metrics`' LogLoss."""
    p = np.asarray(p, np.float32).astype(np.float64)
    eps = np.finfo(np.float64).eps
    return -np.log(np.clip(np.where(y == 1, p, 1 - p), eps, 1 - eps))


def predicted_data(reviews: PredictedReviews, decks: Sequence[str]) -> tuple[Facts, Arrays]:
    """Counts by (deck, interval, bin of prediction) and losses by (deck, interval, period), to be added up on the page.

    Arrays `bin_*`: one entry for each such combination of an algorithm that occurs; `loss_*`: of all algorithms.
    """
    deck, deck_names = largest_decks(reviews.deck, decks)
    band = interval_bands(reviews.elapsed_s, reviews.same_day)
    first_day, period_days = _periods(reviews.day)
    period = (reviews.day - first_day) // period_days
    place = deck.astype(np.int64) * len(BAND_NAMES) + band
    facts = {
        "algorithms": list(reviews.p),
        "reviews": len(reviews),
        "recalled": int(reviews.y.sum()),
        "decks": deck_names,
        "bands": BAND_NAMES,
        "same_day_bands": SAME_DAY_BANDS,
        "bin_edges": BIN_EDGES.tolist(),
        "first_day": int(first_day),
        "period_days": period_days,
        "periods": int(period.max()) + 1,
        "has_dates": reviews.has_dates,
    }
    parts = [_bin_cells(p, reviews.y, place, number) for number, p in enumerate(reviews.p.values())]
    arrays = {f"bin_{name}": np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return facts, arrays | {f"loss_{name}": column for name, column in _loss_cells(reviews, place, period).items()}


def _bin_cells(p: Floats, y: npt.NDArray[np.int8], place: Ints, algorithm: int) -> Arrays:
    known = ~np.isnan(p)
    p, y, place = p[known], y[known], place[known]
    bins = np.clip(np.searchsorted(BIN_EDGES, p, "right") - 1, 0, BINS - 1)
    cell, number, count = np.unique(place * BINS + bins, return_inverse=True, return_counts=True)
    place, bins = np.divmod(cell, BINS)
    return {
        "algorithm": np.full(len(cell), algorithm, np.uint8),
        "deck": (place // len(BAND_NAMES)).astype(np.uint8),
        "band": (place % len(BAND_NAMES)).astype(np.uint8),
        "bin": bins.astype(np.uint8),
        "count": count.astype(np.uint32),
        "recalled": np.bincount(number, y, len(cell)).astype(np.uint32),
        "sum_p": np.bincount(number, p, len(cell)).astype(np.float32),
    }


def _loss_cells(reviews: PredictedReviews, place: Ints, period: Ints) -> Arrays:
    """sum: [cells * algorithms], losses added up; count the same of the reviews that an algorithm predicted."""
    periods = int(period.max()) + 1
    cell, number = np.unique(place * periods + period, return_inverse=True)
    sums, counts = np.empty((len(cell), len(reviews.p))), np.empty((len(cell), len(reviews.p)))
    for i, p in enumerate(reviews.p.values()):
        known = ~np.isnan(p)
        losses = review_losses(p[known], reviews.y[known])
        sums[:, i] = np.bincount(number[known], losses, len(cell))
        counts[:, i] = np.bincount(number[known], minlength=len(cell))
    place, period = np.divmod(cell, periods)
    return {
        "deck": (place // len(BAND_NAMES)).astype(np.uint8),
        "band": (place % len(BAND_NAMES)).astype(np.uint8),
        "period": period.astype(np.uint16),
        "count": counts.astype(np.uint32).reshape(-1),
        "sum": sums.astype(np.float32).reshape(-1),
    }


def largest_decks(deck: npt.NDArray[np.int32], names: Sequence[str]) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Decks numbered again in order of their names, and those names; the small ones beyond MOST_DECKS as one, last."""
    present, number, count = np.unique(deck, return_inverse=True, return_counts=True)
    named = [names[index] if index >= 0 else "(no deck)" for index in present.tolist()]
    kept = sorted(np.argsort(-count, kind="stable")[:MOST_DECKS].tolist(), key=lambda i: named[i])
    new_number = np.full(len(present), len(kept))
    new_number[kept] = np.arange(len(kept))
    rest = [OTHER_DECKS] if len(kept) < len(present) else []
    return new_number[number].astype(np.uint8), [named[i] for i in kept] + rest


def _periods(day: Ints) -> tuple[int, int]:
    """The first day, and the length of a period in days."""
    first, days = int(day.min()), int(day.max() - day.min()) + 1
    fitting = [length for length in PERIOD_DAYS if days <= length * MOST_PERIODS]
    return first, fitting[0] if fitting else -(-days // MOST_PERIODS)


# --- The collection now


def quantised(p: Floats) -> npt.NDArray[np.uint8]:
    """Probabilities in RECALL_STEPS equal steps, in the shape of p; UNKNOWN for NaN."""
    unknown = np.isnan(p)
    return np.where(unknown, UNKNOWN, np.rint(np.where(unknown, 0, p) * RECALL_STEPS)).astype(np.uint8)


def cards_data(cards: CardsNow, decks: Sequence[str]) -> tuple[Facts, Arrays]:
    """Headline numbers, and the columns of all cards in order of deck and recall.

    Arrays: recall uint8 [c] as `quantised`, curves the same [64, c] time by time, each the difference from the time
    before (modulo 256, which packs better), elapsed_s float32 [c], deck uint16, id int64, flags uint8 (1: suspended),
    notes: UTF-8, one line a card.
    """
    names = [*decks, "(no deck)"]
    deck = np.where(cards.deck < 0, len(decks), cards.deck)
    order = np.lexsort((np.nan_to_num(cards.p_now, nan=2.0), deck))
    seen = ~np.isnan(cards.p_now)
    active = seen & ~cards.suspended
    facts: Facts = {
        "count": len(cards),
        "seen": int(seen.sum()),
        "suspended": int(cards.suspended.sum()),
        "mean_recall": float(cards.p_now[seen].mean()) if seen.any() else None,
        "known": float(cards.p_now[seen].sum()),
        "steps": RECALL_STEPS,
        "unknown": UNKNOWN,
        "active": int(active.sum()),
        "curve_times_s": CURVE_TIMES_S.tolist(),
        "decks": names,
    }
    curves = quantised(cards.curves[order]).T
    lines = "\n".join(" ".join(cards.note[row].split()) for row in order.tolist())
    return facts, {
        "recall": quantised(cards.p_now[order]),
        "curves": np.diff(curves, axis=0, prepend=np.zeros((1, len(cards)), np.uint8)).reshape(-1),
        "elapsed_s": cards.elapsed_s[order].astype(np.float32),
        "deck": deck[order].astype(np.uint16),
        "id": cards.card_id[order].astype(np.int64),
        "flags": cards.suspended[order].astype(np.uint8),
        "notes": np.frombuffer(lines.encode(), np.uint8),
    }


def workload_facts(workload: Workload) -> Facts:
    """Reviews and minutes by retention and day, rounded to a tenth."""
    return {
        "retention": workload.retention.tolist(),
        "reviews": np.round(workload.reviews, 1).tolist(),
        "minutes": np.round(workload.minutes, 1).tolist(),
    }


# --- Comparison and training


def comparison_facts(rows: Sequence[ComparisonRow]) -> list[Facts]:
    """The table, row by row."""
    return [
        {
            "name": row.name,
            "users": row.users,
            "reviews": row.reviews,
            "metrics": {name: asdict(estimate) for name, estimate in row.metrics.items()},
        }
        for row in rows
    ]


def training_facts(run: TrainingRun, most: int = 2000) -> Facts:
    """A run's curves; of more than `most` steps, the means of equal parts."""
    return {"name": run.name, "curves": {name: _thinned(*curve, most) for name, curve in run.curves.items()}}


def _thinned(steps: Ints, values: Floats, most: int) -> Mapping[str, list[float]]:
    starts = np.arange(0, len(steps), max(1, -(-len(steps) // most)))
    sizes = np.diff(starts, append=len(steps))
    step_means, value_means = (np.add.reduceat(column, starts) / sizes for column in (steps, values))
    return {"step": step_means.round(1).tolist(), "value": [float(f"{value:.6g}") for value in value_means.tolist()]}
