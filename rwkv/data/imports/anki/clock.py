"""When the days of a collection begin: its time zone and hour as it records them, or as they can be guessed."""

from datetime import datetime

import numpy as np

from rwkv.data.days import SECONDS_PER_HOUR, DayClock, name_of_offset, utc_offsets
from rwkv.data.imports.anki.settings import Settings
from rwkv.data.imports.imported import ImportChoices
from rwkv.vocab import SECONDS_PER_DAY

DEFAULT_ROLLOVER = 4

# Anki dates a collection's creation at 4 o'clock in the morning there. No zone's offset is not of quarters of an hour.
_CREATION_HOUR = 4
_QUARTER_S = 900
# Of the zones a day apart, those from here on are taken: Hawaii, not Kiribati, and all of New Zealand.
_WESTERNMOST_S = -10 * SECONDS_PER_HOUR


def clock_of(settings: Settings, choices: ImportChoices, is_shared: bool, is_old: bool) -> tuple[DayClock, list[str]]:
    """The collection's clock, and what must be said of it: what is a guess, and what Anki would not take as it is.

    is_shared: the source is of shared decks. is_old: its days are counted by the old scheduler.
    """
    timezone, notices = choices.timezone, list[str]()
    if timezone is None:
        offset_s, notices = _offset(settings, is_shared)
        timezone = name_of_offset(offset_s)
    hour = settings.rollover_hour if choices.rollover_hour is None else choices.rollover_hour
    if hour is not None or not is_old:
        return DayClock(timezone, DEFAULT_ROLLOVER if hour is None else hour), notices
    # The old scheduler's days begin at the hour at which the collection was created, or, as seen from another zone, at
    # half past: then in the zone where that is a whole hour.
    offset_s = int(utc_offsets(np.array([settings.created_s]), timezone)[0])
    half_s = (settings.created_s + offset_s) % SECONDS_PER_HOUR
    if choices.timezone is None and half_s and half_s % _QUARTER_S == 0:
        offset_s -= half_s
        whole = name_of_offset(offset_s)
        notices.append(f"its days begin at half past by {timezone}: {whole} is taken, where that is a whole hour")
        timezone = whole
    return DayClock(timezone, (settings.created_s + offset_s) // SECONDS_PER_HOUR % 24), notices


def _offset(settings: Settings, is_shared: bool) -> tuple[int, list[str]]:
    """(seconds east of UTC, what must be said of it).

    Anki records localOffset only where it is not UTC; shared decks have none, but say where they were exported.
    """
    local_s, creation_s = settings.local_offset_s, settings.creation_offset_s
    if local_s is not None:
        return local_s, []
    if creation_s is None:
        return _guess(settings.created_s)
    if is_shared or creation_s == 0:
        return creation_s, []
    created_in = name_of_offset(creation_s)
    guess = f"UTC is a guess: it records no time zone of today, and was created in {created_in} (see --timezone)"
    return 0, [guess]


def _guess(created_s: int) -> tuple[int, list[str]]:
    """The zone in which it was 4 o'clock when the collection was created; this computer's where there is none."""
    offset_s = (_CREATION_HOUR * SECONDS_PER_HOUR - created_s - _WESTERNMOST_S) % SECONDS_PER_DAY + _WESTERNMOST_S
    if offset_s % _QUARTER_S == 0:
        why = "where it was 4 o'clock when it was created, as Anki dates that"
    else:
        offset_s, why = _offset_here(), "of this computer"
    return offset_s, [f"it records no time zone: {name_of_offset(offset_s)}, {why}, is a guess (see --timezone)"]


def _offset_here() -> int:
    offset = datetime.now().astimezone().utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0
