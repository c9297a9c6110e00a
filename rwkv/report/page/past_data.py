"""What the page shows of the past: days, months, buttons, hours, decks, cards that are forgotten again and again."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rwkv.arrays import AnyInts, Bools, Ints
from rwkv.report.content import CardsNow, PastReviews
from rwkv.vocab import RATINGS

Arrays = dict[str, npt.NDArray[np.generic]]
Facts = dict[str, object]

# Anki's: from such an interval on a card is mature, after so many lapses it is a leech.
MATURE_DAYS = 21
LEECH_LAPSES = 8

# The page's "this month", and how far back a deck's retention looks.
MONTH_DAYS = 30
DECK_DAYS = 90
# Of plain datasets, which have no dates, months are blocks of so many days.
_BLOCK_DAYS = 30

# Whose predictions are shown beside each review of a card.
IN_HISTORY = ("RWKV", "RWKV-P", "FSRS-6")
KINDS_OF_ANSWERS = ("learning", "young", "mature")


def is_retention(past: PastReviews) -> Bools:
    """Which reviews count as retention [r]: a card's first on a later day than its review before."""
    return past.elapsed_days >= 1


def past_facts(past: PastReviews, today: int, goal: float) -> Facts:
    """All but the arrays. today: a day, as those of the reviews. goal: the desired retention."""
    counted, came = is_retention(past), past.rating > 1
    mature = counted & (past.elapsed_days >= MATURE_DAYS)
    return {
        "reviews": len(past),
        "days": len(np.unique(past.day)),
        "today": today,
        "has_dates": past.has_dates,
        "mature_days": MATURE_DAYS,
        "leech_lapses": LEECH_LAPSES,
        "deck_days": DECK_DAYS,
        "retention": retention_facts(past, today, goal),
        "months": month_facts(past, counted & ~mature, mature),
        "buttons": {
            kind: _counts(past.rating[rows] - 1, len(RATINGS))
            for kind, rows in zip(KINDS_OF_ANSWERS, (~counted, counted & ~mature, mature), strict=True)
        },
        "hours": None
        if (past.hour < 0).any()
        else {
            "reviews": _counts(past.hour, 24),
            "counted": _counts(past.hour[counted], 24),
            "recalled": _counts(past.hour[counted & came], 24),
        },
    }


def retention_facts(past: PastReviews, today: int, goal: float) -> Facts:
    """Reviews and recalls of the last month and of all before it. Where it has none, it ends with the latest.

    month_ends: days before today.
    """
    counted, came = is_retention(past), past.rating > 1
    latest = int(past.day[counted].max()) if counted.any() else today
    last = today if latest > today - MONTH_DAYS else latest
    in_month = past.day > last - MONTH_DAYS
    return {
        "goal": goal,
        "month_days": MONTH_DAYS,
        "month_ends": today - last,
        "month": [int((counted & in_month).sum()), int((counted & in_month & came).sum())],
        "before": [int((counted & ~in_month).sum()), int((counted & ~in_month & came).sum())],
    }


def month_facts(past: PastReviews, young: Bools, mature: Bools) -> list[Facts]:
    """By month: its name, and reviews and recalls of young and mature cards."""
    if len(past) == 0:
        return []
    month = _months(past)
    first, count = int(month.min()), int(month.max() - month.min()) + 1
    came = past.rating > 1
    columns = {
        name: _counts(month[rows] - first, count)
        for name, rows in {
            "young": young,
            "young_recalled": young & came,
            "mature": mature,
            "mature_recalled": mature & came,
        }.items()
    }
    return [
        {"name": _month_name(first + i, past.has_dates), **{name: column[i] for name, column in columns.items()}}
        for i in range(count)
    ]


def _months(past: PastReviews) -> Ints:
    """A number for each review's month; they count on from month to month."""
    if not past.has_dates:
        return past.day // _BLOCK_DAYS
    return past.day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _month_name(month: int, has_dates: bool) -> str:
    return str(np.datetime64(month, "M")) if has_dates else f"day {month * _BLOCK_DAYS}"


