"""Who the numbered cards of a history are, and where cards that it does not know would belong."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rwkv.data.arrow import integers, read_columns
from rwkv.data.bins import number_by_appearance
from rwkv.data.history import CardTable, Ints
from rwkv.data.revlogs import read_card_table
from rwkv.errors import HistoryError
from rwkv.vocab import RATINGS


@dataclass(frozen=True)
class Roster:
    """Cards by number: those of a history as `read_history` numbers them, then others.

    card_id [cards]: as in the files. reviewed: how many are of the history. places [cards]: notes, decks and presets
    with the numbers that they have in the history.
    """

    card_id: Ints
    reviewed: int
    places: CardTable

    def numbers_of(self, card_id: Ints) -> Ints:
        """The numbers of cards [n] that are here."""
        order = np.argsort(self.card_id)
        return order[np.searchsorted(self.card_id[order], card_id)]


def read_roster(root: Path, user: int, wanted: Ints) -> Roster:
    """The cards of a user's history, and those of `wanted` that are not among them.

    Raises HistoryError where the user's files cannot be used.
    """
    where = f"user {user}, {root / 'revlogs' / f'user_id={user}'}"
    columns = read_columns(root, "revlogs", user, ("card_id", "rating"))
    if columns is None:
        raise HistoryError("The user has no revlog.", where=where)
    card_id, rating = (integers(column, name, where) for name, column in columns.items())
    card_id = card_id[np.isin(rating, RATINGS)]
    _, first = number_by_appearance(card_id)
    reviewed = card_id[first]
    everyone = np.concatenate([reviewed, np.setdiff1d(wanted, reviewed)])
    return Roster(everyone, len(reviewed), read_card_table(root, user, everyone))
