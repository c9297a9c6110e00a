"""The days ahead for people and programs."""

import csv
import io
import math
from datetime import timedelta
from pathlib import Path

from rwkv.commands.card_tables import Heading
from rwkv.commands.learner import Learner
from rwkv.commands.plain_json import as_json
from rwkv.commands.schedule import ScheduledDay
from rwkv.data.days import SECONDS_PER_HOUR, local_time
from rwkv.errors import InputError
from rwkv.files import write_whole

FORMATS = (".txt", ".json", ".csv")

_TITLES = f"{'day':>4} {'date':>10} {'cards':>8} {'repeats':>8} {'reviews':>8} {'minutes':>8} {'recall':>7}"


def dates_of(learner: Learner, at_s: float, days: list[ScheduledDay]) -> list[str]:
    """The date of each day in the collection's time zone; "" where a folder has no dates."""
    if learner.info is None:
        return ["" for _ in days]
    first = local_time(at_s - learner.info.rollover_hour * SECONDS_PER_HOUR, learner.info.timezone).date()
    return [str(first + timedelta(day.day)) for day in days]


def as_text(heading: Heading, days: list[ScheduledDay], dates: list[str]) -> str:
    """A table: cards due whatever is answered before, repeats due to answers on the way, the sum of both."""
    lines = [f"{heading.name}, {len(days)} days from {heading.at}, model {heading.model}"]
    if heading.notice:
        lines.append(f"NOTICE: {heading.notice}")
    lines += ["", _TITLES]
    for day, date in zip(days, dates, strict=True):
        repeats = int(day.is_repeat.sum())
        recall = "" if math.isnan(day.recall) else f"{day.recall:.3f}"
        total = len(day.card_id)
        lines.append(
            f"{day.day:>4} {date:>10} {total - repeats:>8} {repeats:>8} {total:>8} {day.minutes:>8.1f} {recall:>7}"
        )
    reviews = sum(len(day.card_id) for day in days)
    minutes = sum(day.minutes for day in days)
    lines.append(f"{'a day, in the mean':>33} {reviews / len(days):>8.1f} {minutes / len(days):>8.1f}")
    return "\n".join([*lines, "", "for Anki's search box: rwkv schedule ... --search DAY"])


def as_fields(heading: Heading, days: list[ScheduledDay], dates: list[str]) -> dict[str, object]:
    """For a JSON object: a list of days."""
    rows = [
        {
            "day": day.day,
            "date": date or None,
            "cards": day.card_id[~day.is_repeat],
            "repeats": day.card_id[day.is_repeat],
            "reviews": len(day.card_id),
            "minutes": day.minutes,
            "recall": day.recall,
            "search": day.search,
        }
        for day, date in zip(days, dates, strict=True)
    ]
    return {**vars(heading), "days": rows}


def format_of(path: Path) -> str:
    """The format that a file's name says. Raises InputError where it says none."""
    if path.suffix not in FORMATS:
        raise InputError("The file's name says no format.", got=str(path), expected=", ".join(FORMATS))
    return path.suffix


def write_schedule(path: Path, heading: Heading, days: list[ScheduledDay], dates: list[str]) -> None:
    """Write the days in the format of the file's name; CSV has the search instead of lists of cards.

    Raises InputError where the name says no format, or the file cannot be written.
    """
    format = format_of(path)
    if format == ".txt":
        text = as_text(heading, days, dates)
    else:
        fields = as_fields(heading, days, dates)
        text = as_json(fields) if format == ".json" else _as_csv(fields)
    write_whole(path, f"{text}\n".encode())


def _as_csv(fields: dict[str, object]) -> str:
    columns = ("day", "date", "reviews", "minutes", "recall", "search")
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, "notice"], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in fields["days"]:  # type: ignore[attr-defined]
        writer.writerow(row | {"notice": fields["notice"]})
    return text.getvalue().removesuffix("\n")
