"""An imported collection of one person, small, with everything that `predict` has to tell apart."""

from datetime import datetime
from pathlib import Path
from typing import TypeVar

import numpy as np

from rwkv.collection.chosen_model import ChosenModel
from rwkv.data.collection import CardList, Collection, CollectionInfo, day_of, write_collection
from rwkv.data.tables import read_file, write_columns
from rwkv.model.checkpoint import weights_of
from tests.helpers import revlog_columns, write_history
from tests.networks import NATIVE, recipe_network

# One card, or an array of them.
Numbers = TypeVar("Numbers", int, np.ndarray)

# 15 November 2023, 04:00 in UTC+02:00
DAY_START_S = 1_700_013_600
INFO = CollectionInfo(
    source="ada.colpkg",
    sha256="0" * 64,
    kind="colpkg",
    name="Ada",
    day_start_s=DAY_START_S,
    rollover_hour=4,
    timezone="UTC+02:00",
    elapsed="published",
    grades="as recorded",
    has_fsrs=True,
    fsrs_params={},
    counts={},
    imported_at="2026-01-02T03:04:05+00:00",
)

# Of the weights: recall differs from card to card, and curves fall within days.
SCALE = 0.2

# Reviewed are cards 0 to 9; DELETED is one of them. Of those without a review, one shares a note with a reviewed card.
REVIEWED, DELETED, NEW_SIBLING, NEW_ALONE, SUSPENDED = 10, 4, 10, 11, 7
MODEL = ChosenModel(Path("random.pth"), weights_of(recipe_network(NATIVE, SCALE)), notice=None)


def id_of(card: Numbers) -> Numbers:
    """An id as Anki's."""
    return 1_600_000_000_000 + 7 * card


def make_person(root: Path, reviews: int = 80, user: int = 1) -> Path:
    """Write the collection as `rwkv import` does; more reviews are those of fewer, and some after them."""
    rng = np.random.default_rng(5)
    time_s = np.cumsum(rng.integers(0, 40_000, 200))[:reviews]
    card = rng.integers(0, REVIEWED, 200)[:reviews]
    card[:REVIEWED] = np.arange(REVIEWED)
    rating = rng.choice([1, 2, 3, 4], 200, p=[0.2, 0.1, 0.5, 0.2])[:reviews]
    revlog = revlog_columns(id_of(card), time_s, rating, rng.integers(1000, 60_000, 200)[:reviews])
    revlog["review_time"] = (DAY_START_S + time_s) * 1000
    every = np.arange(REVIEWED + 2)
    cards = {"card_id": id_of(every), "note_id": note_of(every), "deck_id": 1 + every % 3}
    decks = {"deck_id": np.arange(1, 4), "parent_id": np.full(3, np.nan), "preset_id": np.array([1, 1, 2])}
    write_history(root, user, revlog, cards, decks)
    write_collection(root, Collection(user, INFO, _cards(np.delete(every, DELETED))))
    return root


def add_review(root: Path, card_id: int, at: datetime) -> None:
    """One more review at the end of the person's revlog."""
    path = root / "revlogs" / "user_id=1" / "data.parquet"
    names = ("card_id", "day_offset", "rating", "state", "duration", "elapsed_days", "elapsed_seconds", "review_time")
    table = read_file(path, str(path), names)
    columns = {name: table[name].values for name in names}
    last = columns["review_time"][columns["card_id"] == card_id][-1:]
    at_s, day = int(at.timestamp()), day_of(INFO, at.timestamp())
    before_s = int(last[0]) // 1000 if len(last) else 0
    since = (day - day_of(INFO, before_s), at_s - before_s) if before_s else (-1, -1)
    values = (card_id, day, 3, 2, 5000, *since, at_s * 1000)
    write_columns(path, {name: np.append(columns[name], value) for name, value in zip(names, values, strict=True)})


def note_of(card: np.ndarray) -> np.ndarray:
    """Two cards a note, and NEW_SIBLING in the note of card 0."""
    return 1_500_000_000_000 + np.where(card == NEW_SIBLING, 0, card // 2)


def _cards(card: np.ndarray) -> CardList:
    """What the collection says of the cards that exist."""
    is_new = card >= REVIEWED
    return CardList(
        card_id=id_of(card),
        note_id=note_of(card),
        deck_id=1 + card % 3,
        note=np.array([f"Wort {number}" for number in card], object),
        deck=np.array(["Deutsch", "Deutsch::Essen", "Deutschland"], object)[card % 3],
        preset=np.array(["Default", "Default", "Hard ones"], object)[card % 3],
        due_day=np.where(is_new, np.nan, 10.0 + card),
        interval_days=np.where(is_new, 0, 3 * card),
        is_new=is_new,
        is_suspended=card == SUSPENDED,
        desired_retention=np.array([0.9, 0.9, 0.8])[card % 3],
        tags=np.array(["", " essen ", " essen::obst leicht "], object)[card % 3],
    )
