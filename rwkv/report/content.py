"""What a report is made of: past reviews, the collection now, the work ahead, predictions, comparison and training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rwkv.arrays import AnyFloats, Bools, Int32s, Ints
from rwkv.evaluation.summary import Estimate
from rwkv.vocab import SECONDS_PER_DAY

# Seconds since a card's last review at which its forgetting curve is shown: a minute to twenty years. Between them it
# is drawn straight over log time: off by 0.006 in the mean, at most 0.06, for the unsteady curves of a demo's model.
CURVE_TIMES_S = np.geomspace(60, 20 * 365 * SECONDS_PER_DAY, 64)


@dataclass(frozen=True)
class PredictedReviews:
    """Reviews whose answers several algorithms predicted, of one person or several. All arrays [n].

    y: 1 recalled, 0 forgotten. p[name]: probability of recall by that algorithm, NaN where it says nothing.
    elapsed_s: since the card's review before. same_day: whether that one was on the same day. deck: index into the
    names of the decks of reviews, -1 unknown. person: index into the names of the people. day: whole days since 1970
    where has_dates, else since any day.
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
    """Every review of a person, in order of time. All arrays [r].

    card: row in the report's cards, -1 where the card exists no more. deck: index into the names of the decks, -1
    unknown. rating: 1 to 4. state: of spec 1. elapsed_days, elapsed_s: since the card's review before, -1 at its first.
    day: whole days since 1970 where has_dates, else since any day. hour: of the day on the person's clock, -1 unknown.
    p[name]: recall as predicted before the answer, NaN where nothing was.
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


# Kinds of cards: those with reviews, those that are new in Anki, and those whose reviews no rule of the import keeps.
REVIEWED, NEW, NO_HISTORY = 0, 1, 2


@dataclass(frozen=True)
class CardsNow:
    """Every card of a collection at one moment. All arrays [c]; NaN where a card is not REVIEWED.

    card_id: any integers. note: the text that a card is found by. deck: index into the names of the report's decks, -1
    unknown. kind: REVIEWED, NEW or NO_HISTORY. suspended: not asked by Anki.
    p_now: recall now by the forgetting curve, RWKV: what the page calls recall. p_asked: by RWKV-P, were it asked now.
    p_fsrs: by FSRS-6. elapsed_s: since the last review. curves: float [c, 64], recall by RWKV CURVE_TIMES_S after it.
    interval_days: from the last review until recall by RWKV has fallen to the desired retention, a day at least, as
    `rwkv predict` has it, infinite beyond the curve's horizon; fsrs_days: by FSRS-6. retention: desired. anki_days,
    anki_due: Anki's interval, and how many days from today its due day is; NaN where Anki says nothing.
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
    """What `rwkv schedule` asks at the report's moment. row [t]: of the report's cards. minutes, recall: expected."""

    row: Ints
    minutes: float
    recall: float


@dataclass(frozen=True)
class Workload:
    """What would have to be reviewed at several desired retentions.

    retention [k]. reviews, minutes [k, d]: expected on each of the next d days, the first with what is due already.
    played, cards: how many cards were played ahead at least, and for how many they stand.
    """

    retention: AnyFloats
    reviews: AnyFloats
    minutes: AnyFloats
    played: int
    cards: int


@dataclass(frozen=True)
class ComparisonRow:
    """One algorithm: over how many users and reviews, and its metrics by name."""

    name: str
    users: int
    reviews: int
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True)
class TrainingRun:
    """A run's log. curves[name]: (steps, values), both [n], by the names of the log."""

    name: str
    curves: Mapping[str, tuple[Ints, AnyFloats]]


@dataclass(frozen=True)
class ReportContent:
    """Everything on the page; what is None or empty is left out.

    today: the day of the report, as `day` of the reviews. decks: names that the decks of cards and past reviews mean.
    decks_of_reviews, people: the same of predicted reviews, which may be several people's; own: which of the people the
    report is of. facts: pairs of a name and a text, shown at the end: model, moment, folder. notice: a warning that the
    numbers need. compared: who is in the comparison, by name, with LogLoss by algorithm. superiority[a][b]: for how
    many of them, 0..1, algorithm a has a lower LogLoss than b.
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
