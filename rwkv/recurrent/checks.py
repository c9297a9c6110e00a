"""Checks of reviews, histories and draws before they change anything (spec 1 and 7)."""

import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np

from rwkv.arrays import Ints
from rwkv.data.history import RevlogTable, order_by_card
from rwkv.errors import HistoryError, InputError
from rwkv.model.inputs import SequenceDraw
from rwkv.model.spec import CYCLE_DAYS
from rwkv.recurrent.features import Review, Totals
from rwkv.vocab import RATINGS

_FLAGS = ("note_missing", "deck_missing", "preset_missing", "shares_note_code")
_WHOLE = tuple(name for name in Review.__dataclass_fields__ if name not in _FLAGS)
# Bits of each signed column besides its sign, as in a RevlogTable.
_BITS = dict.fromkeys(_WHOLE, 63) | {"day_offset": 31, "elapsed_days": 31, "state": 7}
_IN_ORDER = "reviews in time order"
# Next steps.
_CORRECT, _SORT = "correct the review", "sort the reviews; an engine cannot go back in time"


def checked(review: Review, totals: Totals) -> Review:
    """Check a review that follows `totals`.

    Returns:
        The review with Python integers and a duration in whole milliseconds. Intervals below -1 and negative
        durations, which clocks that were set back leave, become 0.

    Raises:
        HistoryError: A value is invalid or the review is out of order.
    """
    where = f"review {review.review_th} of card {review.card}"
    if not all(type(getattr(review, name)) is int for name in _WHOLE):
        whole: dict[str, Any] = {name: _whole(getattr(review, name), name, where) for name in _WHOLE}
        review = replace(review, **whole)
    for name, bits in _BITS.items():
        if not -(1 << bits) <= getattr(review, name) < 1 << bits:
            got = str(getattr(review, name))
            raise HistoryError(f"{name} is out of range.", where=where, got=got, hint=_CORRECT)
    if review.rating not in RATINGS:
        got = str(review.rating)
        raise HistoryError("The rating is invalid.", where=where, got=got, expected="1 to 4", hint=_CORRECT)
    _check_order(review.review_th, review.day_offset, totals, where)
    if review.elapsed_days >= -1 and review.elapsed_s >= -1 and review.duration_ms >= 0:
        return review
    return replace(
        review,
        elapsed_days=_not_below(review.elapsed_days, -1),
        elapsed_s=_not_below(review.elapsed_s, -1),
        duration_ms=max(0, int(review.duration_ms)),
    )


def checked_durations(duration_ms: Sequence[float]) -> list[int]:
    """Check the answer times of the four ratings.

    Returns:
        The times in whole milliseconds, [4].

    Raises:
        InputError: There are not four, or one is negative or not finite.
    """
    durations = [_whole(duration, "duration_ms", "the answers") for duration in duration_ms]
    if len(durations) != len(RATINGS) or not all(0 <= duration < 2**63 for duration in durations):
        expected = f"{len(RATINGS)} durations of 0 ms or more, one for each rating"
        what, hint = "The durations of the answers are invalid.", "pass one duration for each rating"
        raise InputError(what, where="duration_ms", got=str(durations), expected=expected, hint=hint)
    return durations


def check_draw(draw: SequenceDraw) -> None:
    """Check the draw of the random encodings.

    Raises:
        InputError: The draw does not have the form that `draw_sequence` returns.
    """
    fits = isinstance(draw.prefix, int) and 0 <= draw.prefix < 2**64 and len(draw.phases) == len(CYCLE_DAYS)
    if not fits or not all(isinstance(phase, int) and 0 <= phase < 2**31 for phase in draw.phases):
        expected = f"a prefix of 64 bits and {len(CYCLE_DAYS)} phases of 0 days or more, as from `draw_sequence`"
        what, hint = "The draw of the random encodings is invalid.", "pass what `draw_sequence` returns"
        raise InputError(what, where="draw", got=repr(draw)[:200], expected=expected, hint=hint)


def checked_table(table: RevlogTable, totals: Totals) -> RevlogTable:
    """Check a history that follows `totals`, like `checked`; errors name the row."""
    if len(table) == 0:
        return table
    outside = ~np.isin(table.rating, RATINGS)
    if outside.any():
        row = int(outside.argmax())
        got = str(table.rating[row])
        raise HistoryError("The rating is invalid.", where=_row(table, row), got=got, expected="1 to 4", hint=_CORRECT)
    for name in ("review_th", "day_offset"):
        column = getattr(table, name).astype(np.int64)
        backwards = np.diff(column) < (1 if name == "review_th" else 0)
        if backwards.any():
            row = int(backwards.argmax()) + 1
            got = f"{column[row]} after {column[row - 1]}"
            where = _row(table, row)
            raise HistoryError(f"{name} is out of order.", where=where, got=got, expected=_IN_ORDER, hint=_SORT)
    _check_order(int(table.review_th[0]), int(table.day_offset[0]), totals, _row(table, 0))
    return replace(
        table,
        elapsed_days=np.where(table.elapsed_days < -1, 0, table.elapsed_days),
        elapsed_s=np.where(table.elapsed_s < -1, 0, table.elapsed_s),
        duration_ms=_whole_durations(table),
    )


def check_different_cards(table: RevlogTable) -> None:
    """Raise HistoryError if a card has two rows."""
    repeated = order_by_card(table.card).previous >= 0
    if repeated.any():
        where = _row(table, int(repeated.argmax()))
        expected, hint = "at most one review of each card", "pass the later review in another call"
        raise HistoryError("A card occurs twice.", where=where, expected=expected, hint=hint)


def _check_order(review_th: int, day_offset: int, totals: Totals, where: str) -> None:
    if review_th <= totals.review_th:
        got = f"{review_th} after {totals.review_th}"
        raise HistoryError("review_th is out of order.", where=where, got=got, expected=_IN_ORDER, hint=_SORT)
    if totals.today is not None and day_offset < totals.today:
        got = f"{day_offset} after {totals.today}"
        raise HistoryError("day_offset is out of order.", where=where, got=got, expected=_IN_ORDER, hint=_SORT)


def _whole_durations(table: RevlogTable) -> Ints:
    odd = ~(np.abs(table.duration_ms) < 2.0**63)
    if odd.any():
        row = int(odd.argmax())
        got = str(table.duration_ms[row])
        raise HistoryError("duration_ms is out of range.", where=_row(table, row), got=got, hint=_CORRECT)
    # Integers are not converted, since large ones do not fit into a float.
    durations = table.duration_ms if table.duration_ms.dtype.kind == "i" else np.rint(table.duration_ms)
    return np.maximum(durations, 0).astype(np.int64)


def _whole(value: object, name: str, where: str) -> int:
    """Convert NumPy's integers to Python's and round durations; refuse anything else."""
    if name == "duration_ms" and isinstance(value, float | np.floating) and math.isfinite(value):
        return round(float(value))
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise HistoryError(f"{name} is not a whole number.", where=where, got=repr(value), hint="convert it to int")
    return int(value)


def _not_below(value: int, least: int) -> int:
    return 0 if value < least else value


def _row(table: RevlogTable, row: int) -> str:
    return f"user {table.user}, row {row + 1}: review {table.review_th[row]} of card {table.card[row]}"
