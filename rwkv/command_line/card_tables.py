"""Predictions of cards as text, CSV, JSON and parquet."""

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
from rwkv.collection.moment import moment_text
from rwkv.collection.own_past import OwnPast, own_past, past_sentence
from rwkv.command_line.answer import as_json
from rwkv.errors import InputError
from rwkv.files import write_whole
from rwkv.plurals import counted
from rwkv.recurrent.predictions import Predictions
from rwkv.runtime import printable

FORMATS = ("text", "csv", "json", "parquet")

_HOURS_A_DAY, _MINUTES_A_DAY = 24, 1440
_DAYS_A_MONTH, _DAYS_A_YEAR = 365.25 / 12, 365.25
# (shortest time in days, days per unit, unit)
_UNITS = (
    (_DAYS_A_YEAR, _DAYS_A_YEAR, "y"),
    (2 * _DAYS_A_MONTH, _DAYS_A_MONTH, "mo"),
    (1, 1, "d"),
    (1 / _HOURS_A_DAY, 1 / _HOURS_A_DAY, "h"),
)
_NOTE_WIDTH, _DECK_WIDTH = 28, 20
# The text table: titles of groups and columns, with their widths.
_GROUPS = (("", 49), ("recall now", 15), ("rating, %", 21), ("", 7), ("interval after", 28), ("due by", 7))
_TITLES = ("RWKV-P", "curve", "again", "hard", "good", "easy", "left", "again", "hard", "good", "easy", "Anki")
_WIDTHS = (8, 7, 6, 5, 5, 5, 7, 7, 7, 7, 7, 7)


@dataclass(frozen=True)
class Heading:
    """The context of predictions.

    Attributes:
        name: The person's name.
        user: The user number.
        at: The moment, in words.
        day: The moment's day_offset.
        model: The file of weights.
        notice: A notice about the model and its scores on this person's past, or None.
        doubt: A reason to distrust the numbers for this person, or None.
        past: The scores in the notice; None if unknown.
        reason: Why no card can match the query, or None.
    """

    name: str
    user: int
    at: str
    day: int
    model: Path
    notice: str | None
    doubt: str | None = None
    past: OwnPast | None = None
    reason: str | None = None

    @property
    def notices(self) -> list[str]:
        """The notices for every output."""
        return [notice for notice in (self.notice, self.doubt) if notice]


def heading_of(
    learner: Learner, at_s: float, model: ChosenModel, predictions: Predictions | None, doubt: str | None
) -> Heading:
    """The heading of a learner's predictions at a moment. predictions: those of past reviews; None if unknown."""
    at, day = moment_text(at_s, learner), learner.day_of(at_s)
    past = own_past(learner.history, predictions)
    notice = None if model.notice is None else f"{model.notice}. {past_sentence(past)}"
    return Heading(learner.name, learner.user, at, day, model.path, notice, doubt, past)


def as_text(heading: Heading, cards: CardPredictions, most: int) -> str:
    """A table of the first `most` cards."""
    lines = [f"{heading.name}, {counted(len(cards), 'card')}, {heading.at}, model {heading.model}"]
    lines += [f"NOTICE: {notice}" for notice in heading.notices]
    shown = cards.rows(np.arange(min(most, len(cards))))
    lines += ["", "".join(f"{title:>{width}}" for title, width in _GROUPS), _row("card", "deck", _TITLES)]
    lines += [_row(*row) for row in zip(_names(shown), shown.deck.tolist(), _cells(shown), strict=True)]
    if len(cards) == 0:
        lines.append(f"No cards match: {heading.reason}." if heading.reason else "No cards match.")
    if len(shown) < len(cards):
        lines.append(f"... and {len(cards) - len(shown)} more. Use --rows 0 to show all, or --out FILE.csv.")
    return printable("\n".join(lines))


def as_fields(heading: Heading, cards: CardPredictions) -> dict[str, object]:
    """The fields of a JSON object: the heading, and a list of cards with their columns by name."""
    columns = {name: column.tolist() for name, column in cards.columns.items()}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return {**asdict(heading), "cards": rows}


