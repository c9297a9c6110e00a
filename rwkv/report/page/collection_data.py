"""The page's data of the collection: compact columns of all cards, today's reviews, forecast and workload."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rwkv.arrays import AnyFloats, Bools, Ints
from rwkv.report.content import CURVE_TIMES_S, NEW, NO_HISTORY, CardsNow, Today, Workload
from rwkv.report.page.facts import Arrays, CardsFacts, DueFacts, ForecastFacts, IntervalFacts, WorkloadFacts
from rwkv.vocab import SECONDS_PER_DAY

# Recall and curves are stored in steps of 1/254, with an error of at most 0.002; 255 is unknown.
RECALL_STEPS = 254
UNKNOWN = 255

# The days of the forecast.
FORECAST_DAYS = 30

# Bits of a card's flags. The kind is in the higher bits.
SUSPENDED, DUE = 1, 2
_KIND_SHIFT = 2


def quantised(p: AnyFloats) -> npt.NDArray[np.uint8]:
    """Probabilities as integers from 0 to RECALL_STEPS, in the shape of p; UNKNOWN for NaN."""
    unknown = np.isnan(p)
    return np.where(unknown, UNKNOWN, np.rint(np.where(unknown, 0, p) * RECALL_STEPS)).astype(np.uint8)


def page_order(cards: CardsNow, decks: Sequence[str], due: Today | None) -> Ints:
    """The cards' rows in the page's order: by deck, then active, suspended and new cards, each by due time."""
    left_days = np.where(due_cards(cards, due), -np.inf, cards.interval_days - cards.elapsed_s / SECONDS_PER_DAY)
    last = cards.suspended + 2 * np.isnan(cards.p_now)
    return np.lexsort((cards.p_now, left_days, last, _deck(cards, decks)))


def _deck(cards: CardsNow, decks: Sequence[str]) -> Ints:
    return np.where(cards.deck < 0, len(decks), cards.deck)


def cards_data(cards: CardsNow, decks: Sequence[str], due: Today | None) -> tuple[CardsFacts, Arrays]:
    """Headline numbers, and columns of all cards in `page_order`.

    Returns:
        Facts, and arrays: recall, recall_asked and recall_fsrs uint8 [c], quantised; curves uint8 [64, c], differences
        of quantised recall from time to time modulo 256, which compress better; elapsed_s, interval_days, fsrs_days,
        anki_days, anki_due and goal float32 [c]; deck uint16 [c]; id int64 [c]; flags uint8 [c] (1 suspended, 2 due
        today, plus 4 times the kind); notes: UTF-8, one line per card.
    """
    order = page_order(cards, decks, due)
    seen = ~np.isnan(cards.p_now)
    is_due = due_cards(cards, due)
    facts: CardsFacts = {
        "count": len(cards),
        "reviewed": int(seen.sum()),
        "new": int((cards.kind == NEW).sum()),
        "no_history": int((cards.kind == NO_HISTORY).sum()),
        "suspended": int(cards.suspended.sum()),
        "mean_recall": float(cards.p_now[seen].mean()) if seen.any() else None,
        "known": float(cards.p_now[seen].sum()),
        "steps": RECALL_STEPS,
        "unknown": UNKNOWN,
        "curve_times_s": CURVE_TIMES_S.tolist(),
        "decks": [*decks, "(no deck)"],
    }
    curves = quantised(cards.curves[order]).T
    lines = "\n".join(" ".join(cards.note[row].split()) for row in order.tolist())
    flags = cards.suspended * SUSPENDED + is_due * DUE + (cards.kind.astype(np.uint8) << _KIND_SHIFT)
    floats = {
        "elapsed_s": cards.elapsed_s,
        "interval_days": cards.interval_days,
        "fsrs_days": cards.fsrs_days,
        "anki_days": cards.anki_days,
        "anki_due": cards.anki_due,
        "goal": cards.retention,
    }
    return facts, {
        "recall": quantised(cards.p_now[order]),
        "recall_asked": quantised(cards.p_asked[order]),
        "recall_fsrs": quantised(cards.p_fsrs[order]),
        "curves": np.diff(curves, axis=0, prepend=np.zeros((1, len(cards)), np.uint8)).reshape(-1),
        **{name: column[order].astype(np.float32) for name, column in floats.items()},
        "deck": _deck(cards, decks)[order].astype(np.uint16),
        "id": cards.card_id[order].astype(np.int64),
        "flags": flags[order].astype(np.uint8),
        "notes": np.frombuffer(lines.encode("utf-8", "replace"), np.uint8),
    }


def due_cards(cards: CardsNow, due: Today | None) -> Bools:
    """Whether each card is due today, bool [c]."""
    is_due = np.zeros(len(cards), bool)
    if due is not None:
        is_due[due.row] = True
    return is_due


def today_facts(due: Today) -> DueFacts:
    """The number of reviews, expected minutes and expected recall."""
    recall = None if np.isnan(due.recall) else due.recall
    return {"reviews": len(due.row), "minutes": due.minutes, "recall": recall}


def forecast_facts(cards: CardsNow, due: Today) -> ForecastFacts:
    """The numbers of cards by due day from today on: by RWKV [d], and by Anki, with its backlog apart.

    Suspended cards are left out. By RWKV a card is due on the first day on which recall, half a day later, is at or
    below the desired retention, as in `rwkv schedule`.
    """
    is_due = due_cards(cards, due)
    active = ~np.isnan(cards.p_now) & ~cards.suspended
    left_days = cards.interval_days - cards.elapsed_s / SECONDS_PER_DAY
    ahead = np.maximum(1, np.ceil(left_days[active & ~is_due] - 0.5))
    rwkv = _by_day(ahead)
    rwkv[0] = int(is_due.sum())
    anki_due = cards.anki_due[active & ~np.isnan(cards.anki_due)]
    anki = _by_day(anki_due[anki_due >= 0]) if len(anki_due) else None
    return {"days": FORECAST_DAYS, "rwkv": rwkv, "anki": anki, "anki_backlog": int((anki_due < 0).sum())}


def _by_day(day: AnyFloats) -> list[int]:
    near = day[day < FORECAST_DAYS].astype(np.int64)
    return np.bincount(near, minlength=FORECAST_DAYS).tolist()


# Upper limits of the classes of intervals, in days.
INTERVAL_ENDS = (1, 3, 7, 15, 31, 91, 182, 365, 730)
INTERVAL_NAMES = ("1 day", "2-3", "4-7", "8-15", "16-31", "1-3 mo", "3-6 mo", "6-12 mo", "1-2 y", "over 2 y")


def interval_facts(cards: CardsNow) -> IntervalFacts:
    """The numbers of cards by class of interval, for RWKV, FSRS-6 and Anki."""
    columns = {"RWKV": cards.interval_days, "FSRS-6": cards.fsrs_days, "Anki": cards.anki_days}
    counts = {
        name: np.bincount(
            np.searchsorted(INTERVAL_ENDS, np.round(days[~np.isnan(days)])), minlength=len(INTERVAL_NAMES)
        )
        for name, days in columns.items()
        if (~np.isnan(days)).any()
    }
    return {"names": INTERVAL_NAMES, "counts": {name: count.tolist() for name, count in counts.items()}}


def workload_facts(workload: Workload) -> WorkloadFacts:
    """Reviews and minutes by retention and day, rounded to a tenth."""
    return {
        "retention": workload.retention.tolist(),
        "reviews": np.round(workload.reviews, 1).tolist(),
        "minutes": np.round(workload.minutes, 1).tolist(),
        "played": workload.played,
        "cards": workload.cards,
    }
