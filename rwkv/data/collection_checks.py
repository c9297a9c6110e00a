"""Whether the facts of an imported collection are of the kinds that they should be: anybody may have written them."""

from dataclasses import fields
from typing import Any, get_args, get_origin

from rwkv.data.days import EARLIEST_S, LATEST_S, DayClock
from rwkv.errors import InputError

# A whole number and a number of JSON; true and false are none.
_NUMBERS = {int: (int,), float: (int, float)}


def check_kinds(facts: Any) -> None:
    """Raise TypeError, naming the field, where one of a dataclass holds something else than it says."""
    for field in fields(facts):
        value = getattr(facts, field.name)
        if not _is_a(value, field.type):
            expected = getattr(field.type, "__name__", "") if not get_args(field.type) else str(field.type)
            raise TypeError(f"{field.name} is {value!r:.80}, not {expected}")


def check_calendar(timezone: str, rollover_hour: int, *moments_s: int) -> None:
    """Raise ValueError where there is no such zone or hour, or no calendar shows one of the moments."""
    try:
        DayClock(timezone, rollover_hour)
    except InputError as error:
        raise ValueError(f"{error.what} {timezone!r:.80}, {rollover_hour} o'clock") from error
    strange = [epoch_s for epoch_s in moments_s if not EARLIEST_S <= epoch_s <= LATEST_S]
    if strange:
        raise ValueError(f"no calendar shows {strange[0]} seconds since 1970")


def _is_a(value: object, kind: Any) -> bool:
    if get_origin(kind) is dict:
        of_key, of_value = get_args(kind)
        return isinstance(value, dict) and all(_is_a(key, of_key) and _is_a(it, of_value) for key, it in value.items())
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_is_a(it, get_args(kind)[0]) for it in value)
    if kind in _NUMBERS:
        return isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool)
    return isinstance(value, kind)
