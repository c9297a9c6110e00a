"""Read and write review histories in the layout of anki-revlogs-10k (spec 1)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools, Floats, Int32s, Ints
from rwkv.data.history import CardTable, RevlogTable, number_by_appearance
from rwkv.data.next_step import with_next_step
from rwkv.data.tables import (
    PARQUET,
    Columns,
    integers,
    numbers,
    read_columns,
    read_file,
    reals,
    table_files,
    write_columns,
)
from rwkv.errors import HistoryError, InputError
from rwkv.vocab import RATINGS

if TYPE_CHECKING:
    from rwkv.data.simulate import SimulatedUser

Narrow = TypeVar("Narrow", np.int8, np.int32)

_REVLOG_COLUMNS = ("card_id", "day_offset", "rating", "state", "duration", "elapsed_days", "elapsed_seconds")

# The published code's placeholder for missing notes. Its sum with the card id is rounded to float64, which joins cards.
_PUBLISHED_NOTE_PLACEHOLDER = 314159265358979323


def list_users(root: Path) -> list[int]:
    """The users of a dataset, ascending. Raises InputError if the folder is missing or has no revlogs."""
    folder = root / "revlogs"
    if not folder.is_dir():
        raise InputError(
            "The folder has no dataset.",
            where=str(root),
            expected="folders revlogs/user_id=N, cards/user_id=N, decks/user_id=N",
            hint="choose another folder, or create a dataset with `rwkv download` or `rwkv simulate`",
        )
    matches = (re.fullmatch(r"user_id=(\d+)", entry.name) for entry in folder.iterdir())
    users = sorted(int(match[1]) for match in matches if match)
    if not users:
        hint = "choose another folder, or create a dataset with `rwkv download` or `rwkv simulate`"
        raise InputError("The dataset is empty.", where=str(folder), expected="folders user_id=N", hint=hint)
    return users


@with_next_step
def read_history(root: Path, user: int, missing_notes: str = "own") -> RevlogTable:
    """Read and check a user's history.

    Args:
        root: The dataset, or a folder written by `rwkv import`.
        user: The user number.
        missing_notes: "own" gives each card without a note its own note. "published" joins such cards, and the codes of
            all of them, like the published code.

    Raises:
        HistoryError: The history cannot be used. The error names file, column and row.

    Source: spec 1.
    """
    where = f"user {user}, {root / 'revlogs' / f'user_id={user}'}"
    columns = read_columns(root, "revlogs", user, _REVLOG_COLUMNS)
    if columns is None:
        raise HistoryError("The user has no revlog.", where=where)
    revlog = {name: integers(column, name, where) for name, column in columns.items()}
    if np.any(np.diff(revlog["day_offset"]) < 0):
        row = int(np.argmax(np.diff(revlog["day_offset"]) < 0)) + 2
        raise HistoryError("day_offset decreases.", where=f"{where}, row {row}", expected="reviews in time order")

    is_model_row = np.isin(revlog["rating"], RATINGS)
    review_th = np.flatnonzero(is_model_row) + 1
    revlog = {name: column[is_model_row] for name, column in revlog.items()}
    if len(review_th) == 0:
        what, hint = "The user has no reviews with ratings from 1 to 4.", "leave this user out"
        raise HistoryError(what, where=where, hint=hint)
    corrected = {} if is_model_row.all() else {"rating": int(np.sum(~is_model_row))}
    for name, least in (("elapsed_days", -1), ("elapsed_seconds", -1), ("duration", 0)):
        too_small = revlog[name] < least
        if too_small.any():
            corrected[name] = int(too_small.sum())
            revlog[name] = np.where(too_small, 0, revlog[name])

    card, first = number_by_appearance(revlog["card_id"])
    return RevlogTable(
        user=user,
        review_th=review_th.astype(np.int32),
        card=card.astype(np.int32),
        rating=revlog["rating"].astype(np.int8),
        state=_narrow(revlog["state"], "state", np.int8, where),
        duration_ms=revlog["duration"],
        day_offset=_narrow(revlog["day_offset"], "day_offset", np.int32, where),
        elapsed_days=_narrow(revlog["elapsed_days"], "elapsed_days", np.int32, where),
        elapsed_s=revlog["elapsed_seconds"],
        cards=read_card_table(root, user, revlog["card_id"][first], missing_notes),
        corrected=corrected,
        missing_notes=missing_notes,
    )


def write_user(root: Path, simulated: "SimulatedUser") -> None:
    """Write a simulated learner in the dataset's layout, with true probabilities in truth/user_id=N.parquet.

    The revlog comes last, and marks the learner as complete; see `has_revlog`.
    """
    folder = f"user_id={simulated.user}"
    revlog = {name: getattr(simulated, name) for name in _REVLOG_COLUMNS}
    p = simulated.truth
    truth = {
        "review_th": np.arange(1, len(p) + 1),
        "card_id": simulated.card_id,
        **{f"p_{name}": p[:, i] for i, name in enumerate(("again", "hard", "good", "easy"))},
        "p_recall": 1 - p[:, 0],
    }
    write_columns(root / "truth" / f"{folder}.parquet", truth)
    write_tables(root, simulated.user, revlog, simulated.cards, simulated.decks)


def write_tables(root: Path, user: int, revlog: Columns, cards: Columns, decks: Columns, ending: str = PARQUET) -> None:
    """Write a user's three tables in the dataset's layout, the revlog last. ending: PARQUET or PACKED."""
    for kind, columns in (("cards", cards), ("decks", decks), ("revlogs", revlog)):
        write_columns(root / kind / f"user_id={user}" / f"data{ending}", columns)


def has_revlog(root: Path, user: int) -> bool:
    """Whether the dataset has a revlog of a user. It is not read."""
    return bool(table_files(root / "revlogs" / f"user_id={user}"))


@with_next_step
def read_truth(root: Path, user: int) -> Floats:
    """The true recall probabilities of a simulated learner's reviews, float64 [R], at index review_th - 1."""
    path = root / "truth" / f"user_id={user}.parquet"
    return reals(read_file(path, str(path), ("p_recall",))["p_recall"], "p_recall", str(path))


