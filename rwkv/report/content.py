"""The contents of a report: past reviews, cards, workload, predictions, comparison and training runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rwkv.arrays import AnyFloats, Bools, Int32s, Ints
from rwkv.evaluation.summary import Estimate
from rwkv.vocab import SECONDS_PER_DAY

# Points of a drawn forgetting curve in seconds since the last review, from a minute to twenty years. Linear
# interpolation over log time has a mean error of 0.006, and at most 0.06, on the irregular curves of a demo's model.
CURVE_TIMES_S = np.geomspace(60, 20 * 365 * SECONDS_PER_DAY, 64)


def fsrs_shown(p: Mapping[str, object]) -> str:
    """The name of FSRS-6 among algorithms: the optimised one if it is there, else that with default parameters."""
    return "FSRS-6" if "FSRS-6" in p else "FSRS-6-default"


@dataclass(frozen=True)
class PredictedReviews:
    """Reviews of one or several people with predictions by several algorithms, in arrays [n].

    Attributes:
        y: 1 for recall, 0 for a lapse.
        p: Probability of recall by algorithm; NaN without a prediction.
        elapsed_s: Seconds since the card's previous review.
        same_day: Whether the previous review was on the same day.
        deck: Index into the names of the decks of reviews; -1 if unknown.
        person: Index into the names of the people.
        day: Days since 1970 if has_dates, else since an arbitrary day.
        has_dates: Whether dates were recorded.
    """

    y: npt.NDArray[np.int8]
    p: Mapping[str, AnyFloats]
    elapsed_s: Ints
    same_day: Bools
    deck: Int32s
    person: Int32s
    day: Ints
    has_dates: bool

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class PastReviews:
    """All reviews of a person in order of time, in arrays [r].

    Attributes:
        card: Row of the card in the report's cards; -1 if it was deleted.
        deck: Index into the names of the decks; -1 if unknown.
        rating: 1 to 4.
        state: The state of spec 1.
        elapsed_days, elapsed_s: Time since the card's previous review; -1 for its first.
        day: Days since 1970 if has_dates, else since an arbitrary day.
        hour: Hour of the day on the person's clock; -1 if unknown.
        p: Recall by algorithm as predicted before the answer; NaN without a prediction.
    """

    card: Ints
    deck: Int32s
    rating: npt.NDArray[np.int8]
    state: npt.NDArray[np.int8]
    elapsed_days: Int32s
    elapsed_s: Ints
    duration_ms: Ints
    day: Ints
    hour: npt.NDArray[np.int8]
    p: Mapping[str, AnyFloats]
    has_dates: bool

    def __len__(self) -> int:
        return len(self.card)


# Kinds of cards: with reviews, new in Anki, and with reviews that the import's rules dropped.
REVIEWED, NEW, NO_HISTORY = 0, 1, 2


@dataclass(frozen=True)
class CardsNow:
    """All cards of a collection at one moment, in arrays [c]. Predictions are NaN unless a card is REVIEWED.

    Attributes:
        card_id: Any integers.
        note: The note's text.
        deck: Index into the names of the report's decks; -1 if unknown.
        kind: REVIEWED, NEW or NO_HISTORY.
        suspended: Whether the card is suspended in Anki.
        p_now: Recall now by RWKV's forgetting curve; the page calls it recall.
        p_asked: Recall by RWKV-P in a review now.
        p_fsrs: Recall now by FSRS-6.
        elapsed_s: Seconds since the last review.
        curves: Recall by RWKV at CURVE_TIMES_S after the last review, float [c, 64].
        interval_days: Days from the last review until RWKV's recall falls to the desired retention, at least one, as in
            `rwkv predict`; infinite beyond the curve's horizon.
        fsrs_days: The same by FSRS-6.
        retention: The desired retention.
        anki_days, anki_due: Anki's interval, and the days from today to Anki's due day; NaN if unset.
    """

    card_id: Ints
    note: Sequence[str]
    deck: Int32s
    kind: npt.NDArray[np.uint8]
    suspended: Bools
    p_now: AnyFloats
    p_asked: AnyFloats
    p_fsrs: AnyFloats
    elapsed_s: AnyFloats
    curves: AnyFloats
    retention: AnyFloats
    interval_days: AnyFloats
    fsrs_days: AnyFloats
    anki_days: AnyFloats
    anki_due: AnyFloats

    def __len__(self) -> int:
        return len(self.card_id)


@dataclass(frozen=True)
class Today:
    """The first day of `rwkv schedule`: rows [t] of the report's cards, expected minutes and expected recall."""

    row: Ints
    minutes: float
    recall: float


@dataclass(frozen=True)
class Workload:
    """The workload at several desired retentions.

    Attributes:
        retention: The retentions [k].
        reviews, minutes: Expected numbers on the next d days [k, d]; the first day includes the backlog.
        played: The least number of cards simulated for a retention.
        cards: The number of cards that they represent.
    """

    retention: AnyFloats
    reviews: AnyFloats
    minutes: AnyFloats
    played: int
    cards: int


@dataclass(frozen=True)
class ComparisonRow:
    """An algorithm's metrics by name, and the number of users and reviews they are from."""

    name: str
    users: int
    reviews: int
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True)
class TrainingRun:
    """A training log. curves: (steps [n], values [n]) by the names in the log."""

    name: str
    curves: Mapping[str, tuple[Ints, AnyFloats]]


@dataclass(frozen=True)
class ReportContent:
    """The contents of the page. Sections that are None or empty are omitted.

    Attributes:
        notice: A warning about the numbers, or None.
        facts: Pairs of a name and a text for the end of the page: model, moment, folder.
        today: The day of the report, counted as `day` of the reviews.
        decks: Names of the decks of cards and past reviews.
        decks_of_reviews, people: Names of the decks and people of predicted reviews.
        own: Index of the report's person among the people.
        compared: LogLoss by name of a person and algorithm.
        superiority: The share of people for whom the first algorithm has a lower LogLoss than the second.
    """

    title: str
    subtitle: str
    notice: str | None = None
    facts: Sequence[tuple[str, str]] = ()
    today: int = 0
    decks: Sequence[str] = ()
    decks_of_reviews: Sequence[str] = ()
    people: Sequence[str] = ("",)
    own: int = 0
    retention: float = 0.9
    reviews: PredictedReviews | None = None
    past: PastReviews | None = None
    cards: CardsNow | None = None
    due: Today | None = None
    workload: Workload | None = None
    comparison: Sequence[ComparisonRow] = ()
    compared: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    superiority: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    training: Sequence[TrainingRun] = ()
