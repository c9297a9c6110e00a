"""Why a query matches no card: the source does not record what the query asks for."""

from typing import Any

import numpy as np
import numpy.typing as npt

from rwkv.collection.card_columns import card_columns
from rwkv.collection.card_query import Query
from rwkv.collection.learner import Learner

# What a column has of each card, and the terms that ask for it, in the order of the help.
_RECORDED = {
    "note": ("a text", ("words",)),
    "deck": ("a deck", ("deck:",)),
    "preset": ("a preset", ("preset:",)),
    "tags": ("a tag", ("tag:",)),
    "added_days": ("a date", ("added:",)),
    "anki_interval_days": ("an interval of Anki", ("prop:ivl",)),
    "due_in_days": ("a due day of Anki", ("is:due", "prop:due")),
}
# Every source has reviews and ids, and the model predicts every card.
_ALWAYS = ("rated:", "cid:", "prop:r", "prop:p", "prop:left")


def why_none_match(learner: Learner, query: Query, at_s: float) -> str | None:
    """What a query that matches no card asks for although no card has it, and the terms that can match.

    None if the query could match a card all the same: the reason is then another.

    Args:
        learner: The person.
        query: The query.
        at_s: The moment, in seconds of the learner's clock.
    """
    columns = card_columns(learner, at_s, None)
    has = {name: name in columns and not _is_empty(columns[name]) for name in _RECORDED}
    impossible = {term for name, (_, terms) in _RECORDED.items() if not has[name] for term in terms}
    if query.outcome(impossible) is not False or len(learner.cards) == 0:
        return None
    lacking = [
        what for name, (what, terms) in _RECORDED.items() if not has[name] and not query.asks_for.isdisjoint(terms)
    ]
    possible = [" and ".join(terms) for name, (_, terms) in _RECORDED.items() if has[name]]
    return f"no card here has {' or '.join(lacking)}. Terms that can match are {', '.join([*possible, *_ALWAYS])}"


def _is_empty(column: npt.NDArray[Any]) -> bool:
    """Whether a column has only empty texts, missing numbers, or zeros if it is of integers."""
    return bool(np.isnan(column).all()) if column.dtype.kind == "f" else not any(column.tolist())
