"""Decks, presets and settings of a collection, from the old JSON (schema 11) and the new tables (15 and later).

Source: proto/anki/decks.proto and deck_config.proto of Anki say what the fields are.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rwkv.data.anki.protobuf import fields, float_field, float_list, message_field
from rwkv.data.collection import DEFAULT_RETENTION
from rwkv.errors import InputError

_OLD_SCHEMA = 11
_TABLES_SINCE, _NEWEST_SCHEMA = 15, 18
_WANTED = ("rollover", "localOffset", "creationOffset", "schedVer", "fsrs")

# Fields of Deck.KindContainer, Deck.Normal and DeckConfig.Config.
_NORMAL, _CONFIG_ID, _DECK_RETENTION = 1, 1, 10
_FSRS_PARAMS, _PRESET_RETENTION = (6, 5, 3), 37
_FSRS_PARAMS_JSON = ("fsrsParams6", "fsrsParams5", "fsrsWeights")
_NAME_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Deck:
    """A deck that is not filtered. name: in full, "A::B". desired_retention: its own, or None to take the preset's."""

    deck_id: int
    name: str
    preset_id: int
    desired_retention: float | None


@dataclass(frozen=True)
class Preset:
    """Deck options. fsrs_params: of the newest FSRS version that was optimised, or empty."""

    preset_id: int
    name: str
    desired_retention: float
    fsrs_params: tuple[float, ...]


@dataclass(frozen=True)
class Settings:
    """What a collection says beside its reviews, cards and notes.

    created_s: epoch seconds at which its days are counted from. rollover_hour, offsets in seconds east of UTC: None
    where they are not recorded. is_old_scheduler: the learning buttons are numbered Again 1, Good 2, Easy 3.
    """

    created_s: int
    rollover_hour: int | None
    local_offset_s: int | None
    creation_offset_s: int | None
    is_old_scheduler: bool
    has_fsrs: bool
    decks: tuple[Deck, ...]
    presets: tuple[Preset, ...]


def read_settings(database: sqlite3.Connection, where: str) -> Settings:
    """Read them straight from the database. Raises InputError where the schema is not known, or they make no sense."""
    with _making_sense(where):
        created_s, schema = database.execute("SELECT crt, ver FROM col").fetchone()
        if schema == _OLD_SCHEMA:
            config, decks, presets = database.execute("SELECT conf, decks, dconf FROM col").fetchone()
            return settings_of(int(created_s), json.loads(config), json.loads(decks), json.loads(presets))
        if schema > _NEWEST_SCHEMA:
            hint = "export it from Anki with `Support older Anki versions`, or pip install -U anki"
            raise _unknown_schema("a newer", schema, where, hint)
        if schema < _TABLES_SINCE:
            raise _unknown_schema("an older", schema, where, "open it once in a current Anki")
        config = {key: json.loads(value) for key, value in database.execute("SELECT key, val FROM config")}
        decks = database.execute("SELECT id, name, kind FROM decks").fetchall()
        presets = database.execute("SELECT id, name, config FROM deck_config").fetchall()
        return _settings(
            int(created_s),
            config,
            [deck for deck_id, name, kind in decks for deck in _deck(deck_id, name, kind, where)],
            [_preset(preset_id, name, packed, where) for preset_id, name, packed in presets],
        )


@contextmanager
def _making_sense(where: str) -> Iterator[None]:
    """The door for settings of another form than Anki's."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "let Anki check it with Tools > Check Database, or export it again"
        raise InputError("A part of the collection is damaged.", where=where, got=repr(error), hint=hint) from error


def _unknown_schema(what: str, schema: int, where: str, hint: str) -> InputError:
    expected = f"{_OLD_SCHEMA}, or {_TABLES_SINCE} to {_NEWEST_SCHEMA}"
    return InputError(
        f"The collection is of {what} schema.", where=where, got=str(schema), expected=expected, hint=hint
    )


def settings_of(
    created_s: int, config: Mapping[str, Any], decks: Mapping[str, Any], presets: Mapping[str, Any]
) -> Settings:
    """From the JSON of schema 11, which the official package speaks too; decks and presets by id."""
    return _settings(
        created_s,
        config,
        [_deck_of(deck) for deck in decks.values() if not deck.get("dyn")],
        [_preset_of(preset) for preset in presets.values()],
    )


def _settings(created_s: int, config: Mapping[str, Any], decks: Iterable[Deck], presets: Iterable[Preset]) -> Settings:
    stated = {name: config.get(name) for name in _WANTED}
    return Settings(
        created_s=created_s,
        rollover_hour=_integer(stated["rollover"]),
        local_offset_s=_seconds_east(stated["localOffset"]),
        creation_offset_s=_seconds_east(stated["creationOffset"]),
        is_old_scheduler=(_integer(stated["schedVer"]) or 1) == 1,
        has_fsrs=stated["fsrs"] is True,
        decks=tuple(sorted(decks, key=lambda deck: deck.deck_id)),
        presets=tuple(sorted(presets, key=lambda preset: preset.preset_id)),
    )


def _deck(deck_id: int, name: str, kind: bytes, where: str) -> Iterable[Deck]:
    """One deck, or none where it is filtered."""
    where = f"{where}, deck {deck_id}"
    normal = message_field(fields(kind, where), _NORMAL)
    if normal is None:
        return
    known = fields(normal, where)
    preset_id = _integer(known.get(_CONFIG_ID, [1])[-1]) or 1
    yield Deck(deck_id, name.replace(_NAME_SEPARATOR, "::"), preset_id, float_field(known, _DECK_RETENTION))


def _deck_of(deck: Mapping[str, Any]) -> Deck:
    percent = deck.get("desiredRetention")
    return Deck(int(deck["id"]), str(deck["name"]), int(deck.get("conf", 1)), percent / 100 if percent else None)


def _preset(preset_id: int, name: str, config: bytes, where: str) -> Preset:
    known = fields(config, f"{where}, preset {preset_id}")
    params = next((found for number in _FSRS_PARAMS if (found := float_list(known, number))), [])
    return Preset(preset_id, name, float_field(known, _PRESET_RETENTION) or DEFAULT_RETENTION, tuple(params))


def _preset_of(preset: Mapping[str, Any]) -> Preset:
    params: list[float] = next((found for name in _FSRS_PARAMS_JSON if (found := preset.get(name))), [])
    retention = preset.get("desiredRetention") or DEFAULT_RETENTION
    return Preset(int(preset["id"]), str(preset["name"]), float(retention), tuple(map(float, params)))


def _integer(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _seconds_east(minutes_west: object) -> int | None:
    minutes = _integer(minutes_west)
    return None if minutes is None else -60 * minutes
