"""The clock of a collection: its recorded time zone and hour, or a guess."""

from datetime import datetime

import numpy as np

from rwkv.data.days import SECONDS_PER_HOUR, DayClock, name_of_offset, utc_offsets
from rwkv.data.imports.anki.settings import Settings
from rwkv.data.imports.imported import ImportChoices
from rwkv.vocab import SECONDS_PER_DAY

DEFAULT_ROLLOVER = 4

# Anki dates a collection's creation at 4 am local time. Offsets of zones are multiples of a quarter of an hour.
_CREATION_HOUR = 4
_QUARTER_S = 900
# The lower end of the guessed offsets, which decides between zones a day apart: Hawaii, not Kiribati; New Zealand.
_WESTERNMOST_S = -10 * SECONDS_PER_HOUR


def clock_of(settings: Settings, choices: ImportChoices, is_shared: bool, is_old: bool) -> tuple[DayClock, list[str]]:
    """The collection's clock, and notices about guesses and corrections.

    Args:
        settings: The collection's settings.
        choices: The import's options.
        is_shared: Whether the source is a shared deck.
        is_old: Whether days are counted by the old scheduler.
    """
    timezone, notices = choices.timezone, list[str]()
    if timezone is None:
        offset_s, notices = _offset(settings, is_shared)
        timezone = name_of_offset(offset_s)
    hour = settings.rollover_hour if choices.rollover_hour is None else choices.rollover_hour
    if hour is not None or not is_old:
        return DayClock(timezone, DEFAULT_ROLLOVER if hour is None else hour), notices
    # The old scheduler's days begin at the hour of the collection's creation. If that is a half hour in another zone,
    # use the zone in which it is a whole hour.
    offset_s = int(utc_offsets(np.array([settings.created_s]), timezone)[0])
    half_s = (settings.created_s + offset_s) % SECONDS_PER_HOUR
    if choices.timezone is None and half_s and half_s % _QUARTER_S == 0:
        offset_s -= half_s
        whole = name_of_offset(offset_s)
        notices.append(f"its days begin at a half hour in {timezone}; using {whole}, where they begin at a full hour")
        timezone = whole
    return DayClock(timezone, (settings.created_s + offset_s) // SECONDS_PER_HOUR % 24), notices


def _offset(settings: Settings, is_shared: bool) -> tuple[int, list[str]]:
    """Seconds east of UTC, and notices.

    Anki records localOffset only if it is not UTC. Shared decks have none, but record the zone of the export.
    """
    local_s, creation_s = settings.local_offset_s, settings.creation_offset_s
    if local_s is not None:
        return local_s, []
    if creation_s is None:
        return _guess(settings.created_s)
    if is_shared or creation_s == 0:
        return creation_s, []
    created_in = name_of_offset(creation_s)
    guess = f"the time zone UTC is a guess: none is recorded, and it was created in {created_in} (see `timezone`)"
    return 0, [guess]


def _guess(created_s: int) -> tuple[int, list[str]]:
    """The zone in which it was 4 am when the collection was created; this computer's if there is none."""
    offset_s = (_CREATION_HOUR * SECONDS_PER_HOUR - created_s - _WESTERNMOST_S) % SECONDS_PER_DAY + _WESTERNMOST_S
    if offset_s % _QUARTER_S == 0:
        why = "where it was 4 am at its creation, Anki's convention"
    else:
        offset_s, why = _offset_here(), "this computer's"
    return offset_s, [f"no time zone is recorded; guessing {name_of_offset(offset_s)}, {why} (see `timezone`)"]


def _offset_here() -> int:
    offset = datetime.now().astimezone().utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0
