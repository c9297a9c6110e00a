"""Moments -> numbers of days, where a day begins at the rollover hour of a time zone."""

import re
import zoneinfo
from datetime import datetime

import numpy as np

from rwkv.data.history import Ints
from rwkv.errors import InputError
from rwkv.vocab import SECONDS_PER_DAY

SECONDS_PER_HOUR = 3600

# Offsets from UTC are looked up once for each quarter of an hour: no zone changes at other moments.
_QUARTER_S = 900


def day_numbers(epoch_s: Ints, timezone: str, rollover_hour: int) -> Ints:
    """The number of the day of each moment [n], counted from an arbitrary day.

    timezone: "UTC+02:00", the same all year as Anki counts, or an IANA name, which follows summer time.
    Raises InputError where there is no such zone.
    """
    return (epoch_s + utc_offsets(epoch_s, timezone) - rollover_hour * SECONDS_PER_HOUR) // SECONDS_PER_DAY


def day_start_s(epoch_s: int, timezone: str, rollover_hour: int) -> int:
    """Epoch seconds at which the day of a moment begins."""
    moment = np.array([epoch_s])
    local = epoch_s + int(utc_offsets(moment, timezone)[0]) - rollover_hour * SECONDS_PER_HOUR
    start = epoch_s - local % SECONDS_PER_DAY
    # Where the clock was changed in between, the offset at the start is another one.
    return start + int(utc_offsets(moment, timezone)[0] - utc_offsets(np.array([start]), timezone)[0])


def utc_offsets(epoch_s: Ints, timezone: str) -> Ints:
    """Seconds east of UTC [n] at each moment."""
    fixed = fixed_offset(timezone)
    if fixed is not None:
        return np.full(len(epoch_s), fixed)
    try:
        zone = zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        expected = "UTC, UTC+02:00, or a name such as Europe/Berlin"
        raise InputError("There is no such time zone.", got=repr(timezone), expected=expected) from error
    quarter, place = np.unique(epoch_s // _QUARTER_S, return_inverse=True)
    offsets = [_offset(zone, int(number) * _QUARTER_S) for number in quarter]
    return np.array(offsets, np.int64)[place]


def _offset(zone: zoneinfo.ZoneInfo, epoch_s: int) -> int:
    offset = datetime.fromtimestamp(epoch_s, zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def fixed_offset(timezone: str) -> int | None:
    """Seconds east of UTC of "UTC" or "UTC+02:00"; None where it is a zone's name."""
    match = re.fullmatch(r"UTC(?:([+-])(\d\d):(\d\d))?", timezone)
    if not match:
        return None
    sign, hours, minutes = match.groups()
    if sign is None:
        return 0
    return (-1 if sign == "-" else 1) * (int(hours) * SECONDS_PER_HOUR + int(minutes) * 60)


def name_of_offset(seconds_east: int) -> str:
    """ "UTC+02:00" of 7200."""
    sign = "-" if seconds_east < 0 else "+"
    hours, minutes = divmod(abs(seconds_east) // 60, 60)
    return f"UTC{sign}{hours:02}:{minutes:02}"
