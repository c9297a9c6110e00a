"""The numbers of the past and of the days ahead in a report, against the same computed by hand."""

from dataclasses import replace

import numpy as np
import pytest

from bench.report_contents import DECKS, made_up_content
from rwkv.report.content import NEW, NO_HISTORY, CardsNow, PastReviews, Today
from rwkv.report.page.collection_data import forecast_facts, interval_facts, page_order
from rwkv.report.page.past_data import (
    LEECH_LAPSES,
    day_arrays,
    deck_facts,
    history_arrays,
    is_retention,
    lapses,
    month_facts,
    past_facts,
    retention_facts,
)
from tests.typed import not_none

CONTENT = made_up_content(cards=300, reviews=4000)
assert CONTENT.past is not None
assert CONTENT.cards is not None
PAST: PastReviews = CONTENT.past
CARDS: CardsNow = CONTENT.cards
TODAY = CONTENT.today

# 1 January 2026.
NEW_YEAR = 20_454


def reviews(days: list[int], ratings: list[int], gaps: list[int]) -> PastReviews:
    """Reviews of one card on these days since 1970; gaps: days since its review before."""
    count = len(days)
    return PastReviews(
        card=np.zeros(count, np.int64),
        deck=np.zeros(count, np.int32),
        rating=np.array(ratings, np.int8),
        state=np.full(count, 2, np.int8),
        elapsed_days=np.array(gaps, np.int32),
        elapsed_s=np.array(gaps, np.int64) * 86_400,
        duration_ms=np.full(count, 30_000),
        day=np.array(days, np.int64),
        hour=np.full(count, 7, np.int8),
        p={},
        has_dates=True,
    )


def test_retention_is_of_later_days_this_month_and_before() -> None:
    """First answers and same-day answers do not count, whatever they were."""
    past = reviews([0, 0, 5, 40, 60, 69, 70], [1, 1, 3, 1, 2, 1, 4], [-1, 0, 5, 35, 20, 9, 1])
    facts = retention_facts(past, today=70, goal=0.9)
    assert facts["before"] == [2, 1]  # days 5 and 40; the month begins with day 41
    assert facts["month"] == [3, 2]
    assert facts["month_ends"] == 0


def test_a_month_long_ago_ends_with_the_last_review() -> None:
    past = reviews([0, 5, 40], [3, 3, 1], [-1, 5, 35])
    facts = retention_facts(past, today=500, goal=0.9)
    assert (facts["month_ends"], facts["month"], facts["before"]) == (460, [1, 0], [1, 1])


def test_a_month_of_learning_alone_does_not_hide_the_retention_before_it() -> None:
    """New cards that were answered today count in no retention."""
    past = reviews([0, 5, 40, 499, 500], [3, 3, 1, 1, 3], [-1, 5, 35, -1, 0])
    facts = retention_facts(past, today=500, goal=0.9)
    assert (facts["month_ends"], facts["month"], facts["before"]) == (460, [1, 0], [1, 1])


def test_without_a_retention_the_month_ends_today() -> None:
    facts = retention_facts(reviews([3, 3], [1, 3], [-1, 0]), today=500, goal=0.9)
    assert (facts["month_ends"], facts["month"], facts["before"]) == (0, [0, 0], [0, 0])


def test_months_separate_young_and_mature_cards() -> None:
    past = reviews([NEW_YEAR - 1, NEW_YEAR, NEW_YEAR + 30, NEW_YEAR + 31], [3, 1, 3, 1], [20, 21, 30, 1])
    counted, mature = is_retention(past), past.elapsed_days >= 21
    facts = month_facts(past, counted & ~mature, mature)
    assert [month["name"] for month in facts] == ["2025-12", "2026-01", "2026-02"]
    assert [(month["young"], month["young_recalled"]) for month in facts] == [(1, 1), (0, 0), (1, 0)]
    assert [(month["mature"], month["mature_recalled"]) for month in facts] == [(0, 0), (2, 1), (0, 0)]


def test_days_run_to_today_with_all_reviews_and_minutes() -> None:
    arrays = day_arrays(PAST, TODAY + 5)
    assert arrays["day_reviews"].sum() == len(PAST)
    assert arrays["day_minutes"].sum() == pytest.approx(PAST.duration_ms.sum() / 60_000, rel=1e-5)  # float32
    assert arrays["day_first"][0] + len(arrays["day_reviews"]) - 1 == TODAY + 5
    day = int(PAST.day[1234])
    assert arrays["day_reviews"][day - arrays["day_first"][0]] == (PAST.day == day).sum()


def test_buttons_and_hours_count_every_answer_once() -> None:
    facts = past_facts(PAST, TODAY, 0.9)
    buttons = np.array(list(facts["buttons"].values()))
    assert buttons.sum(0).tolist() == [(PAST.rating == rating).sum() for rating in (1, 2, 3, 4)]
    assert buttons[0].sum() == (PAST.elapsed_days < 1).sum()
    hours = not_none(facts["hours"])
    assert sum(hours["reviews"]) == len(PAST)
    assert hours["counted"][19] == ((PAST.hour == 19) & (PAST.elapsed_days >= 1)).sum()
    unknown = replace(PAST, hour=np.full(len(PAST), -1, np.int8))
    assert past_facts(unknown, TODAY, 0.9)["hours"] is None


