"""The days ahead as text, CSV and JSON."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np

from rwkv.arrays import Floats, Ints
from rwkv.collection.card_predictions import unknown_person
from rwkv.collection.chosen_model import ChosenModel
from rwkv.collection.days_ahead import Pace, ScheduledDay, askable, introducible
from rwkv.collection.learner import Learner
from rwkv.command_line.answer import as_json
from rwkv.command_line.card_tables import Heading, heading_of, plain_cell
from rwkv.data.collection import Texts
from rwkv.errors import InputError
from rwkv.files import is_stream, write_whole
from rwkv.plurals import counted, form
from rwkv.recurrent.predictions import Predictions
from rwkv.runtime import printable

FORMATS = (".txt", ".json", ".csv")

# Columns of the text table. The optional ones are shown if a day needs them.
_COUNTS, _OPTIONAL = ("cards", "repeats", "new", "reviews", "waiting"), ("new", "waiting")

# A backlog is worth a hint if day 0 has the cards of more than this many days.
_BACKLOG_DAYS = 3
# The model is doubted if more than this share of at least this many cards come back on the next day.
_DOUBTFUL, _FEWEST_FOR_DOUBT = 0.5, 20


@dataclass(frozen=True)
class Schedule:
    """The days ahead and their context.

    Attributes:
        heading: The person, the moment and the model.
        days: The days.
        dates: The date of each day; "" in a folder without dates.
        reason: Why no day has a card, or None.
        searches: What --search prints of each day.
        text_ids: Whether the cards' ids are texts, which Anki does not know.
    """

    heading: Heading
    days: list[ScheduledDay]
    dates: list[str]
    reason: str | None
    searches: list[str]
    text_ids: bool


def schedule_of(
    learner: Learner,
    at_s: float,
    model: ChosenModel,
    past: Predictions | None,
    days: list[ScheduledDay],
    pace: Pace,
    retention: float | None,
) -> Schedule:
    """The schedule of a learner's days ahead, made with this retention and pace. past: predictions of past reviews."""
    desired = learner.cards.desired_retention if retention is None else np.array([retention])
    heading = heading_of(learner, at_s, model, past, _doubt(days, desired))
    dates, reason, text_ids = _dates(learner, at_s, days), why_nothing(learner, days, pace), learner.text_ids
    searches = [_search(day, learner.cards.card_id, text_ids) for day in days]
    return Schedule(heading, days, dates, reason, searches, text_ids is not None)


def _search(day: ScheduledDay, card_id: Ints, text_ids: Texts | None) -> str:
    """The text for Anki's search box; if ids are texts, these ids, one a line. card_id: of all cards, ascending."""
    if text_ids is None:
        return day.search
    rows = np.searchsorted(card_id, day.card_id[~day.is_repeat])
    return "\n".join(text_ids[rows])


def _doubt(days: list[ScheduledDay], retention: Floats) -> str | None:
    """A warning if most cards that are not forgotten come back on the next day."""
    kept = [(day.card_id[~day.is_lapse], after.card_id) for day, after in pairwise(days)]
    reviews = sum(len(cards) for cards, _ in kept)
    again = sum(int(np.isin(cards, following).sum()) for cards, following in kept)
    if reviews < _FEWEST_FOR_DOUBT or again <= _DOUBTFUL * reviews:
        return None
    return f"{again / reviews:.0%} of the remembered cards come back on the next day: {unknown_person(retention)}"


def why_nothing(learner: Learner, days: list[ScheduledDay], pace: Pace) -> str | None:
    """Why none of the days has a card, or None."""
    if any(len(day.card_id) for day in days):
        return None
    if askable(learner).any():
        within = "on the first day" if len(days) == 1 else f"within {counted(len(days), 'day')}"
        return f"no card is due {within}: no curve falls to the desired retention"
    cards = learner.cards
    if len(cards) == 0:
        return "no card can be reviewed: all cards with reviews were deleted"
    counts = {
        "suspended": int(cards.is_suspended.sum()),
        "new": int(introducible(learner).sum()),
        "without usable reviews": int((~learner.is_reviewed & ~cards.is_new & ~cards.is_suspended).sum()),
    }
    parts = ", ".join(f"{count:,} {form(count, 'is', 'are')} {name}" for name, count in counts.items() if count)
    hint = ". Use --new N for new cards" if counts["new"] and not pace.new else ""
    return f"no card can be reviewed: of {counted(len(cards), 'card')} {parts}{hint}"


def why_no_search(day: ScheduledDay) -> str:
    """Why a day has no cards to search for."""
    repeats = len(day.card_id)
    if repeats == 0:
        return f"no card is due on day {day.day}"
    cards = f"{counted(repeats, 'card')} {form(repeats, 'is', 'are')}"
    return f"no card is certain to be due on day {day.day}: {cards} expected back after answers until then"


