"""What the page shows of predictions: counts and losses that can be filtered, and how far they can be trusted."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rwkv.arrays import AnyFloats, Bools, Int32s, Ints
from rwkv.evaluation.metrics import log_losses
from rwkv.report.content import PredictedReviews
from rwkv.vocab import SECONDS_PER_DAY

Arrays = dict[str, npt.NDArray[np.generic]]
Facts = dict[str, object]

# Edges of the bins of predicted recall: equal steps of arcsin(sqrt(p)), narrow near 0 and 1. The page joins them into
# groups of about as many reviews each, after its filters.
BINS = 120
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


def interval_bands(elapsed_s: Ints, same_day: Bools) -> npt.NDArray[np.uint8]:
    """The index into BAND_NAMES of each interval, [n]."""
    short = np.searchsorted(SAME_DAY_LIMITS_S, elapsed_s, "right")
    long = SAME_DAY_BANDS + np.searchsorted(np.multiply(LIMITS_DAYS, SECONDS_PER_DAY), elapsed_s, "right")
    return np.where(same_day, short, long).astype(np.uint8)


def predicted_data(
    reviews: PredictedReviews, decks: Sequence[str], people: Sequence[str], own: int
) -> tuple[Facts, Arrays]:
    """Counts by (deck, interval, bin of prediction) and losses by (deck, interval, period), to be added up on the page.

    A deck is one person's. Arrays `bin_*`: one entry for each such combination of an algorithm that occurs; `loss_*`:
    of all algorithms.
    """
    deck, deck_names, deck_person = largest_decks(reviews.deck, reviews.person, decks)
    band = interval_bands(reviews.elapsed_s, reviews.same_day)
    first_day, period_days = _periods(reviews.day)
    period = (reviews.day - first_day) // period_days
    place = deck.astype(np.int64) * len(BAND_NAMES) + band
    facts: Facts = {
        "algorithms": list(reviews.p),
        "reviews": len(reviews),
        "recalled": int(reviews.y.sum()),
        "people": list(people),
        "own": own,
        "decks": deck_names,
        "deck_person": deck_person,
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


def _bin_cells(p: AnyFloats, y: npt.NDArray[np.int8], place: Ints, algorithm: int) -> Arrays:
    known = ~np.isnan(p)
    p, y, place = p[known], y[known], place[known]
    bins = np.clip(np.searchsorted(BIN_EDGES, p, "right") - 1, 0, BINS - 1)
    cell, number, count = np.unique(place * BINS + bins, return_inverse=True, return_counts=True)
    place, bins = np.divmod(cell, BINS)
    return {
        "algorithm": np.full(len(cell), algorithm, np.uint8),
        "deck": (place // len(BAND_NAMES)).astype(np.uint16),
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
        losses = log_losses(p[known], reviews.y[known])
        sums[:, i] = np.bincount(number[known], losses, len(cell))
        counts[:, i] = np.bincount(number[known], minlength=len(cell))
    place, period = np.divmod(cell, periods)
    return {
        "deck": (place // len(BAND_NAMES)).astype(np.uint16),
        "band": (place % len(BAND_NAMES)).astype(np.uint8),
        "period": period.astype(np.uint16),
        "count": counts.astype(np.uint32).reshape(-1),
        "sum": sums.astype(np.float32).reshape(-1),
    }


def largest_decks(deck: Int32s, person: Int32s, names: Sequence[str]) -> tuple[Int32s, list[str], list[int]]:
    """Decks numbered again by person and name, their names, and whose each is.

    Of each person's decks beyond MOST_DECKS over the number of people, the small ones are one, the last.
    """
    number = np.zeros(len(deck), np.int32)
    kept_names: list[str] = []
    owners: list[int] = []
    people = np.unique(person).tolist()
    most = max(5, MOST_DECKS // len(people))
    for one in people:
        rows = np.flatnonzero(person == one)
        present, place, count = np.unique(deck[rows], return_inverse=True, return_counts=True)
        named = [names[index] if index >= 0 else "(no deck)" for index in present.tolist()]
        kept = sorted(np.argsort(-count, kind="stable")[:most].tolist(), key=named.__getitem__)
        new_number = np.full(len(present), len(kept))
        new_number[kept] = np.arange(len(kept))
        number[rows] = len(kept_names) + new_number[place]
        rest = [OTHER_DECKS] if len(kept) < len(present) else []
        kept_names += [named[i] for i in kept] + rest
        owners += [one] * (len(kept) + len(rest))
    return number, kept_names, owners


def _periods(day: Ints) -> tuple[int, int]:
    """The first day, and the length of a period in days."""
    first, days = int(day.min()), int(day.max() - day.min()) + 1
    fitting = [length for length in PERIOD_DAYS if days <= length * MOST_PERIODS]
    return first, fitting[0] if fitting else -(-days // MOST_PERIODS)


# --- Trust


# Of fewer reviews nothing is said.
FEWEST_TO_JUDGE = 100
# So many standard errors of the mean difference tell two algorithms apart.
_CLEAR = 2.0


def trust_facts(reviews: PredictedReviews, own: int, shown: str = "RWKV") -> Facts:
    """How the algorithm whose recall the page shows compares on the person's own reviews that all have predicted.

    reviews: how many. verdicts: by the name of another, "ahead", "behind" or "level" (differences within two standard
    errors). sentence: the same in words.
    """
    rivals = {"FSRS-6": "FSRS-6", "AVG": "your average"}
    present = [name for name in (shown, *rivals) if name in reviews.p]
    known = (reviews.person == own) & ~reviews.same_day
    known = known & np.logical_and.reduce([~np.isnan(reviews.p[name]) for name in present])
    count = int(known.sum())
    if count < FEWEST_TO_JUDGE or len(present) < 1 + len(rivals):
        what = "none" if count == 0 else f"only {count:,}"
        return {
            "reviews": count,
            "verdicts": {},
            "sentence": f"How far to trust this cannot be said yet: {what} of your reviews can be used to judge it, "
            f"and it takes {FEWEST_TO_JUDGE}.",
        }
    y = reviews.y[known]
    loss = {name: log_losses(reviews.p[name][known], y) for name in present}
    verdicts = {name: _verdict(loss[shown], loss[name]) for name in rivals}
    words = {"ahead": "ahead of", "behind": "behind", "level": "level with"}
    parts = [f"{words[verdict]} {rivals[name]}" for name, verdict in verdicts.items()]
    if verdicts["FSRS-6"] == verdicts["AVG"]:
        parts = [f"{words[verdicts['AVG']]} FSRS-6 and {'of ' * (verdicts['AVG'] == 'ahead')}your average"]
    advice = "" if verdicts["AVG"] == "ahead" else " Do not lean on its numbers: your average says as much."
    return {
        "reviews": count,
        "verdicts": verdicts,
        "sentence": f"On your last {count:,} reviews {shown} was {' and '.join(parts)}.{advice}",
    }


def _verdict(ours: AnyFloats, other: AnyFloats) -> str:
    gain = other - ours
    error = float(gain.std() / np.sqrt(len(gain)))
    if abs(gain.mean()) <= _CLEAR * error:
        return "level"
    return "ahead" if gain.mean() > 0 else "behind"
