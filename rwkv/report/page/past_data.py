"""The page's data of past reviews: days, months, buttons, hours, decks and leeches."""

from collections.abc import Sequence

import numpy as np

from rwkv.arrays import AnyInts, Bools, Ints
from rwkv.report.content import CardsNow, PastReviews, fsrs_shown
from rwkv.report.page.facts import AnswerFacts, Arrays, DeckFacts, MonthFacts, RetentionFacts
from rwkv.vocab import RATINGS

# Anki's limits: the interval in days of a mature card, and the lapses of a leech.
MATURE_DAYS = 21
LEECH_LAPSES = 8

# Days of the page's "last month", and of a deck's retention.
MONTH_DAYS = 30
DECK_DAYS = 90
# Days of a "month" in plain datasets, which have no dates.
_BLOCK_DAYS = 30

KINDS_OF_ANSWERS = ("learning", "young", "mature")


def is_retention(past: PastReviews) -> Bools:
    """Whether each review counts for retention, bool [r]: a card's first review of a day, with an earlier one."""
    return past.elapsed_days >= 1


def past_facts(past: PastReviews, today: int, goal: float) -> AnswerFacts:
    """The facts of past reviews. today: counted as the days of the reviews. goal: the desired retention."""
    counted, recalled = is_retention(past), past.rating > 1
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
            "recalled": _counts(past.hour[counted & recalled], 24),
        },
    }


def retention_facts(past: PastReviews, today: int, goal: float) -> RetentionFacts:
    """Reviews and recalls of the last month and of the time before.

    Without reviews in the last month, the month ends with the latest review, `month_ends` days before today.
    """
    counted, recalled = is_retention(past), past.rating > 1
    latest = int(past.day[counted].max()) if counted.any() else today
    last = today if latest > today - MONTH_DAYS else latest
    in_month = past.day > last - MONTH_DAYS
    return {
        "goal": goal,
        "month_days": MONTH_DAYS,
        "month_ends": today - last,
        "month": [int((counted & in_month).sum()), int((counted & in_month & recalled).sum())],
        "before": [int((counted & ~in_month).sum()), int((counted & ~in_month & recalled).sum())],
    }


def month_facts(past: PastReviews, young: Bools, mature: Bools) -> list[MonthFacts]:
    """The name of each month, with reviews and recalls of young and mature cards."""
    if len(past) == 0:
        return []
    month = _months(past)
    first, count = int(month.min()), int(month.max() - month.min()) + 1
    recalled = past.rating > 1
    groups = (young, young & recalled, mature, mature & recalled)
    counts = (_counts(month[rows] - first, count) for rows in groups)
    young_reviews, young_recalls, mature_reviews, mature_recalls = counts
    return [
        {
            "name": _month_name(first + i, past.has_dates),
            "young": young_reviews[i],
            "young_recalled": young_recalls[i],
            "mature": mature_reviews[i],
            "mature_recalled": mature_recalls[i],
        }
        for i in range(count)
    ]


def _months(past: PastReviews) -> Ints:
    """The number of each review's month. Consecutive months have consecutive numbers."""
    if not past.has_dates:
        return past.day // _BLOCK_DAYS
    return past.day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _month_name(month: int, has_dates: bool) -> str:
    return str(np.datetime64(month, "M")) if has_dates else f"day {month * _BLOCK_DAYS}"


def _counts(values: AnyInts, length: int) -> list[int]:
    return np.bincount(values.astype(np.int64), minlength=length).tolist()


def day_arrays(past: PastReviews, today: int) -> Arrays:
    """By day from the first review to today: reviews, minutes, and reviews and recalls for retention."""
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
    """The number of lapses of each card [c] in reviews on a later day."""
    rows = is_retention(past) & (past.rating == 1) & (past.card >= 0)
    return np.bincount(past.card[rows], minlength=cards)


def deck_facts(past: PastReviews, cards: CardsNow, due: Bools, decks: Sequence[str], today: int) -> list[DeckFacts]:
    """The table of non-empty decks, by name. due: whether each card is due today, bool [c]."""
    recent = is_retention(past) & (past.day > today - DECK_DAYS)
    leech = lapses(past, len(cards)) >= LEECH_LAPSES
    seen = ~np.isnan(cards.p_now)
    rows: list[DeckFacts] = []
    for number in sorted(set(cards.deck.tolist()), key=lambda index: decks[index] if index >= 0 else ""):
        in_deck, reviews = cards.deck == number, recent & (past.deck == number)
        reviewed = in_deck & seen
        rows.append(
            {
                "name": decks[number] if number >= 0 else "(no deck)",
                "cards": int(in_deck.sum()),
                "reviewed": int(reviewed.sum()),
                "recall": float(cards.p_now[reviewed].mean()) if reviewed.any() else None,
                "fsrs": float(cards.p_fsrs[reviewed].mean()) if reviewed.any() else None,
                "counted": int(reviews.sum()),
                "recalled": int((reviews & (past.rating > 1)).sum()),
                "due": int((in_deck & due).sum()),
                "leeches": int((in_deck & leech).sum()),
            }
        )
    return rows


def shown_in_history(past: PastReviews) -> list[str]:
    """The algorithms whose predictions are shown in a card's history."""
    return [name for name in ("RWKV", "RWKV-P", fsrs_shown(past.p)) if name in past.p]


def history_arrays(past: PastReviews, place: Ints, steps: int) -> Arrays:
    """The reviews grouped by card, in the page's order.

    Args:
        past: The reviews.
        place: The index of each card on the page [c].
        steps: The quantisation of probabilities.

    Returns:
        Arrays by name. hist_first [c + 1]: the index of each card's first review. hist_p_*: predicted recall from 0 to
        `steps`, 255 if unknown.
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
        is_predicted = ~np.isnan(p[rows])
        arrays[f"hist_p_{name}"] = np.where(
            is_predicted, np.rint(np.where(is_predicted, p[rows], 0) * steps), 255
        ).astype(np.uint8)
    return arrays
