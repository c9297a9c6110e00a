"""An imported collection of one person, large enough for the benchmark to count reviews of it."""

from pathlib import Path

import numpy as np

from rwkv.data.collection import CardList, Collection, write_collection
from tests.benchmark.workspace import studied
from tests.collection.people import INFO, id_of
from tests.helpers import DECKS, write_history

DAY = 86_400
# One of the reviewed cards was deleted, one is suspended, one is new.
CARDS = 62
DELETED, SUSPENDED, NEW = 4, 7, 61


def make_student(root: Path, reviews: int | None = None) -> Path:
    """An imported collection of 60 reviewed cards whose reviews the benchmark counts; one of them was deleted.

    reviews: only the first of them.
    """
    revlog = {name: np.asarray(column)[:reviews] for name, column in studied(seed=1).items()}
    revlog["card_id"] = id_of(revlog["card_id"])
    times = revlog["day_offset"] * DAY + np.arange(len(revlog["card_id"]))
    revlog["review_time"] = (INFO.day_start_s + times) * 1000
    card = np.arange(CARDS)
    tables = {"card_id": id_of(card), "note_id": id_of(card), "deck_id": card % 2}
    write_history(root, 1, revlog, tables, DECKS)
    card = np.delete(card, DELETED)
    cards = CardList(
        card_id=id_of(card),
        note_id=id_of(card),
        deck_id=card % 2,
        note=np.array([f"Wort {number}" for number in card], object),
        deck=np.array(["Deutsch::Essen", "Deutsch"], object)[card % 2],
        preset=np.full(len(card), "Default", object),
        due_day=np.full(len(card), np.nan),
        interval_days=np.zeros(len(card), np.int64),
        is_new=card >= 60,
        is_suspended=card == SUSPENDED,
        desired_retention=np.full(len(card), 0.85),
    )
    write_collection(root, Collection(1, INFO, cards))
    return root
