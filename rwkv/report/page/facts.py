"""The facts of a page: JSON objects that the browser's scripts read, and columns of numbers."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[np.number]]


class TrustFacts(TypedDict):
    """The page's algorithm against others on the person's reviews, see `trust_facts`."""

    reviews: int
    verdicts: dict[str, str]
    sentence: str


class PredictedFacts(TypedDict):
    """What the arrays of predictions count, see `predicted_data`."""

    algorithms: list[str]
    reviews: int
    recalled: int
    people: list[str]
    own: int
    decks: list[str]
    deck_person: list[int]
    bands: Sequence[str]
    same_day_bands: int
    bin_edges: list[float]
    first_day: int
    period_days: int
    periods: int
    has_dates: bool


class CardsFacts(TypedDict):
    """Numbers of cards, and what their arrays mean, see `cards_data`."""

    count: int
    reviewed: int
    new: int
    no_history: int
    suspended: int
    mean_recall: float | None
    known: float
    steps: int
    unknown: int
    curve_times_s: list[float]
    decks: list[str]


class DueFacts(TypedDict):
    """What is due today: reviews, expected minutes and expected recall."""

    reviews: int
    minutes: float
    recall: float | None


class ForecastFacts(TypedDict):
    """Numbers of cards by due day, see `forecast_facts`."""

    days: int
    rwkv: list[int]
    anki: list[int] | None
    anki_backlog: int


class IntervalFacts(TypedDict):
    """Numbers of cards by algorithm and class of interval."""

    names: Sequence[str]
    counts: dict[str, list[int]]


class WorkloadFacts(TypedDict):
    """Reviews and minutes by retention and day."""

    retention: list[float]
    reviews: list[list[float]]
    minutes: list[list[float]]
    played: int
    cards: int


class RetentionFacts(TypedDict):
    """Reviews and recalls of the last month and of the time before, see `retention_facts`."""

    goal: float
    month_days: int
    month_ends: int
    month: list[int]
    before: list[int]


class MonthFacts(TypedDict):
    """Reviews and recalls of young and mature cards in a month."""

    name: str
    young: int
    young_recalled: int
    mature: int
    mature_recalled: int


class HourFacts(TypedDict):
    """By hour of the day: all reviews, and reviews and recalls for retention."""

    reviews: list[int]
    counted: list[int]
    recalled: list[int]


class DeckFacts(TypedDict):
    """A deck: its cards, their mean recall by RWKV and FSRS-6, reviews and recalls, due cards and leeches."""

    name: str
    cards: int
    reviewed: int
    recall: float | None
    fsrs: float | None
    counted: int
    recalled: int
    due: int
    leeches: int


class AnswerFacts(TypedDict):
    """The past reviews; buttons by kind of answer, hours None where they are not known."""

    reviews: int
    days: int
    today: int
    has_dates: bool
    mature_days: int
    leech_lapses: int
    deck_days: int
    retention: RetentionFacts
    months: list[MonthFacts]
    buttons: dict[str, list[int]]
    hours: HourFacts | None


class PastFacts(AnswerFacts):
    """The past reviews, with the decks and the algorithms shown in a card's history."""

    decks: list[DeckFacts]
    algorithms: list[str]


class EstimateFacts(TypedDict):
    """An Estimate."""

    value: float | None
    half_width: float | None


class ComparisonFacts(TypedDict):
    """A row of the comparison table."""

    name: str
    users: int
    reviews: int
    metrics: dict[str, EstimateFacts]


class TrainingFacts(TypedDict):
    """A training's curves by name, each of columns step and value."""

    name: str
    curves: dict[str, dict[str, list[float]]]


class PageFacts(TypedDict):
    """The whole page; a section without content is missing."""

    title: str
    subtitle: str
    notice: str | None
    facts: list[list[str]]
    retention: float
    comparison: list[ComparisonFacts]
    confidence: float
    compared: dict[str, dict[str, float | None]]
    superiority: dict[str, dict[str, float]]
    training: list[TrainingFacts]
    trust: NotRequired[TrustFacts]
    predicted: NotRequired[PredictedFacts]
    cards: NotRequired[CardsFacts]
    intervals: NotRequired[IntervalFacts]
    due: NotRequired[DueFacts]
    forecast: NotRequired[ForecastFacts]
    workload: NotRequired[WorkloadFacts]
    past: NotRequired[PastFacts]
