"""An Anki collection -> what is imported of it."""

from datetime import datetime
from pathlib import Path

import numpy as np

from rwkv.data.anki.archive import OpenedSource
from rwkv.data.anki.database import CardRows, RevlogRows, connected, read_cards, read_notes, read_revlog
from rwkv.data.anki.official import has_anki, read_by_anki
from rwkv.data.anki.rules import kept_reviews
from rwkv.data.anki.settings import Deck, Settings, read_settings
from rwkv.data.arrow import Columns
from rwkv.data.collection import DEFAULT_RETENTION, CardList, Floats, Texts
from rwkv.data.days import LATEST_S, SECONDS_PER_HOUR, DayClock, name_of_offset, utc_offsets
from rwkv.data.history import Ints
from rwkv.data.imported import RULES, ImportChoices, ImportedUser
from rwkv.data.review_columns import TimedReviews
from rwkv.errors import InputError
from rwkv.vocab import SECONDS_PER_DAY

_DEFAULT_ROLLOVER = 4

# A due value above this is a moment in epoch seconds, one below it a day of the collection. Source: Anki's card/mod.rs.
_FIRST_MOMENT = 1_000_000_000
_NEW, _SUSPENDED = 0, -1

_NO_REVIEWS = "take a collection in which cards were learned; docs/formats.md says which entries count, and why"


