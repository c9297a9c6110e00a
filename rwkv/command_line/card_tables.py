"""Predictions of cards for people and programs: text, CSV, JSON, parquet."""

import csv
import io
import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rwkv.collection.card_predictions import CardPredictions
from rwkv.collection.chosen_model import ChosenModel
from rwkv.collection.learner import Learner
from rwkv.collection.moment import written
from rwkv.collection.own_past import OwnPast, own_past, past_sentence
from rwkv.command_line.answer import as_json
from rwkv.data.arrow import parquet_of
from rwkv.errors import InputError
from rwkv.files import write_whole
from rwkv.recurrent.predictions import Predictions
from rwkv.runtime import printable

FORMATS = ("text", "csv", "json", "parquet")

_HOURS_A_DAY, _MINUTES_A_DAY = 24, 1440
_DAYS_A_MONTH, _DAYS_A_YEAR = 365.25 / 12, 365.25
# (days from which on, days a unit, unit)
_UNITS = (
    (_DAYS_A_YEAR, _DAYS_A_YEAR, "y"),
    (2 * _DAYS_A_MONTH, _DAYS_A_MONTH, "mo"),
    (1, 1, "d"),
    (1 / _HOURS_A_DAY, 1 / _HOURS_A_DAY, "h"),
)
_NOTE_WIDTH, _DECK_WIDTH = 28, 20
# Of the table of text: titles of groups and of columns, each with its width.
_GROUPS = (("", 49), ("recall now", 15), ("rating, %", 21), ("", 7), ("interval after", 28), ("due by", 7))
_TITLES = ("RWKV-P", "curve", "again", "hard", "good", "easy", "left", "again", "hard", "good", "easy", "Anki")
_WIDTHS = (8, 7, 6, 5, 5, 5, 7, 7, 7, 7, 7, 7)


@dataclass(frozen=True)
class Heading:
    """What predictions are of. at: the moment, for people. day: its day_offset. notice: see ChosenModel, and how the
    model did on this person's past. doubt: why the numbers say little of this person, or None. past: the figures of the
    notice; None where they are not known.
    """

    name: str
    user: int
    at: str
    day: int
    model: Path
    notice: str | None
    doubt: str | None = None
    past: OwnPast | None = None

    @property
    def notices(self) -> list[str]:
        """What every output must say."""
        return [notice for notice in (self.notice, self.doubt) if notice]


def heading_of(
    learner: Learner, at_s: float, model: ChosenModel, predictions: Predictions | None, doubt: str | None
) -> Heading:
    """The heading of predictions of a learner at a moment. predictions: of the learner's past, None if not known."""
    at, day = written(at_s, learner), learner.day_of(at_s)
    past = own_past(learner.history, predictions)
    notice = None if model.notice is None else f"{model.notice}. {past_sentence(past)}"
    return Heading(learner.name, learner.user, at, day, model.path, notice, doubt, past)


def as_text(heading: Heading, cards: CardPredictions, most: int) -> str:
    """A table of the first `most` cards."""
    lines = [f"{heading.name}, {len(cards)} cards, {heading.at}, model {heading.model}"]
    lines += [f"NOTICE: {notice}" for notice in heading.notices]
    shown = cards.rows(np.arange(min(most, len(cards))))
    lines += ["", "".join(f"{title:>{width}}" for title, width in _GROUPS), _row("card", "deck", _TITLES)]
    lines += [_row(*row) for row in zip(_names(shown), shown.deck.tolist(), _cells(shown), strict=True)]
    if len(cards) == 0:
        lines.append("no card is one of those that are asked for, and still exists")
    if len(shown) < len(cards):
        lines.append(f"... and {len(cards) - len(shown)} more: --rows 0 shows all, --out FILE.csv writes them")
    return printable("\n".join(lines))


def as_fields(heading: Heading, cards: CardPredictions) -> dict[str, object]:
    """For a JSON object: a list of cards, each with its columns by name."""
    columns = {name: column.tolist() for name, column in cards.columns.items()}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return {**asdict(heading), "cards": rows}


def as_csv(heading: Heading, cards: CardPredictions) -> str:
    """A line for each card, after the names of the columns; empty where there is no number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = _with_notice(heading, cards)
    writer.writerow(columns)
    writer.writerows(zip(*(_csv_values(column) for column in columns.values()), strict=True))
    return text.getvalue().removesuffix("\n")


def format_of(path: Path | None, asked: str | None) -> str:
    """The format that is asked for, or that of the file's name. Raises InputError where there is none such."""
    if path is None and asked == "parquet":
        raise InputError("Parquet is not for the terminal.", hint="give --out FILE.parquet")
    if asked is not None or path is None:
        return asked or "text"
    suffix = path.suffix.lower()
    ending = {".txt": "text"}.get(suffix, suffix.removeprefix("."))
    if ending not in FORMATS:
        expected = ", ".join(f".{name}" for name in ("txt", *FORMATS[1:]))
        raise InputError("The file's name says no format.", got=str(path), expected=expected, hint="give --format")
    return ending


