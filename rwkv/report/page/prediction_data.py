"""The page's data of predictions: counts and losses for its filters, and a verdict on how far to trust them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rwkv.arrays import AnyFloats, Bools, Int32s, Ints
from rwkv.evaluation.metrics import log_losses
from rwkv.report.content import PredictedReviews, fsrs_shown
from rwkv.report.page.facts import Arrays, PredictedFacts, TrustFacts
from rwkv.vocab import SECONDS_PER_DAY

# Edges of the bins of predicted recall: equal steps of arcsin(sqrt(p)), narrow near 0 and 1. The page joins the
# filtered bins into groups of about equal numbers of reviews.
BINS = 120
BIN_EDGES = np.sin(np.linspace(0, np.pi / 2, BINS + 1)) ** 2

# Limits of the bands of intervals in seconds: three bands of same-day reviews, and six of others.
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

# The most decks of the filter; smaller ones are merged.
MOST_DECKS = 200
OTHER_DECKS = "(other decks)"

# Lengths of the periods of losses in days: the shortest with at most MOST_PERIODS periods is used.
PERIOD_DAYS = (1, 7, 30, 91, 365)
MOST_PERIODS = 60


def interval_bands(elapsed_s: Ints, same_day: Bools) -> npt.NDArray[np.uint8]:
    """The index of each interval in BAND_NAMES [n]."""
    short = np.searchsorted(SAME_DAY_LIMITS_S, elapsed_s, "right")
    long = SAME_DAY_BANDS + np.searchsorted(np.multiply(LIMITS_DAYS, SECONDS_PER_DAY), elapsed_s, "right")
    return np.where(same_day, short, long).astype(np.uint8)


def predicted_data(
    reviews: PredictedReviews, decks: Sequence[str], people: Sequence[str], own: int
) -> tuple[PredictedFacts, Arrays]:
    """Counts by deck, interval and bin of prediction, and losses by deck, interval and period, for sums on the page.

    A deck belongs to one person. Arrays `bin_*` have an entry for each combination that occurs for an algorithm, and
    arrays `loss_*` for all algorithms.
    """
    deck, deck_names, deck_person = largest_decks(reviews.deck, reviews.person, decks)
    band = interval_bands(reviews.elapsed_s, reviews.same_day)
    first_day, period_days = _periods(reviews.day)
    period = (reviews.day - first_day) // period_days
    place = deck.astype(np.int64) * len(BAND_NAMES) + band
    facts: PredictedFacts = {
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
    is_predicted = ~np.isnan(p)
    p, y, place = p[is_predicted], y[is_predicted], place[is_predicted]
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
    """Sums of losses, and numbers of predicted reviews, both [cells * algorithms]."""
    periods = int(period.max()) + 1
    cell, number = np.unique(place * periods + period, return_inverse=True)
    sums, counts = np.empty((len(cell), len(reviews.p))), np.empty((len(cell), len(reviews.p)))
    for i, p in enumerate(reviews.p.values()):
        is_predicted = ~np.isnan(p)
        losses = log_losses(p[is_predicted], reviews.y[is_predicted])
        sums[:, i] = np.bincount(number[is_predicted], losses, len(cell))
        counts[:, i] = np.bincount(number[is_predicted], minlength=len(cell))
    place, period = np.divmod(cell, periods)
    return {
        "deck": (place // len(BAND_NAMES)).astype(np.uint16),
        "band": (place % len(BAND_NAMES)).astype(np.uint8),
        "period": period.astype(np.uint16),
        "count": counts.astype(np.uint32).reshape(-1),
        "sum": sums.astype(np.float32).reshape(-1),
    }


def largest_decks(deck: Int32s, person: Int32s, names: Sequence[str]) -> tuple[Int32s, list[str], list[int]]:
    """Number the decks by person and name, and merge small ones.

    A person keeps MOST_DECKS divided by the number of people; the smaller decks become one, the last.

    Returns:
        The new deck numbers [n], the decks' names, and the person of each deck.
    """
    number = np.zeros(len(deck), np.int32)
    kept_names: list[str] = []
    owners: list[int] = []
    people = np.unique(person).tolist()
    most = max(5, MOST_DECKS // len(people))
    for one in people:
        rows = np.flatnonzero(person == one)
        present, place, count = np.unique(deck[rows], return_inverse=True, return_counts=True)
        deck_names = [names[index] if index >= 0 else "(no deck)" for index in present.tolist()]
        kept = sorted(np.argsort(-count, kind="stable")[:most].tolist(), key=deck_names.__getitem__)
        new_number = np.full(len(present), len(kept))
        new_number[kept] = np.arange(len(kept))
        number[rows] = len(kept_names) + new_number[place]
        rest = [OTHER_DECKS] if len(kept) < len(present) else []
        kept_names += [deck_names[i] for i in kept] + rest
        owners += [one] * (len(kept) + len(rest))
    return number, kept_names, owners


def _periods(day: Ints) -> tuple[int, int]:
    """The first day, and the length of a period in days."""
    first, days = int(day.min()), int(day.max() - day.min()) + 1
    fitting = [length for length in PERIOD_DAYS if days <= length * MOST_PERIODS]
    return first, fitting[0] if fitting else -(-days // MOST_PERIODS)


# --- The verdict on the page's algorithm


# The fewest reviews for a verdict.
FEWEST_TO_JUDGE = 100
# The standard errors of the mean difference that distinguish two algorithms.
_CLEAR = 2.0


def trust_facts(reviews: PredictedReviews, own: int, shown: str = "RWKV") -> TrustFacts:
    """Compare the page's algorithm with others on the person's reviews that all of them predicted.

    Returns:
        reviews: the number of reviews. verdicts: by algorithm, "ahead", "behind" or "level", which is a difference
        within two standard errors. sentence: the verdict in words.
    """
    fsrs = fsrs_shown(reviews.p)
    rivals = {fsrs: "FSRS-6" if fsrs == "FSRS-6" else "FSRS-6 with default parameters", "AVG": "your average"}
    present = [name for name in (shown, *rivals) if name in reviews.p]
    usable = (reviews.person == own) & ~reviews.same_day
    usable = usable & np.logical_and.reduce([~np.isnan(reviews.p[name]) for name in present])
    count = int(usable.sum())
    if count < FEWEST_TO_JUDGE or len(present) < 1 + len(rivals):
        what = "none" if count == 0 else f"only {count:,}"
        return {
            "reviews": count,
            "verdicts": {},
            "sentence": f"There are too few reviews for a verdict: {what} of your reviews can be used, "
            f"and {FEWEST_TO_JUDGE} are needed.",
        }
    y = reviews.y[usable]
    loss = {name: log_losses(reviews.p[name][usable], y) for name in present}
    verdicts = {name: _verdict(loss[shown], loss[name]) for name in rivals}
    words = {"ahead": "ahead of", "behind": "behind", "level": "level with"}
    parts = [f"{words[verdict]} {rivals[name]}" for name, verdict in verdicts.items()]
    if verdicts[fsrs] == verdicts["AVG"]:
        parts = [f"{words[verdicts['AVG']]} {rivals[fsrs]} and {'of ' * (verdicts['AVG'] == 'ahead')}your average"]
    advice = "" if verdicts["AVG"] == "ahead" else " Do not rely on its numbers: your average is as good."
    return {
        "reviews": count,
        "verdicts": verdicts,
        "sentence": f"On your {count:,} counted reviews {shown} was {' and '.join(parts)}.{advice}",
    }


def _verdict(ours: AnyFloats, other: AnyFloats) -> str:
    gain = other - ours
    error = float(gain.std() / np.sqrt(len(gain)))
    if abs(gain.mean()) <= _CLEAR * error:
        return "level"
    return "ahead" if gain.mean() > 0 else "behind"
