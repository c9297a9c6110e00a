"""The days ahead for people and programs."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np

from rwkv.arrays import Floats
from rwkv.collection.card_predictions import unknown_person
from rwkv.collection.chosen_model import ChosenModel
from rwkv.collection.learner import Learner
from rwkv.collection.schedule import Pace, ScheduledDay, askable, introducible
from rwkv.command_line.answer import as_json
from rwkv.command_line.card_tables import Heading, heading_of
from rwkv.errors import InputError
from rwkv.files import is_stream, write_whole
from rwkv.recurrent.predictions import Predictions
from rwkv.runtime import printable

FORMATS = (".txt", ".json", ".csv")

# Columns of the table of text; the optional ones only where a day has any.
_COUNTS, _OPTIONAL = ("cards", "repeats", "new", "reviews", "waiting"), ("new", "waiting")

# More cards on day 0 than this many days' worth are a backlog worth a word.
_BACKLOG_DAYS = 3
# Above this share of cards that come back on the day after, of at least so many, the model is doubted.
_DOUBTFUL, _FEWEST_FOR_DOUBT = 0.5, 20


@dataclass(frozen=True)
class Schedule:
    """The days ahead and what they are of. dates: of each day, "" in a folder without dates. reason: why no day has a
    card, None where one has.
    """

    heading: Heading
    days: list[ScheduledDay]
    dates: list[str]
    reason: str | None


def schedule_of(
    learner: Learner,
    at_s: float,
    model: ChosenModel,
    past: Predictions | None,
    days: list[ScheduledDay],
    pace: Pace,
    retention: float | None,
) -> Schedule:
    """Days ahead of a learner, to be shown. past: of past reviews. retention, pace: with which the days were made."""
    wanted = learner.cards.desired_retention if retention is None else np.array([retention])
    heading = heading_of(learner, at_s, model, past, _doubt(days, wanted))
    return Schedule(heading, days, _dates(learner, at_s, days), why_nothing(learner, days, pace))


def _doubt(days: list[ScheduledDay], retention: Floats) -> str | None:
    """What must be said where most cards come back on the day after, whatever was answered."""
    pairs = list(pairwise(days))
    asked = sum(len(day.card_id) for day, _ in pairs)
    again = sum(int(np.isin(day.card_id, after.card_id).sum()) for day, after in pairs)
    if asked < _FEWEST_FOR_DOUBT or again <= _DOUBTFUL * asked:
        return None
    return f"{again / asked:.0%} of the cards come back on the day after: {unknown_person(retention)}"


def why_nothing(learner: Learner, days: list[ScheduledDay], pace: Pace) -> str | None:
    """Why none of the days has a card; None where one has."""
    if any(len(day.card_id) for day in days):
        return None
    if askable(learner).any():
        return f"no card is due within {len(days)} days: no curve falls to the desired retention"
    cards = learner.cards
    if len(cards) == 0:
        return f"no card can be asked: all {learner.reviewed} cards with reviews were deleted"
    counts = {
        "suspended": int(cards.is_suspended.sum()),
        "new": int(introducible(learner).sum()),
        "without usable reviews": int((~learner.is_reviewed & ~cards.is_new & ~cards.is_suspended).sum()),
    }
    told = ", ".join(f"{count} are {name}" for name, count in counts.items() if count)
    ask = "; --new N asks so many new cards a day" if counts["new"] and not pace.new else ""
    return f"no card can be asked: of {len(cards)} cards {told}{ask}"


def why_no_search(day: ScheduledDay) -> str:
    """Why there is nothing to search for on a day."""
    repeats = len(day.card_id)
    if repeats == 0:
        return f"no card is due on day {day.day}"
    cards = "card is" if repeats == 1 else "cards are"
    return f"no card is due on day {day.day} whatever is answered before: {repeats} {cards} expected to be back by then"


def _dates(learner: Learner, at_s: float, days: list[ScheduledDay]) -> list[str]:
    """The date of each day in the collection's time zone."""
    if learner.info is None:
        return ["" for _ in days]
    first = learner.info.clock.date(at_s)
    return [str(first + timedelta(day.day)) for day in days]


def as_text(schedule: Schedule) -> str:
    """A table: cards due whatever is answered before, repeats due to answers on the way, new cards, the sum of all."""
    heading, days = schedule.heading, schedule.days
    lines = [f"{heading.name}, {len(days)} days from {heading.at}, model {heading.model}"]
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
    mean = f"a day, in the mean: {sum(reviews) / len(days):.1f} reviews, {minutes / len(days):.1f} minutes"
    lines += [mean, "", *_hints(schedule)]
    return printable("\n".join([*lines, "for Anki's search box: rwkv schedule ... --search DAY"]))


def _counts(day: ScheduledDay) -> dict[str, int]:
    """Of cards, by the title of the column."""
    repeats, new = int(day.is_repeat.sum()), int(day.is_new.sum())
    counts = len(day.card_id) - repeats - new, repeats, new, len(day.card_id), day.waiting
    return dict(zip(_COUNTS, counts, strict=True))


def _row(day: str, date: str, cells: Sequence[str], recall: str) -> str:
    return f"{day:>4} {date:>10}" + "".join(f" {cell:>8}" for cell in cells) + f" {recall:>7}"


def _hints(schedule: Schedule) -> list[str]:
    """What may be done about a backlog."""
    first, *later = (len(day.card_id) for day in schedule.days)
    if not later or first <= _BACKLOG_DAYS * max(1, sum(later) / len(later)):
        return []
    return [f"{first} cards on the first day: --limit N or --backlog-days N spreads them"]


def as_fields(schedule: Schedule) -> dict[str, object]:
    """For a JSON object: a list of days."""
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
            "search": day.search,
        }
        for day, date in zip(schedule.days, schedule.dates, strict=True)
    ]
    return {**asdict(schedule.heading), "reason": schedule.reason, "days": rows}


def format_of(path: Path) -> str:
    """The format that a file's name says, text of a pipe. Raises InputError where it says none."""
    if is_stream(path) and not path.suffix:
        return ".txt"
    if path.suffix.lower() not in FORMATS:
        hint = "give --out a name that ends so"
        expected = ", ".join(FORMATS)
        raise InputError("The file's name says no format.", got=str(path), expected=expected, hint=hint)
    return path.suffix.lower()


def write_schedule(path: Path, schedule: Schedule) -> None:
    """Write the days in the format of the file's name; CSV has the search instead of lists of cards.

    Raises InputError where the name says no format, or the file cannot be written.
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
    for day, date in zip(schedule.days, schedule.dates, strict=True):
        recall = "" if math.isnan(day.recall) else day.recall
        numbers = len(day.card_id), int(day.is_new.sum()), day.waiting, day.minutes, recall
        writer.writerow([day.day, date, *numbers, day.search, "; ".join(schedule.heading.notices)])
    return text.getvalue().removesuffix("\n")
