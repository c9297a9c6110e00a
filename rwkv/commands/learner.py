"""One person as `predict` and `schedule` need them: the history, the cards that exist, and when it is now."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rwkv.commands.users import shown_users, users_in
from rwkv.data.collection import (
    DEFAULT_RETENTION,
    CardList,
    CollectionInfo,
    Floats,
    day_of,
    latest_reviews,
    list_collections,
    read_collection,
)
from rwkv.data.history import Bools, CardTable, Ints, RevlogTable
from rwkv.data.review_times import estimated_times
from rwkv.data.revlogs import read_history
from rwkv.data.roster import Roster, read_roster
from rwkv.errors import InputError
from rwkv.recurrent.features import Place
from rwkv.recurrent.person import Question
from rwkv.runtime import log
from rwkv.vocab import SECONDS_PER_DAY


@dataclass(frozen=True)
class Learner:
    """info: None for a plain dataset folder, whose times count from the start of day 0 instead of 1970.

    cards: those that exist. number int64 [cards]: of each in the history; from `reviewed` on it has no review.
    places: by number. latest_s, latest_day float64 [cards]: of the latest review, NaN without one.
    """

    root: Path
    info: CollectionInfo | None
    history: RevlogTable
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
        """bool [cards]."""
        return self.number < self.reviewed

    def day_of(self, at_s: float) -> int:
        """The day_offset of a moment."""
        return int(at_s // SECONDS_PER_DAY) if self.info is None else day_of(self.info, at_s)

    @property
    def end_s(self) -> float:
        """The moment of the last review of a card that exists."""
        return float(np.nanmax(self.latest_s, initial=0.0))

    def now_s(self) -> float:
        """This moment; for a plain dataset folder, and where a clock was ahead, the end of the last review."""
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
        roster = read_roster(root, user, collection.cards.card_id)
        card_id, time_ms = latest_reviews(root, user)
        is_known = np.isin(card_id, roster.card_id)
        latest_s = _by_number(roster, roster.numbers_of(card_id[is_known]), time_ms[is_known] / 1000)
        return _learner(root, history, collection.info, collection.cards, roster, latest_s)
    roster = read_roster(root, user, np.empty(0, np.int64))
    latest_s = _by_number(roster, history.card, estimated_times(history))
    return _learner(root, history, None, _unnamed(roster.card_id), roster, latest_s)


def _by_number(roster: Roster, number: npt.NDArray[np.integer], values: npt.NDArray[np.number]) -> Floats:
    """Values [n] of numbers [n] by number, the last of each; NaN where there is none."""
    by_number = np.full(len(roster.card_id), np.nan)
    by_number[number] = values
    return by_number


def _learner(
    root: Path, history: RevlogTable, info: CollectionInfo | None, cards: CardList, roster: Roster, latest_s: Floats
) -> Learner:
    number = roster.numbers_of(cards.card_id)
    latest_day = _by_number(roster, history.card, history.day_offset)
    return Learner(
        root=root,
        info=info,
        history=history,
        cards=cards,
        number=number,
        reviewed=roster.reviewed,
        places=roster.places,
        latest_s=np.where(number < roster.reviewed, latest_s[number], np.nan),
        latest_day=latest_day[number],
    )


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
    numbers = learner.number[rows]
    places = map(Place, *(getattr(learner.places, name)[numbers].tolist() for name in Place._fields))
    cards = zip(numbers.tolist(), days.tolist(), seconds.tolist(), places, strict=True)
    return [Question(number, day, since_days, since_s, place) for number, since_days, since_s, place in cards]