def _narrow(values: Ints, name: str, dtype: type[Narrow], where: str) -> npt.NDArray[Narrow]:
    limits = np.iinfo(dtype)
    if np.any((values < limits.min) | (values > limits.max)):
        raise HistoryError(
            f"Column {name} has values out of range.", where=where, expected=f"{limits.min}..{limits.max}"
        )
    return values.astype(dtype)


def _lookup(ids: Ints, missing: Bools, keys: Ints, where: str) -> Ints:
    """The index of each id [n] in the distinct `keys` [m], or -1 if it is missing or unknown."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    if np.any(ordered[1:] == ordered[:-1]):
        twice = ordered[:-1][ordered[1:] == ordered[:-1]][0]
        raise HistoryError("An id occurs twice.", where=where, got=str(twice), expected="each id once")
    if len(keys) == 0:
        return np.full(len(ids), -1)
    position = np.minimum(np.searchsorted(ordered, ids), len(keys) - 1)
    return np.where((ordered[position] == ids) & ~missing, order[position], -1)


def _joined(
    root: Path, kind: str, user: int, ids: Ints, missing: Bools, names: tuple[str, ...]
) -> list[tuple[Ints, Bools]]:
    """Left join of `ids` with a table whose key is the first of `names`: (values, missing) of its other columns."""
    where = f"user {user}, {root / kind / f'user_id={user}'}"
    columns = read_columns(root, kind, user, names)
    if columns is None:
        return [(np.zeros_like(ids), np.ones(len(ids), bool)) for _ in names[1:]]
    position = _lookup(ids, missing, integers(columns[names[0]], names[0], where), f"{where}, column {names[0]}")
    joined = []
    for name in names[1:]:
        values, absent = (
            np.append(column, fill) for column, fill in zip(numbers(columns[name], name, where), (0, 1), strict=True)
        )
        joined.append((values[position], absent[position].astype(bool)))
    return joined


@with_next_step
def read_card_table(root: Path, user: int, card_id: Ints, missing_notes: str = "own") -> CardTable:
    """Read note, deck and preset of each card. card_id: int64 [cards], in order of first appearance."""
    present = np.zeros(len(card_id), bool)
    (note, note_missing), (deck, deck_missing) = _joined(
        root, "cards", user, card_id, present, ("card_id", "note_id", "deck_id")
    )
    ((preset, preset_missing),) = _joined(root, "decks", user, deck, deck_missing, ("deck_id", "preset_id"))
    return CardTable(
        note=_number_notes(note, note_missing, card_id, missing_notes),
        deck=_number_with_placeholder(deck, deck_missing),
        preset=_number_with_placeholder(preset, preset_missing),
        note_missing=note_missing,
        deck_missing=deck_missing,
        preset_missing=preset_missing,
    )


def _number_notes(note: Ints, missing: Bools, card_id: Ints, missing_notes: str) -> Int32s:
    if missing_notes == "published":
        keys = np.where(missing, (_PUBLISHED_NOTE_PLACEHOLDER + card_id).astype(np.float64), note.astype(np.float64))
        return number_by_appearance(keys)[0].astype(np.int32)
    numbers, _ = number_by_appearance(note)
    own_numbers = len(card_id) + np.arange(len(card_id))
    return number_by_appearance(np.where(missing, own_numbers, numbers))[0].astype(np.int32)


def _number_with_placeholder(ids: Ints, missing: Bools) -> Int32s:
    """Dense numbers of ids, in which all missing ids are one entity."""
    numbers, _ = number_by_appearance(ids)
    return number_by_appearance(np.where(missing, -1, numbers))[0].astype(np.int32)


@dataclass(frozen=True)
class Roster:
    """Cards by number: those of a history, in the order of `read_history`, then others.

    Attributes:
        card_id: The ids in the files, int64 [cards].
        reviewed: The number of cards in the history.
        places: Note, deck and preset of each card [cards], with the numbers of the history.
    """

    card_id: Ints
    reviewed: int
    places: CardTable

    def numbers_of(self, card_id: Ints) -> Ints:
        """The numbers of some of these cards [n]."""
        order = np.argsort(self.card_id)
        return order[np.searchsorted(self.card_id[order], card_id)]


@with_next_step
def read_roster(root: Path, user: int, more: Ints) -> Roster:
    """Read the cards of a user's history, followed by those of `more` that are not among them.

    Raises:
        HistoryError: The user's files cannot be used.
    """
    where = f"user {user}, {root / 'revlogs' / f'user_id={user}'}"
    columns = read_columns(root, "revlogs", user, ("card_id", "rating"))
    if columns is None:
        raise HistoryError("The user has no revlog.", where=where)
    card_id, rating = (integers(column, name, where) for name, column in columns.items())
    card_id = card_id[np.isin(rating, RATINGS)]
    _, first = number_by_appearance(card_id)
    reviewed = card_id[first]
    everyone = np.concatenate([reviewed, np.setdiff1d(more, reviewed)])
    return Roster(everyone, len(reviewed), read_card_table(root, user, everyone))
