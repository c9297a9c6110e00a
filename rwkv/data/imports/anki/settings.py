"""Decks, presets and settings of a collection, from the old JSON (schema 11) or the new tables (15 and later).

Values out of range are handled as in Anki. Source: proto/anki/decks.proto and deck_config.proto of Anki for the fields;
rslib/src/config/mod.rs and deckconfig/mod.rs (ensure_deck_config_values_valid) for the limits.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from rwkv.data.collection import DEFAULT_RETENTION
from rwkv.data.days import EARLIEST_S, LATEST_S
from rwkv.data.imports.anki.database import part
from rwkv.data.imports.anki.protobuf import fields, float_field, float_list, message_field
from rwkv.errors import InputError

Part = TypeVar("Part")

_OLD_SCHEMA = 11
_TABLES_SINCE, _NEWEST_SCHEMA = 15, 18
_WANTED = ("rollover", "localOffset", "creationOffset", "schedVer", "fsrs")

# Field numbers of Deck.KindContainer, Deck.Normal and DeckConfig.Config.
_NORMAL, _CONFIG_ID, _DECK_RETENTION = 1, 1, 10
_FSRS_PARAMS, _PRESET_RETENTION = (6, 5, 3), 37
_FSRS_PARAMS_JSON = ("fsrsParams6", "fsrsParams5", "fsrsWeights")
_NAME_SEPARATOR = "\x1f"

# The range of Anki's preset options. Values outside become the default.
_LEAST_RETENTION, _MOST_RETENTION = np.float32(0.7), np.float32(0.99)
_LAST_HOUR, _MOST_STORED_HOUR = 23, 255
_MINUTES_A_DAY = 1440
_OLD_SCHEDULER, _NEW_SCHEDULER = 1, 2


@dataclass(frozen=True)
class Deck:
    """A deck that is not filtered. name: the full name "A::B". desired_retention: its own, or None for the preset's."""

    deck_id: int
    name: str
    preset_id: int
    desired_retention: float | None


@dataclass(frozen=True)
class Preset:
    """Deck options. fsrs_params: those of the newest optimised FSRS version, or empty."""

    preset_id: int
    name: str
    desired_retention: float
    fsrs_params: tuple[float, ...]


@dataclass(frozen=True)
class Settings:
    """The settings of a collection.

    Attributes:
        created_s: Epoch seconds from which days are counted.
        rollover_hour, local_offset_s, creation_offset_s: The hour at which days begin, and offsets in seconds east of
            UTC; None if not recorded.
        names_old_scheduler: Whether it names the old scheduler, or none; see rwkv.data.imports.anki.buttons.
        corrections: Notices about values out of range.
    """

    created_s: int
    rollover_hour: int | None
    local_offset_s: int | None
    creation_offset_s: int | None
    names_old_scheduler: bool
    has_fsrs: bool
    decks: tuple[Deck, ...]
    presets: tuple[Preset, ...]
    corrections: tuple[str, ...]


def read_settings(database: sqlite3.Connection, where: str) -> Settings:
    """Read the settings from the database. Raises InputError if the schema is unknown, or values are invalid."""
    with part(where, "table col"):
        created_s, schema = database.execute("SELECT crt, ver FROM col").fetchone()
        if schema == _OLD_SCHEMA:
            stated = database.execute("SELECT conf, decks, dconf FROM col").fetchone()
            config, decks, presets = (json.loads(text) for text in stated)
            return settings_of(created_s, config, decks, presets, where)
        if schema > _NEWEST_SCHEMA:
            hint = "export it from Anki with `Support older Anki versions`, or pip install -U anki"
            raise _unknown_schema("a newer", schema, where, hint)
        if schema < _TABLES_SINCE:
            raise _unknown_schema("an older", schema, where, "open it once in a current Anki")
    with part(where, "table config"):
        config = {key: _json(value) for key, value in database.execute("SELECT key, val FROM config") if key in _WANTED}
    with part(where, "table decks"):
        rows = database.execute("SELECT id, name, kind FROM decks").fetchall()
        decks = [deck for deck_id, name, kind in rows for deck in _deck(deck_id, name, kind, where)]
    with part(where, "table deck_config"):
        rows = database.execute("SELECT id, name, config FROM deck_config").fetchall()
        presets = [_preset(preset_id, name, packed, where) for preset_id, name, packed in rows]
    return _settings(created_s, config, decks, presets, where)


