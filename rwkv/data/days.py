"""Day numbers of moments, where a day begins at the rollover hour of a time zone."""

import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from rwkv.arrays import Ints
from rwkv.errors import InputError
from rwkv.vocab import SECONDS_PER_DAY

SECONDS_PER_HOUR = 3600

# The range of supported moments, in epoch seconds.
EARLIEST_S, LATEST_S = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (100, 9000))

_UNIX_EPOCH = date(1970, 1, 1).toordinal()

# Offsets from UTC are looked up once for each quarter of an hour, because zones only change at these moments.
_QUARTER_S = 900


@dataclass(frozen=True)
class DayClock:
    """The beginning of days.

    Attributes:
        timezone: "UTC+02:00", constant all year as in Anki, or an IANA name with its summer time.
        rollover_hour: 0 to 23.

    Raises:
        InputError: The zone or hour is invalid.
    """

    timezone: str
    rollover_hour: int

    def __post_init__(self) -> None:
        if not 0 <= self.rollover_hour <= 23:
            what, hint = "The hour at which days begin is invalid.", "choose another hour, or omit it"
            raise InputError(what, where="`rollover_hour`", got=str(self.rollover_hour), expected="0 to 23", hint=hint)
        utc_offsets(np.array([0]), self.timezone)

    def days(self, epoch_s: Ints) -> Ints:
        """The day number of each moment [n]: local dates, counted from 1970-01-01."""
        offset_s = utc_offsets(epoch_s, self.timezone) - self.rollover_hour * SECONDS_PER_HOUR
        return (epoch_s + offset_s) // SECONDS_PER_DAY

    def date(self, epoch_s: float) -> date:
        """The date of a moment's day; before the rollover hour, that of the previous day."""
        return date.fromordinal(_UNIX_EPOCH + int(self.days(np.array([int(epoch_s // 1)]))[0]))

    def day_start_s(self, epoch_s: int) -> int:
        """The epoch seconds at which a moment's day begins."""
        number = int(self.days(np.array([epoch_s]))[0])
        return int(epoch_of(datetime(1970, 1, 1) + timedelta(number, hours=self.rollover_hour), self.timezone))

    def later(self, epoch_s: float, days: int) -> float:
        """The moment `days` days later with the same local time, or shifted by an hour if the clock skips it."""
        local = local_time(epoch_s, self.timezone).replace(tzinfo=None) + timedelta(days)
        number = self.days(np.array([int(epoch_s // 1)]))[0] + days
        first, second = (epoch_of(local, self.timezone, fold) for fold in (0, 1))
        return first if self.days(np.array([int(first // 1)]))[0] == number else second


def utc_offsets(epoch_s: Ints, timezone: str) -> Ints:
    """Seconds east of UTC [n] at each moment. Raises InputError for an invalid zone or a moment out of range."""
    strange = epoch_s[(epoch_s < EARLIEST_S) | (epoch_s > LATEST_S)]
    if len(strange):
        got, expected = f"{strange[0]} seconds since 1970", "the years 100 to 9000"
        where, hint = f"a date in the time zone {timezone}", "correct the date"
        raise InputError("A moment is out of range.", where=where, got=got, expected=expected, hint=hint)
    fixed = _fixed_offset(timezone)
    if fixed is not None:
        return np.full(len(epoch_s), fixed)
    zone = _zone(timezone)
    quarter, place = np.unique(epoch_s // _QUARTER_S, return_inverse=True)
    offsets = [_offset(zone, int(number) * _QUARTER_S) for number in quarter]
    return np.array(offsets, np.int64)[place]


def local_time(epoch_s: float, timezone: str) -> datetime:
    """The local date and time of a moment. Raises the errors of `utc_offsets`."""
    return datetime.fromtimestamp(epoch_s + int(utc_offsets(np.array([int(epoch_s)]), timezone)[0]), UTC)


def epoch_of(local: datetime, timezone: str, fold: int = 0) -> float:
    """The epoch seconds of a local date and time.

    Args:
        local: A date and time without a zone.
        timezone: The time zone.
        fold: 0 or 1 for the first or second occurrence when clocks are set back. A skipped time is shifted after (0) or
            before (1) the change, as in PEP 495.

    Raises:
        InputError: The zone is invalid.
    """
    fixed = _fixed_offset(timezone)
    if fixed is not None:
        return local.replace(tzinfo=UTC).timestamp() - fixed
    return local.replace(tzinfo=_zone(timezone), fold=fold).timestamp()


def name_of_offset(seconds_east: int) -> str:
    """The name of an offset: "UTC+02:00" for 7200."""
    sign = "-" if seconds_east < 0 else "+"
    hours, minutes = divmod(abs(seconds_east) // 60, 60)
    return f"UTC{sign}{hours:02}:{minutes:02}"


def _fixed_offset(timezone: str) -> int | None:
    """Seconds east of UTC for "UTC" or "UTC+02:00"; None for other names."""
    match = re.fullmatch(r"UTC(?:([+-])(\d\d):(\d\d))?", timezone)
    if not match:
        return None
    sign, hours, minutes = match.groups(default="0")
    seconds = int(hours) * SECONDS_PER_HOUR + int(minutes) * 60
    if int(minutes) >= 60 or seconds >= SECONDS_PER_DAY:
        return None
    return -seconds if sign == "-" else seconds


def _zone(timezone: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        expected = "UTC, UTC+02:00, or a name such as Europe/Berlin"
        hint = "write the zone in one of these ways, or omit it"
        what, where = "The time zone is unknown.", "`timezone`"
        raise InputError(what, where=where, got=repr(timezone), expected=expected, hint=hint) from error


def _offset(zone: zoneinfo.ZoneInfo, epoch_s: int) -> int:
    offset = datetime.fromtimestamp(epoch_s, zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0
