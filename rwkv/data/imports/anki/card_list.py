"""Names, decks and due days of a collection's cards."""

import numpy as np

from rwkv.arrays import Floats, Ints
from rwkv.data.collection import DEFAULT_RETENTION, CardList, Texts
from rwkv.data.days import LATEST_S, DayClock, utc_offsets
from rwkv.data.imports.anki.database import CardRows, NoteNames
from rwkv.data.imports.anki.settings import Deck, Settings
from rwkv.data.tables import Columns
from rwkv.vocab import SECONDS_PER_DAY

# Larger due values are epoch seconds, smaller ones days of the collection. Source: Anki's card/mod.rs.
_FIRST_MOMENT = 1_000_000_000
_NEW, _SUSPENDED = 0, -1


def card_list(rows: CardRows, notes: NoteNames, settings: Settings, clock: DayClock, first_s: int) -> CardList:
    """Names and due days of all cards. first_s: epoch seconds of the first review, which is on day 0."""
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
        note=_of_notes(notes.name, rows.note_id, notes),
        deck=np.array([deck.name if deck else "" for deck in of_deck], object)[of_card],
        preset=np.array([its.name if its else "" for its in preset], object)[of_card],
        due_day=_due_days(rows, settings, clock) - clock.days(np.array([first_s]))[0],
        interval_days=np.maximum(0, rows.interval),
        is_new=rows.kind == _NEW,
        is_suspended=rows.queue == _SUSPENDED,
        desired_retention=np.array(retention, np.float64)[of_card],
        tags=_of_notes(notes.tags, rows.note_id, notes),
    )


def _due_days(rows: CardRows, settings: Settings, clock: DayClock) -> Floats:
    """The due day of each card by the clock, float64 [cards]; NaN for a new card, whose due value is a position."""
    offset_s = settings.creation_offset_s
    if offset_s is None:
        offset_s = int(utc_offsets(np.array([settings.created_s]), clock.timezone)[0])
    first_day = (settings.created_s + offset_s) // SECONDS_PER_DAY
    due = np.clip(rows.due, -_FIRST_MOMENT, LATEST_S)
    day = np.where(due > _FIRST_MOMENT, clock.days(np.maximum(0, due)), first_day + due)
    return np.where(rows.kind == _NEW, np.nan, day)


def _of_notes(texts: Texts, note_id: Ints, notes: NoteNames) -> Texts:
    """The text of each note id, from texts by note; "" if the note does not exist."""
    padded = np.append(texts, "")
    place = np.searchsorted(notes.note_id, note_id)
    is_known = np.append(notes.note_id, -1)[place] == note_id
    return padded[np.where(is_known, place, len(texts))]


def deck_columns(decks: tuple[Deck, ...]) -> Columns:
    """The table `decks` of spec 1. parent_id is 0 without a parent, as in Anki's export for research."""
    by_name = {deck.name: deck.deck_id for deck in decks}
    parents = [by_name.get(deck.name.rpartition("::")[0], 0) for deck in decks]
    return {
        "deck_id": np.array([deck.deck_id for deck in decks], np.int64),
        "parent_id": np.array(parents, np.int64),
        "preset_id": np.array([deck.preset_id for deck in decks], np.int64),
    }