def _json(text: bytes | str) -> object:
    """A value of the new settings table; None if it is not JSON, as in Anki."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None


def _unknown_schema(what: str, schema: int, where: str, hint: str) -> InputError:
    expected = f"{_OLD_SCHEMA}, or {_TABLES_SINCE} to {_NEWEST_SCHEMA}"
    return InputError(f"The collection has {what} schema.", where=where, got=str(schema), expected=expected, hint=hint)


def settings_of(
    created_s: object, config: Mapping[str, Any], decks: Mapping[str, Any], presets: Mapping[str, Any], where: str
) -> Settings:
    """Settings from the JSON of schema 11, which Anki's package also returns, with decks and presets by id.

    Raises:
        InputError: Values are invalid.
    """
    with part(where, "decks"):
        normal = [_deck_of(deck) for deck in decks.values() if not deck.get("dyn")]
    with part(where, "presets"):
        options = [_preset_of(preset) for preset in presets.values()]
    return _settings(created_s, config, normal, options, where)


def _settings(
    created_s: Any, config: Mapping[str, Any], decks: Iterable[Deck], presets: Iterable[Preset], where: str
) -> Settings:
    corrections: list[str] = []
    with part(where, "time of creation"):
        created_s = int(created_s)
        if not EARLIEST_S <= created_s <= LATEST_S:
            raise ValueError(f"{created_s} seconds since 1970")
    with part(where, "settings"):
        stated = {name: config.get(name) for name in _WANTED}
        return Settings(
            created_s=created_s,
            rollover_hour=_rollover(stated["rollover"], corrections),
            local_offset_s=_seconds_east("localOffset", stated, corrections),
            creation_offset_s=_seconds_east("creationOffset", stated, corrections),
            names_old_scheduler=_is_old(stated["schedVer"], corrections),
            has_fsrs=stated["fsrs"] is True,
            decks=_by_id((deck.deck_id, deck) for deck in decks),
            presets=_by_id((preset.preset_id, preset) for preset in presets),
            corrections=tuple(corrections),
        )


def _by_id(numbered: Iterable[tuple[int, Part]]) -> tuple[Part, ...]:
    """Parts in order of their ids. The last one counts if an id repeats."""
    parts = dict(numbered)
    return tuple(parts[number] for number in sorted(parts))


def _deck(deck_id: object, name: object, kind: bytes, where: str) -> Iterable[Deck]:
    """One deck, or none if it is filtered."""
    where = f"{where}, deck {deck_id}"
    normal = message_field(fields(kind, where), _NORMAL)
    if normal is None:
        return
    values = fields(normal, where)
    preset_id = values.get(_CONFIG_ID, [1])[-1]
    share = float_field(values, _DECK_RETENTION)
    # Anki's JSON has whole percents, so both ways of reading agree.
    percent = None if share is None or not np.isfinite(share) else int(np.float32(share) * np.float32(100))
    yield Deck(_id(deck_id), _text(name).replace(_NAME_SEPARATOR, "::"), _id(preset_id or 1), _share(percent))


def _deck_of(deck: Mapping[str, Any]) -> Deck:
    return Deck(_id(deck["id"]), _text(deck["name"]), _id(deck.get("conf", 1)), _share(deck.get("desiredRetention")))


def _preset(preset_id: object, name: object, config: bytes, where: str) -> Preset:
    values = fields(config, f"{where}, preset {preset_id}")
    params = next(filter(None, (float_list(values, number) for number in _FSRS_PARAMS)), [])
    return Preset(_id(preset_id), _text(name), _retention(float_field(values, _PRESET_RETENTION)), tuple(params))


def _preset_of(preset: Mapping[str, Any]) -> Preset:
    params: list[float] = next(filter(None, map(preset.get, _FSRS_PARAMS_JSON)), [])
    retention = _retention(preset.get("desiredRetention"))
    return Preset(_id(preset["id"]), _text(preset["name"]), retention, tuple(map(float, params)))


def _id(value: Any) -> int:
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise OverflowError(f"the id {number} has more than 64 bits")
    return number


def _text(value: object) -> str:
    """Text without surrogates, which JSON may contain but files cannot."""
    return str(value).encode(errors="replace").decode()


def _whole(value: object) -> int | None:
    """A whole number, or None for anything else, also for 4.0 and true, as in Anki."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _retention(value: object) -> float:
    """A preset's desired retention, or Anki's default if it is missing or out of range."""
    if not isinstance(value, int | float) or not abs(value) <= 1:
        return DEFAULT_RETENTION
    return float(value) if _LEAST_RETENTION <= np.float32(value) <= _MOST_RETENTION else DEFAULT_RETENTION


def _share(percent: object) -> float | None:
    """A deck's own desired retention, or None if it is missing or not between 0 and 1."""
    number = _whole(percent)
    return number / 100 if number is not None and 0 < number < 100 else None


def _rollover(value: object, corrections: list[str]) -> int | None:
    hour = _whole(value)
    if value is None or (hour is not None and 0 <= hour <= _LAST_HOUR):
        return hour
    taken = _LAST_HOUR if hour is not None and _LAST_HOUR < hour <= _MOST_STORED_HOUR else None
    meaning = "is invalid and ignored" if taken is None else f"Anki takes as {taken}"
    corrections.append(f"its days begin at hour {value!r:.40}, which {meaning} (see `rollover_hour`)")
    return taken


def _seconds_east(name: str, stated: Mapping[str, Any], corrections: list[str]) -> int | None:
    """Seconds east of UTC from recorded minutes west; None if missing or more than a day."""
    value = stated[name]
    minutes = _whole(value)
    if minutes is not None and abs(minutes) < _MINUTES_A_DAY:
        return -60 * minutes
    if value is not None:
        corrections.append(f"its {name} of {value!r:.40} minutes west of UTC is invalid and ignored (see `timezone`)")
    return None


def _is_old(value: object, corrections: list[str]) -> bool:
    if value not in (None, _OLD_SCHEDULER, _NEW_SCHEDULER):
        corrections.append(f"its scheduler {value!r:.40} is unknown; its answers decide (see `grades`)")
    return value != _NEW_SCHEDULER
