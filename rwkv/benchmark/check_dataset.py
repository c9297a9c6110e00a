"""Check a dataset or a folder of `rwkv import`: read every user as all commands do, and summarise what was read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rwkv.arrays import AnyInts, Bools, Int32s
from rwkv.collection.users import gaps_between, ranges_of, users_in
from rwkv.data.collection import read_collection
from rwkv.data.history import CORRECTIONS, RevlogTable, order_by_card
from rwkv.data.keys import benchmark_keys
from rwkv.data.revlogs import read_history
from rwkv.data.tables import table_files
from rwkv.errors import InputError, RwkvError
from rwkv.plurals import form
from rwkv.runtime import progress
from rwkv.vocab import RATINGS
from rwkv.workers import map_users

# What the dataset is known to have and all commands handle (spec 1 and 2): what is counted, and the words for it.
QUIRKS = {
    **{name: f"{form(0, noun)} {rest}" for name, (noun, rest) in CORRECTIONS.items()},
    "lost_beginning": "cards whose first review is lost",
    "note": "cards without a note, each in a note of its own",
    "deck": "cards without a deck, in one placeholder",
    "preset": "cards without a preset, in one placeholder",
    "state": "reviews with a state outside 0..4",
    "no_cards": "users without a table of cards",
    "no_decks": "users without a table of decks",
    "no_keys": "users without reviews that count in the benchmark",
}
# Those of a whole user.
OF_USERS = ("no_cards", "no_decks", "no_keys")

_STATES = range(5)


@dataclass(frozen=True)
class UserCheck:
    """What was read of one user.

    Attributes:
        counts: "reviews", "counted" (in the benchmark), "cards", "notes", "decks", "presets", "days".
        ranges: The least and the greatest value of a column, by name.
        ratings: The number of reviews with rating 1 to 4.
        states: The number of reviews with state 0 to 4.
        quirks: The number of rows, cards or tables, by name in QUIRKS; those that occur.
    """

    counts: Mapping[str, int]
    ranges: Mapping[str, tuple[int, int]]
    ratings: list[int]
    states: list[int]
    quirks: Mapping[str, int]


@dataclass(frozen=True)
class DatasetCheck:
    """What was read of a dataset.

    Attributes:
        folder: The dataset.
        users: The users that can be used.
        absent: The ranges of users that are not there: of those asked for, or between the first and the last.
        incomplete: Users with cards or decks but without a revlog, as after an interrupted download.
        errors: The other users, each with the first error.
    """

    folder: Path
    users: dict[int, UserCheck]
    absent: list[tuple[int, int]]
    incomplete: list[int]
    errors: dict[int, RwkvError]


def check_dataset(folder: Path, users: Sequence[int] | None = None, processes: int = 1) -> DatasetCheck:
    """Read users and check them.

    Args:
        folder: The dataset, or a folder written by `rwkv import`.
        users: The users; None for all.
        processes: The number of worker processes.

    Raises:
        InputError: The path is not such a folder, or has none of the users.
    """
    _check_is_dataset(folder)
    chosen = users_in(folder, users)
    absent = gaps_between(chosen) if users is None else ranges_of(sorted(set(users) - set(chosen)))
    incomplete = _users_of(folder / "cards") | _users_of(folder / "decks")
    incomplete -= _users_of(folder / "revlogs")
    checked: dict[int, UserCheck] = {}
    errors: dict[int, RwkvError] = {}
    for outcome in progress(map_users(partial(_check_user, folder), chosen, processes), len(chosen), "users"):
        if outcome.error is not None:
            errors[outcome.user] = outcome.error
        elif outcome.result is not None:
            checked[outcome.user] = outcome.result
    return DatasetCheck(
        folder,
        dict(sorted(checked.items())),
        absent,
        sorted(incomplete if users is None else incomplete & set(users)),
        dict(sorted(errors.items())),
    )


def _check_is_dataset(folder: Path) -> None:
    """Raise InputError for a path that is not a folder with users, with the way to one."""
    what, hint = "", ""
    if not folder.exists():
        what, hint = "The path does not exist.", "check the path"
    elif folder.name == "data.mdb":
        what, hint = "This is the file of a database.", f"choose its folder, {folder.resolve().parent}"
    elif folder.is_file():
        what, hint = "This is a file, not the folder of a dataset.", "import a collection with `rwkv import` first"
    elif _users_of(folder):
        what, hint = "This is one table of a dataset, not the dataset.", f"choose {folder.resolve().parent}"
    elif not _users_of(folder / "revlogs"):
        what = "The folder has no dataset."
        hint = "choose another folder, or create a dataset with `rwkv download`, `rwkv import` or `rwkv simulate`"
    if what:
        expected = "a folder with revlogs/user_id=N, or with an LMDB database of keys or reviews"
        raise InputError(what, where=str(folder), expected=expected, hint=hint)


def _users_of(folder: Path) -> set[int]:
    matches = (re.fullmatch(r"user_id=(\d+)", path.name, re.ASCII) for path in folder.glob("user_id=*"))
    return {int(match[1]) for match in matches if match}


def _check_user(folder: Path, user: int) -> UserCheck:
    """Read all files of a user. Raises HistoryError or InputError for the first error."""
    table = read_history(folder, user)
    if (folder / "collection" / f"user_id={user}").exists():
        read_collection(folder, user)
    counted = len(benchmark_keys(table, short=False, secs=False))
    quirks = {name: count for name, count in _quirks(folder, table, counted).items() if count}
    return UserCheck(
        _counts(table, counted),
        {name: (int(column.min()), int(column.max())) for name, column in _columns(table).items()},
        [int(np.sum(table.rating == rating)) for rating in RATINGS],
        [int(np.sum(table.state == state)) for state in _STATES],
        quirks,
    )


def _columns(table: RevlogTable) -> dict[str, AnyInts]:
    return {
        "day_offset": table.day_offset,
        "elapsed_days": table.elapsed_days,
        "elapsed_seconds": table.elapsed_s,
        "duration": table.duration_ms,
    }


def _counts(table: RevlogTable, counted: int) -> dict[str, int]:
    cards = table.cards
    return {
        "reviews": len(table),
        "counted": counted,
        "cards": len(cards.note),
        "notes": _distinct(cards.note, cards.note_missing),
        "decks": _distinct(cards.deck, cards.deck_missing),
        "presets": _distinct(cards.preset, cards.preset_missing),
        "days": len(np.unique(table.day_offset)),
    }


def _distinct(numbers: Int32s, missing: Bools) -> int:
    return len(np.unique(numbers[~missing]))


def _quirks(folder: Path, table: RevlogTable, counted: int) -> dict[str, int]:
    cards, first = table.cards, order_by_card(table.card).previous < 0
    return {
        **table.corrected,
        "lost_beginning": int(np.sum(first & (table.elapsed_days != -1))),
        "note": int(cards.note_missing.sum()),
        "deck": int(cards.deck_missing.sum()),
        "preset": int(cards.preset_missing.sum()),
        "state": int(np.sum(~np.isin(table.state, _STATES))),
        "no_cards": int(not table_files(folder / "cards" / f"user_id={table.user}")),
        "no_decks": int(not table_files(folder / "decks" / f"user_id={table.user}")),
        "no_keys": int(counted == 0),
    }
