"""Days of moments, in zones with and without summer time."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv.data.days import EARLIEST_S, LATEST_S, DayClock, epoch_of, local_time, name_of_offset, utc_offsets
from rwkv.errors import InputError


def moment(zone: str, year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(zone)).timestamp())


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Pacific/Chatham"])
def test_days_follow_the_clock_on_the_wall(zone: str) -> None:
    """Every day of a year begins at 4 o'clock there, also those of 23 and 25 hours."""
    starts = [moment(zone, 2024, month, day, 4) for month in range(1, 13) for day in range(1, 29)]
    before, at = (DayClock(zone, 4).days(np.array(starts) + seconds) for seconds in (-1, 0))
    np.testing.assert_array_equal(at - before, 1)
    expected = [datetime(2024, month, day).timetuple().tm_yday for month in range(1, 13) for day in range(1, 29)]
    np.testing.assert_array_equal(at - at[0] + 1, expected)
    for start in starts:
        assert {DayClock(zone, 4).day_start_s(start + seconds) for seconds in (0, 3 * 3600, 22 * 3600)} == {start}


def test_fixed_offsets_have_no_summer_time() -> None:
    summer, winter = moment("Europe/Berlin", 2024, 7, 1, 3, 30), moment("Europe/Berlin", 2024, 1, 1, 3, 30)
    days = DayClock("UTC+01:00", 4).days(np.array([summer, winter]))
    assert days[0] - days[1] == 182
    days = DayClock("UTC+02:00", 4).days(np.array([summer, winter]))
    assert days[0] - days[1] == 181


@pytest.mark.parametrize(("name", "seconds"), [("UTC", 0), ("UTC+05:45", 20_700), ("UTC-03:30", -12_600)])
def test_names_of_offsets(name: str, seconds: int) -> None:
    for stated in (name, name_of_offset(seconds)):
        assert utc_offsets(np.array([0]), stated).tolist() == [seconds]


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "/etc/passwd", "UTC+2", "utc+02:00"])
def test_unknown_zones(name: str) -> None:
    with pytest.raises(InputError, match="time zone is unknown"):
        DayClock(name, 4)


@pytest.mark.parametrize("zone", ["UTC-03:30", "Asia/Tokyo"])
def test_moments_out_of_range_are_refused(zone: str) -> None:
    for epoch_s in (EARLIEST_S - 1, LATEST_S + 1, 10**15):
        with pytest.raises(InputError, match="out of range"):
            DayClock(zone, 4).days(np.array([0, epoch_s]))
    years = [local_time(epoch_s, "UTC").year for epoch_s in (EARLIEST_S, LATEST_S)]
    assert years == [100, 9000]


def test_local_time_is_that_of_the_clock_on_the_wall() -> None:
    assert f"{local_time(moment('Asia/Tokyo', 2024, 7, 1, 4), 'Asia/Tokyo'):%Y-%m-%d %H:%M}" == "2024-07-01 04:00"


@pytest.mark.parametrize("hour", [-1, 24])
def test_unknown_hours(hour: int) -> None:
    with pytest.raises(InputError, match="hour at which days begin is invalid"):
        DayClock("UTC", hour)


ZONES = ["Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe", "Africa/Casablanca", "UTC-03:30"]


@given(
    zone=st.sampled_from(ZONES),
    rollover_hour=st.integers(0, 23),
    start=st.datetimes(datetime(2023, 1, 1), datetime(2026, 1, 1)),
    days=st.integers(0, 800),
)
def test_a_moment_some_days_later_has_the_same_local_time(
    zone: str, rollover_hour: int, start: datetime, days: int
) -> None:
    """Whatever the clock does in between: the day is the wanted one, and the time is the same unless it is skipped."""
    clock, first = DayClock(zone, rollover_hour), epoch_of(start, zone)
    later = clock.later(first, days)
    number = clock.days(np.array([int(first // 1), int(later // 1)]))
    assert number[1] - number[0] == days
    shown, requested = (local_time(at, zone).replace(tzinfo=None) for at in (later, first))
    exact = local_time(epoch_of(requested + timedelta(days), zone), zone).replace(tzinfo=None) == requested + timedelta(
        days
    )
    assert abs(shown - requested - timedelta(days)) <= timedelta(0 if exact else 1 / 24)


@given(
    zone=st.sampled_from(ZONES),
    rollover_hour=st.integers(0, 23),
    at_s=st.integers(moment("UTC", 2023, 1, 1), moment("UTC", 2026, 1, 1)),
)
def test_a_date_changes_at_the_rollover_hour(zone: str, rollover_hour: int, at_s: int) -> None:
    """On the clock: where it was changed in between, so many hours before is another time."""
    expected = (local_time(at_s, zone) - timedelta(hours=rollover_hour)).date()
    assert DayClock(zone, rollover_hour).date(at_s) == expected


def test_local_times_are_converted_in_their_zone() -> None:
    """On days of 23 and 25 hours before and after the change; the hour that comes twice, and that which never comes."""
    zone = "America/Los_Angeles"
    for day in (datetime(2027, 3, 14), datetime(2027, 11, 7)):
        for hour in (0, 4, 9, 23):
            local = day.replace(hour=hour)
            assert local_time(epoch_of(local, zone), zone).replace(tzinfo=None) == local
    twice, skipped = datetime(2027, 11, 7, 1, 30), datetime(2027, 3, 14, 2, 30)
    assert epoch_of(twice, zone, 1) - epoch_of(twice, zone) == 3600
    assert [local_time(epoch_of(skipped, zone, fold), zone).hour for fold in (0, 1)] == [3, 1]
    assert epoch_of(datetime(2024, 1, 1), "UTC+05:30") == moment("Asia/Kolkata", 2024, 1, 1)
    with pytest.raises(InputError, match="time zone is unknown"):
        epoch_of(twice, "Nowhere/Here")


@pytest.mark.parametrize(
    ("zone", "hour", "inside", "start"),
    [
        # The clock is set back from 2:00 to 1:00: the day begins the first time that it shows 1:00.
        ("America/Los_Angeles", 1, (2027, 11, 7, 12), 1_825_574_400),
        # It is set forward from 2:00 to 3:00: the day of which 2:00 is skipped begins at 3:00.
        ("America/Los_Angeles", 2, (2027, 3, 14, 12), 1_805_018_400),
        # From 0:00 to 1:00, and from 1:00 to 0:00.
        ("America/Havana", 0, (2024, 3, 10, 9), 1_710_046_800),
        ("America/Havana", 0, (2024, 11, 3, 9), 1_730_606_400),
        # Half an hour, from 2:00 to 1:30.
        ("Australia/Lord_Howe", 2, (2024, 4, 7, 12), 1_712_417_400),
    ],
)
def test_days_on_which_the_clock_is_changed(zone: str, hour: int, inside: tuple[int, ...], start: int) -> None:
    clock = DayClock(zone, hour)
    assert clock.day_start_s(moment(zone, *inside)) == start
    before, at = clock.days(np.array([start - 1, start]))
    assert at == before + 1
    # Nothing on that day belongs to the day before, also where the hour comes a second time.
    assert set(clock.days(start + np.arange(0, 22 * 3600, 600)).tolist()) == {at}