def _dates(learner: Learner, at_s: float, days: list[ScheduledDay]) -> list[str]:
    """The date of each day in the collection's time zone."""
    if learner.info is None:
        return ["" for _ in days]
    first = learner.info.clock.date(at_s)
    return [str(first + timedelta(day.day)) for day in days]


def as_text(schedule: Schedule) -> str:
    """A table of the days: certain cards, repeats after simulated answers, new cards and totals."""
    heading, days = schedule.heading, schedule.days
    lines = [f"{heading.name}, {counted(len(days), 'day')} from {heading.at}, model {heading.model}"]
    lines += [f"NOTICE: {notice}" for notice in heading.notices]
    if schedule.reason:
        return printable("\n".join([*lines, "", schedule.reason]))
    titles = [name for name in _COUNTS if name not in _OPTIONAL or any(_counts(day)[name] for day in days)]
    lines += ["", _row("day", "date", [*titles, "minutes"], "recall")]
    for day, date in zip(days, schedule.dates, strict=True):
        cells = [*(str(_counts(day)[name]) for name in titles), f"{day.minutes:.1f}"]
        lines.append(_row(str(day.day), date, cells, "" if math.isnan(day.recall) else f"{day.recall:.3f}"))
    reviews = [len(day.card_id) for day in days]
    minutes = sum(day.minutes for day in days)
    mean = f"mean per day: {sum(reviews) / len(days):.1f} reviews, {minutes / len(days):.1f} minutes"
    lines += [mean, "", *_hints(schedule)]
    purpose = "the ids of a day's cards" if schedule.text_ids else "Anki's search box"
    return printable("\n".join([*lines, f"for {purpose}: rwkv schedule ... --search DAY"]))


def _counts(day: ScheduledDay) -> dict[str, int]:
    """Numbers of cards by the title of the column."""
    repeats, new = int(day.is_repeat.sum()), int(day.is_new.sum())
    counts = len(day.card_id) - repeats - new, repeats, new, len(day.card_id), day.waiting
    return dict(zip(_COUNTS, counts, strict=True))


def _row(day: str, date: str, cells: Sequence[str], recall: str) -> str:
    return f"{day:>4} {date:>10}" + "".join(f" {cell:>8}" for cell in cells) + f" {recall:>7}"


def _hints(schedule: Schedule) -> list[str]:
    """Hints about a backlog."""
    first, *later = (len(day.card_id) for day in schedule.days)
    if not later or first <= _BACKLOG_DAYS * max(1, sum(later) / len(later)):
        return []
    return [f"{counted(first, 'card')} on the first day. Use --limit N or --backlog-days N to spread them."]


def as_fields(schedule: Schedule) -> dict[str, object]:
    """The fields of a JSON object: the heading and a list of days."""
    rows = [
        {
            "day": day.day,
            "date": date or None,
            "cards": day.card_id[~day.is_repeat & ~day.is_new],
            "repeats": day.card_id[day.is_repeat],
            "new": day.card_id[day.is_new],
            "reviews": len(day.card_id),
            "waiting": day.waiting,
            "minutes": day.minutes,
            "recall": day.recall,
            "search": search,
        }
        for day, date, search in zip(schedule.days, schedule.dates, schedule.searches, strict=True)
    ]
    return {**asdict(schedule.heading), "reason": schedule.reason, "days": rows}


def format_of(path: Path) -> str:
    """The format of a file's ending; text for a pipe. Raises InputError if the ending is unknown."""
    if is_stream(path) and not path.suffix:
        return ".txt"
    if path.suffix.lower() not in FORMATS:
        hint = "use one of these endings for --out"
        expected = ", ".join(FORMATS)
        raise InputError("The file's ending is unknown.", where="--out", got=str(path), expected=expected, hint=hint)
    return path.suffix.lower()


def write_schedule(path: Path, schedule: Schedule) -> None:
    """Write the days in the format of the file's ending. CSV has the text of --search instead of lists of cards.

    Raises:
        InputError: The ending is unknown, or the file cannot be written.
    """
    format = format_of(path)
    if format == ".txt":
        text = as_text(schedule)
    else:
        text = as_json(as_fields(schedule)) if format == ".json" else _as_csv(schedule)
    write_whole(path, f"{printable(text)}\n".encode())


def _as_csv(schedule: Schedule) -> str:
    columns = ("day", "date", "reviews", "new", "waiting", "minutes", "recall", "search", "notice")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for day, date, search in zip(schedule.days, schedule.dates, schedule.searches, strict=True):
        recall = "" if math.isnan(day.recall) else day.recall
        numbers = len(day.card_id), int(day.is_new.sum()), day.waiting, day.minutes, recall
        writer.writerow([day.day, date, *numbers, plain_cell(search), "; ".join(schedule.heading.notices)])
    return text.getvalue().removesuffix("\n")