def read_anki(opened: OpenedSource, choices: ImportChoices, by_anki: bool | None = None) -> ImportedUser:
    """Read a collection by the rules of docs/formats.md.

    by_anki: read decks, presets and settings by the official package, or straight from the tables, which gives the
    same. None: by the package where it is installed, and from the tables where it refuses the collection.
    Raises InputError where it cannot be read or has no reviews.
    """
    where = str(opened.source)
    refusal: tuple[str, ...] = ()
    try:
        database, settings = _opened_by_anki(opened, by_anki)
    except InputError as error:
        if by_anki:
            raise
        database, settings = opened.database, None
        refusal = (f"Anki's own package refuses the collection; it is read from its tables. {error}",)
    with connected(database, where) as connection:
        settings = settings or read_settings(connection, where)
        revlog, rows, notes = read_revlog(connection), read_cards(connection), read_notes(connection)
    map_grades = settings.is_old_scheduler and choices.grades == "auto"
    reviews, counts = _reviews(revlog, map_grades, opened)
    clock, notices = _clock(settings, choices, opened.kind)
    return ImportedUser(
        source=opened.source.name,
        sha256=opened.sha256,
        kind=opened.kind,
        name=opened.name,
        reviews=reviews,
        clock=clock,
        card_list=_card_list(rows, notes, settings, clock, int(reviews.time_ms[0] // 1000)),
        cards={"card_id": rows.card_id, "note_id": rows.note_id, "deck_id": rows.deck_id},
        decks=_deck_columns(settings.decks),
        grades="old scheduler, mapped" if map_grades else "as recorded",
        has_fsrs=settings.has_fsrs,
        fsrs_params={preset.name: list(preset.fsrs_params) for preset in settings.presets if preset.fsrs_params},
        counts=counts,
        notices=refusal + notices,
    )


def _opened_by_anki(opened: OpenedSource, by_anki: bool | None) -> tuple[Path, Settings | None]:
    """(database to read, settings), by Anki where that is wanted; (the source's database, None) otherwise."""
    if has_anki() if by_anki is None else by_anki:
        return read_by_anki(opened.database, opened.scratch, str(opened.source))
    return opened.database, None


def _reviews(revlog: RevlogRows, map_grades: bool, opened: OpenedSource) -> tuple[TimedReviews, dict[str, int]]:
    kept, counts = kept_reviews(revlog, map_grades)
    if len(kept.row) == 0:
        met = "; ".join(f"{count:,} {RULES[name]}" for name, count in counts.items() if count)
        by_kind = "export it with `Include scheduling information`" if opened.kind == "apkg" else _NO_REVIEWS
        raise InputError(
            "The collection has no reviews.", where=str(opened.source), got=met or "an empty revlog", hint=by_kind
        )
    reviews = TimedReviews(
        card_id=revlog.card_id[kept.row],
        time_ms=revlog.time_ms[kept.row],
        rating=kept.rating,
        state=kept.state,
        duration_ms=np.maximum(0, revlog.duration_ms[kept.row]),
    )
    return reviews, counts


def _clock(settings: Settings, choices: ImportChoices, kind: str) -> tuple[DayClock, tuple[str, ...]]:
    """When the collection's days begin, and what must be said of it."""
    notices: tuple[str, ...] = ()
    timezone = choices.timezone
    if timezone is None:
        offset_s = _recorded_offset(settings, kind)
        if offset_s is None:
            timezone = name_of_offset(_offset_here())
            notices = (f"the collection records no time zone: {timezone} of this computer is taken (see --timezone)",)
        else:
            timezone = name_of_offset(offset_s)
    rollover_hour = choices.rollover_hour
    if rollover_hour is None:
        rollover_hour = settings.rollover_hour
    if rollover_hour is None:
        rollover_hour = _old_rollover(settings.created_s, timezone) if settings.is_old_scheduler else _DEFAULT_ROLLOVER
    return DayClock(timezone, rollover_hour), notices


def _recorded_offset(settings: Settings, kind: str) -> int | None:
    """Seconds east of UTC where the collection says so.

    Anki records localOffset only where it is not UTC; a shared deck (.apkg) has none, but says where it was exported.
    """
    if settings.local_offset_s is not None or settings.creation_offset_s is None:
        return settings.local_offset_s
    return settings.creation_offset_s if kind == "apkg" else 0


def _offset_here() -> int:
    offset = datetime.now().astimezone().utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def _old_rollover(created_s: int, timezone: str) -> int:
    """The old scheduler's days begin at the hour at which the collection was created."""
    offset_s = int(utc_offsets(np.array([created_s]), timezone)[0])
    return (created_s + offset_s) // SECONDS_PER_HOUR % 24


def _card_list(
    rows: CardRows, notes: tuple[Ints, Texts], settings: Settings, clock: DayClock, first_s: int
) -> CardList:
    """Names and due days of all cards; first_s: epoch seconds of the first review, which lies in day 0."""
    decks = {deck.deck_id: deck for deck in settings.decks}
    presets = {preset.preset_id: preset for preset in settings.presets}
    deck_id, of_card = np.unique(rows.deck_id, return_inverse=True)
    of_deck = [decks.get(int(number)) for number in deck_id]
    preset = [presets.get(deck.preset_id) if deck else None for deck in of_deck]
    retention = [
        (deck.desired_retention if deck else None) or (its.desired_retention if its else DEFAULT_RETENTION)
        for deck, its in zip(of_deck, preset, strict=True)
    ]
    return CardList(
        card_id=rows.card_id,
        note_id=rows.note_id,
        deck_id=rows.deck_id,
        note=_texts_of(rows.note_id, *notes),
        deck=np.array([deck.name if deck else "" for deck in of_deck], object)[of_card],
        preset=np.array([its.name if its else "" for its in preset], object)[of_card],
        due_day=_due_days(rows, settings, clock) - clock.days(np.array([first_s]))[0],
        interval_days=np.maximum(0, rows.interval),
        is_new=rows.kind == _NEW,
        is_suspended=rows.queue == _SUSPENDED,
        desired_retention=np.array(retention, np.float64)[of_card],
    )


def _due_days(rows: CardRows, settings: Settings, clock: DayClock) -> Floats:
    """The day of the clock [cards] on which each card is due; NaN while it is new, when due is its place in a row."""
    offset_s = settings.creation_offset_s
    if offset_s is None:
        offset_s = int(utc_offsets(np.array([settings.created_s]), clock.timezone)[0])
    first_day = (settings.created_s + offset_s) // SECONDS_PER_DAY
    day = np.where(rows.due > _FIRST_MOMENT, clock.days(np.clip(rows.due, 0, LATEST_S)), first_day + rows.due)
    return np.where(rows.kind == _NEW, np.nan, day)


def _texts_of(wanted: Ints, note_id: Ints, text: Texts) -> Texts:
    """The text of each wanted note, "" where there is no such note."""
    known = np.append(text, "")
    place = np.searchsorted(note_id, wanted)
    found = np.append(note_id, -1)[place] == wanted
    return known[np.where(found, place, len(text))]


def _deck_columns(decks: tuple[Deck, ...]) -> Columns:
    """The table `decks` of spec 1. parent_id: 0 where there is none, as in Anki's own export for research."""
    by_name = {deck.name: deck.deck_id for deck in decks}
    parents = [by_name.get(deck.name.rpartition("::")[0], 0) for deck in decks]
    return {
        "deck_id": np.array([deck.deck_id for deck in decks], np.int64),
        "parent_id": np.array(parents, np.int64),
        "preset_id": np.array([deck.preset_id for deck in decks], np.int64),
    }