def test_a_leech_lapsed_on_later_days() -> None:
    forgotten = [1] * (LEECH_LAPSES + 2)
    past = reviews(list(range(len(forgotten))), forgotten, [-1, 0, *[1] * LEECH_LAPSES])
    assert lapses(past, 2).tolist() == [LEECH_LAPSES, 0]
    deleted = replace(past, card=np.full(len(past), -1))
    assert lapses(deleted, 2).tolist() == [0, 0]


def test_decks_hold_their_own_cards_and_reviews() -> None:
    due = np.zeros(len(CARDS), bool)
    due[::5] = True
    facts = deck_facts(PAST, CARDS, due, DECKS, TODAY)
    assert sum(row["cards"] for row in facts) == len(CARDS)
    assert [row["name"] for row in facts] == sorted(row["name"] for row in facts)
    for row in facts:
        in_deck = CARDS.deck == DECKS.index(str(row["name"]))
        assert row["recall"] == pytest.approx(np.nanmean(CARDS.p_now[in_deck]))
        assert row["fsrs"] == pytest.approx(np.mean(CARDS.p_fsrs[in_deck & ~np.isnan(CARDS.p_now)]))
        assert row["due"] == (in_deck & due).sum()
        recent = (PAST.deck == DECKS.index(str(row["name"]))) & (PAST.elapsed_days >= 1) & (PAST.day > TODAY - 90)
        assert (row["counted"], row["recalled"]) == (recent.sum(), (recent & (PAST.rating > 1)).sum())


def test_every_card_has_its_own_history() -> None:
    place = np.empty(len(CARDS), np.int64)
    place[page_order(CARDS, DECKS, None)] = np.arange(len(CARDS))
    arrays = history_arrays(PAST, place, 254)
    assert arrays["hist_first"][-1] == len(arrays["hist_day"]) == (PAST.card >= 0).sum()
    for card in (0, 17, int(PAST.card[100])):
        span = slice(*arrays["hist_first"][place[card] : place[card] + 2].tolist())
        rows = PAST.card == card
        assert arrays["hist_day"][span].tolist() == PAST.day[rows].tolist()
        assert arrays["hist_rating"][span].tolist() == PAST.rating[rows].tolist()
        sent = arrays["hist_p_RWKV"][span]
        p = PAST.p["RWKV"][rows]
        assert ((sent == 255) == np.isnan(p)).all()
        assert sent[sent != 255] / 254 == pytest.approx(p[~np.isnan(p)], abs=0.5 / 254 + 1e-9)


# --- The days ahead


def test_the_forecast_holds_each_card_on_one_day() -> None:
    none = Today(np.empty(0, np.int64), 0.0, float("nan"))
    asked = ~np.isnan(CARDS.p_now) & ~CARDS.suspended
    rows = np.flatnonzero(asked)[:4]
    cards = replace(
        CARDS,
        interval_days=np.where(asked, 1000.0, np.nan),
        elapsed_s=np.where(asked, 0.0, np.nan),
        anki_due=np.full(len(CARDS), np.nan),
    )
    # Due on the first day whose end, half a day later, lies behind the interval; today is for what is asked today.
    cards.interval_days[rows] = [0.2, 1.4, 1.6, 29.4]
    facts = forecast_facts(cards, none)
    assert np.flatnonzero(facts["rwkv"]).tolist() == [1, 2, 29]
    assert facts["rwkv"][1] == 2
    assert facts["anki"] is None
    facts = forecast_facts(cards, Today(rows[:2], 1.0, 0.8))
    assert np.flatnonzero(facts["rwkv"]).tolist() == [0, 2, 29]


def test_ankis_backlog_was_due_before_today() -> None:
    asked = np.flatnonzero(~np.isnan(CARDS.p_now) & ~CARDS.suspended)
    cards = replace(CARDS, anki_due=np.full(len(CARDS), np.nan))
    cards.anki_due[asked[:6]] = [-100, -1, 0, 0, 3, 400]
    cards.anki_due[np.flatnonzero(CARDS.suspended)] = -5
    facts = forecast_facts(cards, Today(np.empty(0, np.int64), 0.0, float("nan")))
    assert facts["anki_backlog"] == 2
    anki = not_none(facts["anki"])
    assert np.flatnonzero(anki).tolist() == [0, 3]
    assert anki[0] == 2


def test_intervals_are_counted_by_class() -> None:
    cards = replace(CARDS, interval_days=np.full(len(CARDS), np.nan))
    cards.interval_days[:5] = [0.2, 1.4, 2.0, 31.4, np.inf]
    facts = interval_facts(cards)
    counts = dict(zip(facts["names"], facts["counts"]["RWKV"], strict=True))
    assert {name: count for name, count in counts.items() if count} == {"1 day": 2, "2-3": 1, "16-31": 1, "over 2 y": 1}


def test_three_kinds_of_cards_are_counted() -> None:
    from rwkv.report.page.collection_data import cards_data

    kind = CARDS.kind.copy()
    kind[np.flatnonzero(kind == NEW)[:2]] = NO_HISTORY
    facts, _ = cards_data(replace(CARDS, kind=kind), DECKS, None)
    assert (facts["reviewed"], facts["new"], facts["no_history"]) == (
        (kind == 0).sum(),
        (kind == NEW).sum(),
        2,
    )
