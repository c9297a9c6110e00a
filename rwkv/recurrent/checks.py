"""What a review must be like before it may change anything (spec 1 and 7)."""

from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np

from rwkv.data.history import RevlogTable
from rwkv.errors import HistoryError
from rwkv.recurrent.features import Review, Totals
from rwkv.vocab import RATINGS

_WHOLE = tuple(name for name in Review.__dataclass_fields__ if not name.endswith("_missing"))
# Name -> how many bits the signed number has, as in a RevlogTable.
_BITS = dict.fromkeys(_WHOLE, 63) | {"day_offset": 31, "elapsed_days": 31, "state": 7}
_IN_ORDER = "reviews in time order"


def checked(review: Review, totals: Totals) -> Review:
    """The review as it is to be taken in. Raises HistoryError, naming the review, where it cannot be.

    Intervals below -1 and durations below 0, which clocks that were set back leave, are taken as 0, as in a history.
    """
    where = f"review {review.review_th} of card {review.card}"
    if not all(type(getattr(review, name)) is int for name in _WHOLE):
        whole: dict[str, Any] = {name: _whole(getattr(review, name), name, where) for name in _WHOLE}
        review = replace(review, **whole)
    for name, bits in _BITS.items():
        if not -(1 << bits) <= getattr(review, name) < 1 << bits:
            raise HistoryError(f"{name} is out of range.", where=where, got=str(getattr(review, name)))
    if review.rating not in RATINGS:
        raise HistoryError("The rating is none of the four.", where=where, got=str(review.rating), expected="1 to 4")
    _check_order(review.review_th, review.day_offset, totals, where)
    if review.elapsed_days >= -1 and review.elapsed_s >= -1 and review.duration_ms >= 0:
        return review
    return replace(
        review,
        elapsed_days=_not_below(review.elapsed_days, -1),
        elapsed_s=_not_below(review.elapsed_s, -1),
        duration_ms=_not_below(review.duration_ms, 0),
    )


def checked_table(table: RevlogTable, totals: Totals) -> RevlogTable:
    """The same of a whole history that follows what was taken in so far."""
    if len(table) == 0:
        return table
    outside = ~np.isin(table.rating, RATINGS)
    if outside.any():
        row = int(outside.argmax())
        got = str(table.rating[row])
        raise HistoryError("The rating is none of the four.", where=_row(table, row), got=got, expected="1 to 4")
    for name in ("review_th", "day_offset"):
        column = getattr(table, name).astype(np.int64)
        backwards = np.diff(column) < (1 if name == "review_th" else 0)
        if backwards.any():
            row = int(backwards.argmax()) + 1
            got = f"{column[row]} after {column[row - 1]}"
            raise HistoryError(f"{name} runs backwards.", where=_row(table, row), got=got, expected=_IN_ORDER)
    _check_order(int(table.review_th[0]), int(table.day_offset[0]), totals, _row(table, 0))
    return replace(
        table,
        elapsed_days=np.where(table.elapsed_days < -1, 0, table.elapsed_days),
        elapsed_s=np.where(table.elapsed_s < -1, 0, table.elapsed_s),
        duration_ms=np.maximum(table.duration_ms, 0),
    )


def _check_order(review_th: int, day_offset: int, totals: Totals, where: str) -> None:
    if review_th <= totals.review_th:
        got = f"{review_th} after {totals.review_th}"
        raise HistoryError("review_th runs backwards.", where=where, got=got, expected=_IN_ORDER)
    if totals.today is not None and day_offset < totals.today:
        got = f"{day_offset} after {totals.today}"
        raise HistoryError("day_offset runs backwards.", where=where, got=got, expected=_IN_ORDER)


def _whole(value: object, name: str, where: str) -> int:
    """NumPy's whole numbers become Python's; anything else is refused."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise HistoryError(f"{name} is not a whole number.", where=where, got=repr(value))
    return int(value)


def _not_below(value: int, least: int) -> int:
    return 0 if value < least else value


def _row(table: RevlogTable, row: int) -> str:
    return f"user {table.user}, row {row + 1}: review {table.review_th[row]} of card {table.card[row]}"
