"""What a report is made of: reviews that were predicted, the collection now, its workload, comparison and training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rwkv.evaluation.summary import Estimate
from rwkv.vocab import SECONDS_PER_DAY

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Floats = npt.NDArray[np.floating]

# Seconds since a card's last review at which its forgetting curve is shown: a minute to twenty years. Between them it
# is drawn straight over log time: off by 0.006 in the mean, at most 0.06, for the unsteady curves of a demo's model.
CURVE_TIMES_S = np.geomspace(60, 20 * 365 * SECONDS_PER_DAY, 64)


@dataclass(frozen=True)
class PredictedReviews:
    """Reviews whose answers several algorithms predicted. All arrays [n].

    y: 1 recalled, 0 forgotten. p[name]: probability of recall by that algorithm, NaN where it says nothing.
    elapsed_s: since the card's review before. same_day: whether that one was on the same day. deck: index into the
    names of the report's decks, -1 unknown. day: whole days since 1970 where has_dates, else since any day.
    """

    y: npt.NDArray[np.int8]
    p: Mapping[str, Floats]
    elapsed_s: Ints
    same_day: Bools
    deck: Int32s
    day: Ints
    has_dates: bool

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class CardsNow:
    """Every card of a collection at one moment. All arrays [c].

    card_id: any integers. note: the text that a card is found by. deck: index into the names of the report's decks, -1
    unknown. p_now: recall now by RWKV-P, NaN where the card is new. elapsed_s: since its last review, NaN where new.
    curves: float [c, 64], recall by RWKV at CURVE_TIMES_S after the last review. suspended: not asked by Anki.
    """

    card_id: Ints
    note: Sequence[str]
    deck: Int32s
    p_now: Floats
    elapsed_s: Floats
    curves: Floats
    suspended: Bools

    def __len__(self) -> int:
        return len(self.card_id)


@dataclass(frozen=True)
class Workload:
    """What would have to be reviewed at several desired retentions.

    retention [k]. reviews, minutes [k, d]: expected on each of the next d days, the first with what is due already.
    """

    retention: Floats
    reviews: Floats
    minutes: Floats


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
    curves: Mapping[str, tuple[Ints, Floats]]


@dataclass(frozen=True)
class ReportContent:
    """Everything on the page; what is None or empty is left out.

    decks: names that the cards' decks mean. decks_of_reviews: the same of the reviews, who may be several people's.
    facts: pairs of a name and a text, shown at the end: model, moment, folder. notice: a warning that the numbers need.
    superiority[a][b]: for how many of the users, 0..1, algorithm a has a lower LogLoss than b.
    """

    title: str
    subtitle: str
    notice: str | None = None
    facts: Sequence[tuple[str, str]] = ()
    decks: Sequence[str] = ()
    decks_of_reviews: Sequence[str] = ()
    retention: float = 0.9
    reviews: PredictedReviews | None = None
    cards: CardsNow | None = None
    workload: Workload | None = None
    comparison: Sequence[ComparisonRow] = ()
    superiority: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    training: Sequence[TrainingRun] = ()
