"""A person for predictions and schedules: the history, the existing cards and the current time."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rwkv.arrays import AnyInts, Bools, Floats, Ints
from rwkv.collection.users import shown_users, users_in
from rwkv.data.collection import (
    DEFAULT_RETENTION,
    CardList,
    CollectionInfo,
    Texts,
    day_of,
    list_collections,
    read_collection,
    review_times,
)
from rwkv.data.days import local_time
from rwkv.data.history import CardTable, RevlogTable, estimated_times
from rwkv.data.revlogs import Roster, read_history, read_roster
from rwkv.errors import InputError
from rwkv.plurals import counted
from rwkv.recurrent.features import Place
from rwkv.recurrent.person import Question
from rwkv.runtime import log
from rwkv.vocab import RATINGS, SECONDS_PER_DAY


@dataclass(frozen=True)
class Learner:
    """A person with the cards that exist.

    A card is new in Anki, or reviewed, or neither if its history is unusable. Times are seconds since 1970, or for a
    plain dataset without dates since the start of day 0.

    Attributes:
        root: The folder.
        info: The collection's facts; None for a plain dataset.
        history: The R reviews up to now, without those that a wrong clock dated later.
        times_s: The end of each review, float64 [R].
        cards: The existing cards.
        number: The number of each card in the history, int64 [cards].
        reviewed: Numbers from here on have no review.
        places: Note, deck and preset by number.
        latest_s, latest_day: The time and the day_offset of the latest review, float64 [cards]; NaN without one.
    """

    root: Path
    info: CollectionInfo | None
    history: RevlogTable
    times_s: Floats
    cards: CardList
    number: Ints
    reviewed: int
    places: CardTable
    latest_s: Floats
    latest_day: Floats

    @property
    def user(self) -> int:
        """The number of the user in the folder."""
        return self.history.user

    @property
    def name(self) -> str:
        """The person's name."""
        return f"user {self.user}" if self.info is None else self.info.name

    @property
    def is_reviewed(self) -> Bools:
        """Whether each card has a review and is not new in Anki, bool [cards]."""
        return ~np.isnan(self.latest_s)

    @property
    def text_ids(self) -> Texts | None:
        """The id of each card [cards] if a CSV file had texts as ids; None if the ids are numbers."""
        is_csv = self.info is not None and self.info.kind == "csv" and not self._is_of_anki
        return self.cards.note if is_csv and bool((self.cards.note != "").all()) else None

    @property
    def lacks_tags(self) -> bool:
        """Whether tags were not imported although Anki has them, as in folders of early versions."""
        return self._is_of_anki and self.cards.tags is None

    @property
    def _is_of_anki(self) -> bool:
        """Whether Anki wrote the source. Its cards have tags, perhaps none; in folders of early versions only decks."""
        # Anki's tables may be CSV, too.
        return self.info is not None and (self.cards.tags is not None or bool(self.cards.deck_id.any()))

    def day_of(self, at_s: float) -> int:
        """The day_offset of a moment."""
        return int(at_s // SECONDS_PER_DAY) if self.info is None else day_of(self.info, at_s)

    def days_later(self, at_s: float, days: int) -> float:
        """The same time of day `days` days later."""
        return at_s + days * SECONDS_PER_DAY if self.info is None else self.info.clock.later(at_s, days)

    @property
    def end_s(self) -> float:
        """The time of the last review, also of a deleted card."""
        return float(self.times_s.max())

    def now_s(self) -> float:
        """The current time; for a plain dataset the end of the last review."""
        return self.end_s if self.info is None else max(time.time(), self.end_s)


def choose_user(root: Path, user: int | None) -> int:
    """The given user, or the only one of the folder. Raises InputError if it is missing or ambiguous."""
    present = users_in(root, None if user is None else [user])
    if len(present) > 1:
        hint = "choose a `user`"
        raise InputError("The folder holds several users.", where=str(root), got=shown_users(present), hint=hint)
    return present[0]


def read_learner(root: Path, user: int) -> Learner:
    """Read a user of an imported folder or a plain dataset.

    Raises:
        HistoryError: The history cannot be used.
        InputError: A file is missing, or all reviews are dated after now.
    """
    history = read_history(root, user)
    for notice in history.notices:
        log.info("user %d: %s", user, notice)
    if user in list_collections(root):
        collection = read_collection(root, user)
        times_s = review_times(root, user)[history.review_th - 1] / 1000
        present = _until_now(collection.info, history, times_s)
        roster = read_roster(root, user, collection.cards.card_id)
        return _learner(root, history.part(present), collection.info, collection.cards, roster, times_s[present])
    roster = read_roster(root, user, np.empty(0, np.int64))
    times_s = estimated_times(history).astype(np.float64)
    return _learner(root, history, None, _unnamed(roster.card_id), roster, times_s)


def _until_now(info: CollectionInfo, history: RevlogTable, times_s: Floats) -> slice:
    """The reviews before the first one dated after now. Raises InputError if there are none."""
    now_s = time.time()
    is_ahead = times_s > now_s
    if not is_ahead.any():
        return slice(len(history))
    clock = f"this computer's clock shows {local_time(now_s, info.timezone):%Y-%m-%d %H:%M}"
    latest = f"{local_time(float(times_s.max()), info.timezone):%Y-%m-%d}"
    present = slice(int(is_ahead.argmax()))
    if present.stop == 0:
        hint = "set this computer's clock, or correct the dates and import again"
        raise InputError("All reviews are dated after now.", where=f"user {history.user}", got=clock, hint=hint)
    left_out = counted(len(history) - present.stop, "review")
    log.warning("user %d: %s left out, dated after now, up to %s; %s", history.user, left_out, latest, clock)
    return present


def _by_number(count: int, number: AnyInts, values: npt.NDArray[np.number]) -> Floats:
    """The last value [count] of each number, from numbers [n] and values [n]; NaN without one."""
    by_number = np.full(count, np.nan)
    by_number[number] = values
    return by_number


def _learner(
    root: Path, history: RevlogTable, info: CollectionInfo | None, cards: CardList, roster: Roster, times_s: Floats
) -> Learner:
    number, places = _numbers(roster, cards)
    latest_s, latest_day = (
        _by_number(len(places.note), history.card, values)[number] for values in (times_s, history.day_offset)
    )
    return Learner(
        root=root,
        info=info,
        history=history,
        times_s=times_s,
        cards=cards,
        number=number,
        reviewed=int(history.card.max()) + 1,  # numbered by first appearance
        places=places,
        latest_s=latest_s,
        latest_day=latest_day,
    )


def _numbers(roster: Roster, cards: CardList) -> tuple[Ints, CardTable]:
    """The number of each card, and places by number. A card that is new in Anki gets a number without reviews.

    Old versions of Anki wrote no log entry when a card was forgotten; only its type shows the reset.
    """
    number = roster.numbers_of(cards.card_id)
    is_reset = cards.is_new & (number < roster.reviewed)
    places = {name: np.concatenate([column, column[number[is_reset]]]) for name, column in vars(roster.places).items()}
    number[is_reset] = len(roster.card_id) + np.arange(is_reset.sum())
    return number, CardTable(**places)


def _unnamed(card_id: Ints) -> CardList:
    count = len(card_id)
    no_text, no = np.full(count, "", object), np.zeros(count, bool)
    zeros = np.zeros(count, np.int64)
    return CardList(
        card_id=card_id,
        note_id=zeros,
        deck_id=zeros,
        note=no_text,
        deck=no_text,
        preset=no_text,
        due_day=np.full(count, np.nan),
        interval_days=zeros,
        is_new=no,
        is_suspended=no,
        desired_retention=np.full(count, DEFAULT_RETENTION),
    )


def questions_at(learner: Learner, rows: Ints, at_s: float) -> list[Question]:
    """The engine's questions about the cards `rows` at a moment. After a clock was set back, intervals are 0."""
    day, is_reviewed = learner.day_of(at_s), learner.is_reviewed[rows]
    # -1: the review would be the card's first.
    days = np.where(is_reviewed, np.maximum(0, day - learner.latest_day[rows]), -1).astype(np.int64)
    seconds = np.where(is_reviewed, np.maximum(0, at_s - learner.latest_s[rows]), -1).astype(np.int64)
    day = max(day, int(learner.history.day_offset[-1]))
    numbers = learner.number[rows]
    columns = [getattr(learner.places, name)[numbers].tolist() for name in Place._fields]
    places = map(Place._make, zip(*columns, strict=True))
    cards = zip(numbers.tolist(), days.tolist(), seconds.tolist(), places, strict=True)
    return [Question(number, day, since_days, since_s, place) for number, since_days, since_s, place in cards]


def median_answer_ms(history: RevlogTable) -> tuple[int, ...]:
    """The median answer time in milliseconds by rating [4]. A rating without answers gets the overall median."""
    of_rating = [history.duration_ms[history.rating == rating] for rating in RATINGS]
    return tuple(int(np.median(ms if len(ms) else history.duration_ms)) for ms in of_rating)