def as_csv(cards: CardPredictions) -> str:
    """A header and a line for each card. Missing numbers are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(cards.columns)
    writer.writerows(zip(*(_csv_values(column) for column in cards.columns.values()), strict=True))
    return text.getvalue().removesuffix("\n")


def format_of(path: Path | None, option: str | None) -> str:
    """The format of --format, or of the file's name. Raises InputError if there is none."""
    if path is None and option == "parquet":
        raise InputError("Parquet cannot be printed.", where="--format", hint="use --out FILE.parquet")
    if option is not None or path is None:
        return option or "text"
    suffix = path.suffix.lower()
    ending = {".txt": "text"}.get(suffix, suffix.removeprefix("."))
    if ending not in FORMATS:
        expected = ", ".join(f".{name}" for name in ("txt", *FORMATS[1:]))
        hint = "use --format, or one of these endings"
        raise InputError("The file's ending is unknown.", where="--out", got=str(path), expected=expected, hint=hint)
    return ending


def formatted(heading: Heading, cards: CardPredictions, format: str, most: int) -> str:
    """Predictions in a format other than parquet, as text with at most `most` cards."""
    if format == "csv":
        return as_csv(cards)
    return as_json(as_fields(heading, cards)) if format == "json" else as_text(heading, cards, most)


def write_cards(path: Path, heading: Heading, cards: CardPredictions, format: str) -> None:
    """Write all cards to a file atomically. Raises InputError if it cannot be written."""
    if format == "parquet":
        from rwkv.data.arrow import parquet_of  # loads pyarrow, which not every installation has

        write_whole(path, parquet_of(cards.columns))
    else:
        write_whole(path, f"{printable(formatted(heading, cards, format, len(cards)))}\n".encode())


def plain_cell(text: str) -> str:
    """Text for a CSV file, with an apostrophe before anything that a spreadsheet could run as a formula.

    Source: OWASP, CSV Injection.
    """
    # Python's writer does not quote a carriage return, where readers end the line.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(("\t", "\n")) or text.lstrip().startswith(("=", "+", "-", "@")) else text


def _csv_values(column: npt.NDArray[Any]) -> list[object]:
    if column.dtype.kind == "O":
        return [plain_cell(text) for text in column.tolist()]
    if column.dtype.kind != "f":
        return column.tolist()
    return ["" if math.isnan(value) else f"{value:.6g}" for value in column.tolist()]


def _names(cards: CardPredictions) -> list[str]:
    """The note's text of each card, or its id."""
    return [note or str(card) for note, card in zip(cards.note.tolist(), cards.card_id.tolist(), strict=True)]


def _cells(cards: CardPredictions) -> list[tuple[str, ...]]:
    """The cells of each card's numbers."""
    recalls = [_texts(column, _share) for column in (cards.p_now, cards.p_curve)]
    ratings = [_texts(column, _percent) for column in (cards.p_again, cards.p_hard, cards.p_good, cards.p_easy)]
    spans = cards.left_days, cards.days_again, cards.days_hard, cards.days_good, cards.days_easy
    days = [_texts(column, short_days) for column in spans]
    due = _texts(cards.due_in_days, lambda due_days: short_days(due_days) if due_days else "today")
    due = ["off" if is_off else text for is_off, text in zip(cards.is_suspended.tolist(), due, strict=True)]
    return list(zip(*recalls, *ratings, *days, due, strict=True))


def _texts(column: npt.NDArray[Any], as_cell: Callable[[float], str]) -> list[str]:
    return ["" if math.isnan(value) else as_cell(value) for value in column.tolist()]


def _share(p: float) -> str:
    return f"{p:.3f}"


def _percent(p: float) -> str:
    return f"{100 * p:.0f}"


def short_days(days: float) -> str:
    """Days in Anki's style: 12m, 5.2h, 3.5d, 4.1mo, 1.2y. The past is negative, and infinity is "never"."""
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
    """Text cut or padded to a width in terminal columns, in one line and without control characters."""
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    columns = [_columns_of(character) for character in line]
    if sum(columns) > width:
        most = next(count for count in range(len(line) + 1) if sum(columns[: count + 1]) > width - 1)
        line = f"{line[:most]}…"
    return line + " " * (width - sum(map(_columns_of, line)))


def _columns_of(character: str) -> int:
    """Terminal columns of a character: two for Chinese, Japanese and Korean, none for a combining mark."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