def written_as(heading: Heading, cards: CardPredictions, format: str, most: int) -> str:
    """The text of a format other than parquet."""
    if format == "csv":
        return as_csv(heading, cards)
    return as_json(as_fields(heading, cards)) if format == "json" else as_text(heading, cards, most)


def write_cards(path: Path, heading: Heading, cards: CardPredictions, format: str) -> None:
    """Write all cards to a file, which appears whole or not at all. Raises InputError where it cannot be written."""
    if format == "parquet":
        write_whole(path, parquet_of(_with_notice(heading, cards)))
    else:
        write_whole(path, f"{printable(written_as(heading, cards, format, len(cards)))}\n".encode())


def _with_notice(heading: Heading, cards: CardPredictions) -> dict[str, npt.NDArray[Any]]:
    """A table without a heading carries the notice as a column."""
    notice = {"notice": np.full(len(cards), "; ".join(heading.notices), object)} if heading.notices else {}
    return cards.columns | notice


def plain_cell(text: str) -> str:
    """A text of a CSV file that no spreadsheet takes for a formula: with an apostrophe in front where it may be one.

    Source: OWASP, CSV Injection.
    """
    # Python's writer leaves a carriage return without quotes, and readers end the line there.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(("\t", "\n")) or text.lstrip().startswith(("=", "+", "-", "@")) else text


def _csv_values(column: npt.NDArray[Any]) -> list[object]:
    if column.dtype.kind == "O":
        return [plain_cell(text) for text in column.tolist()]
    if column.dtype.kind != "f":
        return column.tolist()
    return ["" if math.isnan(value) else f"{value:.6g}" for value in column.tolist()]


def _names(cards: CardPredictions) -> list[str]:
    """What people know a card by."""
    return [note or str(card) for note, card in zip(cards.note.tolist(), cards.card_id.tolist(), strict=True)]


def _cells(cards: CardPredictions) -> list[tuple[str, ...]]:
    """By card the columns of numbers."""
    recalls = [_texts(column, _share) for column in (cards.p_now, cards.p_curve)]
    ratings = [_texts(column, _percent) for column in (cards.p_again, cards.p_hard, cards.p_good, cards.p_easy)]
    spans = cards.left_days, cards.days_again, cards.days_hard, cards.days_good, cards.days_easy
    days = [_texts(column, short_days) for column in spans]
    due = _texts(cards.due_in_days, lambda due_days: short_days(due_days) if due_days else "today")
    due = ["off" if is_off else text for is_off, text in zip(cards.is_suspended.tolist(), due, strict=True)]
    return list(zip(*recalls, *ratings, *days, due, strict=True))


def _texts(column: npt.NDArray[Any], written: Callable[[float], str]) -> list[str]:
    return ["" if math.isnan(value) else written(value) for value in column.tolist()]


def _share(p: float) -> str:
    return f"{p:.3f}"


def _percent(p: float) -> str:
    return f"{100 * p:.0f}"


def short_days(days: float) -> str:
    """Days as Anki shows them: 12m, 5.2h, 3.5d, 4.1mo, 1.2y; before now with a minus; never beyond the horizon."""
    if math.isinf(days):
        return "never"
    size = abs(days)
    for least, unit_days, unit in _UNITS:
        if size >= least:
            return f"{days / unit_days:.1f}{unit}"
    return f"{days * _MINUTES_A_DAY:.0f}m"


def _row(card: str, deck: str, cells: Sequence[str]) -> str:
    numbers = "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
    return f"{_fitted(card, _NOTE_WIDTH)} {_fitted(deck, _DECK_WIDTH)}{numbers}"


def _fitted(text: str, width: int) -> str:
    """In one line of so many columns of a terminal, cut or filled; nothing that a terminal would obey is left in."""
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    columns = [_columns_of(character) for character in line]
    if sum(columns) > width:
        most = next(count for count in range(len(line) + 1) if sum(columns[: count + 1]) > width - 1)
        line = f"{line[:most]}…"
    return line + " " * (width - sum(map(_columns_of, line)))


def _columns_of(character: str) -> int:
    """How many columns a character takes: two in Chinese, Japanese and Korean, none where it joins the one before."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
