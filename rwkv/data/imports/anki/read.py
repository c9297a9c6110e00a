"""Import an Anki collection."""

import time
from pathlib import Path

import numpy as np

from rwkv.arrays import Bools
from rwkv.data.days import EARLIEST_S, DayClock
from rwkv.data.imports.anki.archive import OpenedSource
from rwkv.data.imports.anki.buttons import judged
from rwkv.data.imports.anki.card_list import card_list, deck_columns
from rwkv.data.imports.anki.clock import clock_of
from rwkv.data.imports.anki.database import RevlogRows, connected, part, read_cards, read_notes, read_revlog
from rwkv.data.imports.anki.official import has_anki, read_by_anki
from rwkv.data.imports.anki.rules import kept_reviews
from rwkv.data.imports.anki.settings import Settings, read_settings
from rwkv.data.imports.imported import ImportChoices, ImportedUser, TimedReviews, rule_text
from rwkv.errors import InputError

# The facts' `grades` if no, some or all answers are mapped.
_GRADES = ("as recorded", "old scheduler, mapped in part", "old scheduler, mapped")
# Only for shared decks is the form evidence of the scheduler; Anki exports any whole collection in the new form.
_TELLING_FORMS = ("apkg", "csv")
_KINDS = {"apkg": "shared decks", "colpkg": "a whole collection"}

_CLOCK_BEHIND = "check this computer's clock"
_NO_REVIEWS = "use a collection with learned cards; docs/formats.md explains which entries count"


def read_anki(
    opened: OpenedSource, choices: ImportChoices, by_anki: bool | None = None, now_ms: int | None = None
) -> ImportedUser:
    """Read a collection by the rules of docs/formats.md.

    Args:
        opened: The opened source.
        choices: The import's options.
        by_anki: Whether to read decks, presets and settings with Anki's package or from the tables, with the same
            result. None: with the package if it is installed, and from the tables if that fails.
        now_ms: The time of the import in epoch milliseconds; None for now.

    Raises:
        InputError: The collection cannot be read, or has no reviews.
    """
    where = str(opened.source)
    notices: list[str] = []
    try:
        database, settings = _opened_by_anki(opened, by_anki)
    except InputError as error:
        if by_anki:
            raise
        database, settings = opened.database, None
        notices.append(f"Anki's own package cannot open the collection; reading its tables instead. {error}")
    with connected(database, where) as connection:
        settings = settings or read_settings(connection, where)
        with part(where, "table revlog"):
            revlog = read_revlog(connection)
        with part(where, "table cards"):
            rows = read_cards(connection)
        notes = read_notes(connection, rows.note_id)
    if notes.damage:
        notices.append(f"its notes are damaged ({notes.damage}); reviews are kept, but some names of cards are lost")
    kind, is_old, clock, reasons = _decided(opened, revlog, settings, choices)
    reviews, counts = _reviews(revlog, is_old, int(time.time() * 1000) if now_ms is None else now_ms, where, kind)
    return ImportedUser(
        source=opened.source.name,
        sha256=opened.sha256,
        kind=kind,
        name=opened.name,
        reviews=reviews,
        clock=clock,
        card_list=card_list(rows, notes, settings, clock, int(reviews.time_ms[0] // 1000)),
        cards={"card_id": rows.card_id, "note_id": rows.note_id, "deck_id": rows.deck_id},
        decks=deck_columns(settings.decks),
        grades=_GRADES[bool(is_old.any()) + bool(is_old.all())],
        has_fsrs=settings.has_fsrs,
        fsrs_params={preset.name: list(preset.fsrs_params) for preset in settings.presets if preset.fsrs_params},
        counts=counts,
        notices=(*notices, *reasons),
    )


def _opened_by_anki(opened: OpenedSource, by_anki: bool | None) -> tuple[Path, Settings | None]:
    """The database and its settings by Anki's package, or the source's database and None."""
    if has_anki() if by_anki is None else by_anki:
        return read_by_anki(opened.database, opened.scratch, str(opened.source))
    return opened.database, None


def _decided(
    opened: OpenedSource, revlog: RevlogRows, settings: Settings, choices: ImportChoices
) -> tuple[str, Bools, DayClock, list[str]]:
    """The source's kind, whether each answer has the old buttons, the clock, and notices."""
    kind = opened.kind or ("apkg" if settings.local_offset_s is None else "colpkg")
    verdict = judged(revlog, settings.names_old_scheduler, kind in _TELLING_FORMS and opened.is_new_form)
    has_old_days = settings.names_old_scheduler and bool(verdict.is_old[-1:].all())  # the last scheduler's days
    clock, guesses = clock_of(settings, choices, kind == "apkg", has_old_days)
    if not opened.kind:
        guesses.append(f"the file's name does not tell the kind of export; judging by its contents, {_KINDS[kind]}")
    if choices.grades != "auto":
        is_old = np.full(len(revlog.ease), choices.grades == "old")
        return kind, is_old, clock, [*settings.corrections, *guesses]
    return kind, verdict.is_old, clock, [*settings.corrections, *guesses, *verdict.reasons]


def _reviews(
    revlog: RevlogRows, is_old: Bools, now_ms: int, where: str, kind: str
) -> tuple[TimedReviews, dict[str, int]]:
    kept, counts = kept_reviews(revlog, is_old, now_ms)
    if len(kept.row) == 0:
        met = "; ".join(f"{count:,} {rule_text(name, count)}" for name, count in counts.items() if count)
        hint = "export it with `Include scheduling information`" if kind == "apkg" else _NO_REVIEWS
        hint = _CLOCK_BEHIND if counts["in_the_future"] else hint
        raise InputError("The collection has no reviews.", where=where, got=met or "an empty revlog", hint=hint)
    time_ms = revlog.time_ms[kept.row]
    if time_ms[0] < EARLIEST_S * 1000:
        got, hint = f"{time_ms[0]} milliseconds since 1970", "delete this entry, or export the collection again"
        raise InputError("The time of a review is out of range.", where=f"{where}, table revlog", got=got, hint=hint)
    reviews = TimedReviews(
        card_id=revlog.card_id[kept.row],
        time_ms=time_ms,
        rating=kept.rating,
        state=kept.state,
        duration_ms=revlog.duration_ms[kept.row],
    )
    return reviews, counts
