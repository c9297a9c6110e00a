"""One person as `predict` and `schedule` need them: the history, the cards that exist, and when it is now."""

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
    day_of,
    list_collections,
    read_collection,
    review_times,
)
from rwkv.data.days import local_time
from rwkv.data.history import CardTable, RevlogTable, estimated_times
from rwkv.data.revlogs import Roster, read_history, read_roster
from rwkv.errors import InputError
from rwkv.recurrent.features import Place
from rwkv.recurrent.person import Question
from rwkv.runtime import log
from rwkv.vocab import RATINGS, SECONDS_PER_DAY


@dataclass(frozen=True)
class Learner:
    """info: None for a plain dataset folder, whose times count from the start of day 0 instead of 1970.

    history: the reviews up to now; those that a wrong clock has dated later are left out. times_s [R]: when they ended.
    cards: those that exist, of three kinds: new as Anki has it, reviewed, and without usable history, which is neither.
    number int64 [cards]: of each in the history; from `reviewed` on it has no review. places: by number. latest_s,
    latest_day float64 [cards]: of the latest review, NaN without one.
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
        """For people."""
        return f"user {self.user}" if self.info is None else self.info.name

    @property
    def is_reviewed(self) -> Bools:
        """bool [cards]; none is new."""
        return ~np.isnan(self.latest_s)

    def day_of(self, at_s: float) -> int:
        """The day_offset of a moment."""
        return int(at_s // SECONDS_PER_DAY) if self.info is None else day_of(self.info, at_s)

    def days_later(self, at_s: float, days: int) -> float:
        """The same time of day so many days later."""
        return at_s + days * SECONDS_PER_DAY if self.info is None else self.info.clock.later(at_s, days)

    @property
    def end_s(self) -> float:
        """The moment of the last review, whether its card still exists or not."""
        return float(self.times_s.max())

    def now_s(self) -> float:
        """This moment; for a plain dataset folder the end of the last review."""
        return self.end_s if self.info is None else max(time.time(), self.end_s)


def choose_user(root: Path, user: int | None) -> int:
    """The user that is asked for, or the only one. Raises InputError where there is no such, or more than one."""
    present = users_in(root, None if user is None else [user])
    if len(present) > 1:
        hint = "choose one with --user"
        raise InputError("The folder holds several users.", where=str(root), got=shown_users(present), hint=hint)
    return present[0]


def read_learner(root: Path, user: int) -> Learner:
    """Read an imported collection or a user of a plain dataset folder. Raises HistoryError, InputError."""
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
    """The reviews before the first that is dated after this moment. Raises InputError where there is none."""
    now_s = time.time()
    is_ahead = times_s > now_s
    if not is_ahead.any():
        return slice(len(history))
    clock = f"this computer's clock shows {local_time(now_s, info.timezone):%Y-%m-%d %H:%M}"
    latest = f"{local_time(float(times_s.max()), info.timezone):%Y-%m-%d}"
    present = slice(int(is_ahead.argmax()))
    if present.stop == 0:
        hint = "set the clock of this computer, or mend the dates and import again"
        raise InputError("All reviews are dated after now.", where=f"user {history.user}", got=clock, hint=hint)
    left_out = len(history) - present.stop
    log.warning(
        "user %d: %d reviews are dated after now, up to %s, and left out; %s", history.user, left_out, latest, clock
    )
    return present


def _by_number(count: int, number: AnyInts, values: npt.NDArray[np.number]) -> Floats:
    """Values [n] of numbers [n] by number [count], the last of each; NaN where there is none."""
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
    """(the number of each card, places by number). A card that is new in Anki has one without reviews.

    Old versions of Anki left no entry in the log when they forgot a card: its type alone says that it was reset.
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
    """What would be asked of cards `rows` at a moment. Clocks that were set back leave intervals of 0."""
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
    """Median milliseconds by rating [4]; of a rating that was never given, that of all answers."""
    of_rating = [history.duration_ms[history.rating == rating] for rating in RATINGS]
    return tuple(int(np.median(ms if len(ms) else history.duration_ms)) for ms in of_rating)