def _counts(values: AnyInts, length: int) -> list[int]:
    return np.bincount(values.astype(np.int64), minlength=length).tolist()


def day_arrays(past: PastReviews, today: int) -> Arrays:
    """By day from the first review to today: reviews, minutes, and retention's reviews and recalls."""
    if len(past) == 0:
        return {}
    first = int(past.day.min())
    day, length = past.day - first, max(today, int(past.day.max())) - first + 1
    counted = is_retention(past)
    return {
        "day_first": np.array([first], np.int32),
        "day_reviews": np.bincount(day, minlength=length).astype(np.uint32),
        "day_minutes": np.bincount(day, past.duration_ms / 60_000, length).astype(np.float32),
        "day_counted": np.bincount(day[counted], minlength=length).astype(np.uint32),
        "day_recalled": np.bincount(day[counted & (past.rating > 1)], minlength=length).astype(np.uint32),
    }


# --- Cards and decks


def lapses(past: PastReviews, cards: int) -> Ints:
    """How often each of the cards [c] was forgotten when it was asked on a later day."""
    rows = is_retention(past) & (past.rating == 1) & (past.card >= 0)
    return np.bincount(past.card[rows], minlength=cards)


def deck_facts(past: PastReviews, cards: CardsNow, due: Bools, decks: Sequence[str], today: int) -> list[Facts]:
    """The table of decks that hold cards, by name. due [c]: which cards are to be asked today."""
    recent = is_retention(past) & (past.day > today - DECK_DAYS)
    leech = lapses(past, len(cards)) >= LEECH_LAPSES
    seen = ~np.isnan(cards.p_now)
    rows = []
    for number in sorted(set(cards.deck.tolist()), key=lambda index: decks[index] if index >= 0 else ""):
        in_deck, reviews = cards.deck == number, recent & (past.deck == number)
        known = in_deck & seen
        rows.append(
            {
                "name": decks[number] if number >= 0 else "(no deck)",
                "cards": int(in_deck.sum()),
                "reviewed": int(known.sum()),
                "recall": float(cards.p_now[known].mean()) if known.any() else None,
                "fsrs": float(cards.p_fsrs[known].mean()) if known.any() else None,
                "counted": int(reviews.sum()),
                "recalled": int((reviews & (past.rating > 1)).sum()),
                "due": int((in_deck & due).sum()),
                "leeches": int((in_deck & leech).sum()),
            }
        )
    return rows


def shown_in_history(past: PastReviews) -> list[str]:
    """The algorithms of IN_HISTORY that have predicted."""
    return [name for name in IN_HISTORY if name in past.p]


def history_arrays(past: PastReviews, place: Ints, steps: int) -> Arrays:
    """The reviews of each card side by side, cards in the page's order.

    place [c]: of each card on the page. hist_first [c + 1]: where each card's reviews begin. hist_p_*: recall as it was
    predicted, in `steps` equal steps, 255 unknown.
    """
    rows = np.flatnonzero(past.card >= 0)
    card = place[past.card[rows]]
    rows = rows[np.argsort(card, kind="stable")]
    arrays: Arrays = {
        "hist_first": np.append(0, np.cumsum(np.bincount(card, minlength=len(place)))).astype(np.uint32),
        "hist_day": past.day[rows].astype(np.int32),
        "hist_rating": past.rating[rows].astype(np.uint8),
        "hist_gap_s": past.elapsed_s[rows].astype(np.float32),
        "hist_tenths": np.minimum(65_535, past.duration_ms[rows] // 100).astype(np.uint16),
    }
    for name, p in ((name, past.p[name]) for name in shown_in_history(past)):
        known = ~np.isnan(p[rows])
        arrays[f"hist_p_{name}"] = np.where(known, np.rint(np.where(known, p[rows], 0) * steps), 255).astype(np.uint8)
    return arrays
