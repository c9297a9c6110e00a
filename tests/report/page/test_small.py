"""The report in a real browser with little data, with many decks, or with hostile names."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.report_contents import DECKS, made_up_content
from rwkv.report.content import NEW, CardsNow, PredictedReviews, ReportContent, TrainingRun
from rwkv.report.page.prediction_data import MOST_DECKS
from tests.browser import OpenPage
from tests.report.page.report_files import CONTENT, written

if TYPE_CHECKING:
    from playwright.sync_api import Browser

assert CONTENT.reviews is not None
assert CONTENT.cards is not None
REVIEWS: PredictedReviews = CONTENT.reviews
CARDS: CardsNow = CONTENT.cards


def test_a_report_of_one_new_card_and_one_review(chromium: "Browser", tmp_path: Path) -> None:
    """The smallest collection: no card has a curve, no bin is large enough to be drawn."""
    nothing = np.array([np.nan])
    one_card = CardsNow(
        card_id=np.array([2**62]),
        note=[""],
        deck=np.array([-1], np.int32),
        kind=np.array([NEW], np.uint8),
        suspended=np.array([False]),
        curves=np.full((1, 64), np.nan),
        retention=np.array([0.9]),
        **dict.fromkeys(
            ("p_now", "p_asked", "p_fsrs", "elapsed_s", "interval_days", "fsrs_days", "anki_days", "anki_due"), nothing
        ),
    )
    one = {name: getattr(REVIEWS, name)[:1] for name in ("y", "elapsed_s", "same_day", "deck", "person", "day")}
    reviews = replace(REVIEWS, p={"RWKV": np.array([0.9])}, has_dates=False, **one)
    page = OpenPage(
        chromium,
        written(
            tmp_path, ReportContent("Small", "", decks=DECKS, decks_of_reviews=DECKS, cards=one_card, reviews=reviews)
        ),
    )
    assert page.visible("main section") == ["overview", "map", "predicted"]
    assert page.texts("#map-histogram") == ["No card has been reviewed yet."]
    assert "A diagram needs" in page.texts("#calibration-chart")[0]
    assert "needs two periods" in page.texts("#loss-chart")[0]
    assert page.complaints == []
    page.close()


def first_reviews(reviews: PredictedReviews, count: int) -> PredictedReviews:
    columns = {name: getattr(reviews, name)[:count] for name in ("y", "elapsed_s", "same_day", "deck", "person", "day")}
    return replace(reviews, p={name: p[:count] for name, p in reviews.p.items()}, **columns)


def test_little_data_gives_sentences_and_whole_ticks(chromium: "Browser", tmp_path: Path) -> None:
    """Twelve cards on two days: no giant bar over fractions of a second, no axis from -1, no empty diagonal."""
    few = made_up_content(cards=12, reviews=14)
    assert few.past is not None
    assert few.reviews is not None
    past = replace(few.past, day=few.today - 1 + (np.arange(14) > 6))
    page = OpenPage(chromium, written(tmp_path, replace(few, past=past, reviews=first_reviews(few.reviews, 14))))
    assert "A diagram needs" in page.texts("#calibration-chart")[0]
    assert page.texts("#months-chart")[0].startswith("This chart needs two months")
    assert "too few reviews for a verdict" in page.texts("#trust p")[0]
    ticks = page.run("() => [...document.querySelectorAll('.xtick text')].map(t => t.textContent)")
    assert ticks
    assert [tick for tick in ticks if "59" in tick or tick.startswith(("-", "\u2212"))] == []
    dates = page.run("() => [...document.querySelectorAll('#days-reviews .xtick text')].map(t => t.textContent.trim())")
    assert len(dates) == len(set(dates)) <= 3
    assert page.complaints == []
    page.close()


def test_days_ahead_begin_with_today(report: OpenPage) -> None:
    for chart in ("forecast-chart", "workload-days"):
        assert report.run("id => document.getElementById(id).data[0].x[0]", chart) == 0
    assert report.run("() => document.getElementById('forecast-chart').data[0].text[0]") == "today"
    axes = report.run("() => Object.keys(document.getElementById('workload-retention')._fullLayout)")
    assert "yaxis2" not in axes  # minutes alone


def test_calibration_has_groups_of_equal_counts(report: OpenPage) -> None:
    points = report.run(
        "() => document.getElementById('calibration-chart').data.filter(t => t.customdata).map(t => t.customdata)"
    )
    assert len(points) == 3
    for groups in points:
        counts = [count for count, _, _ in groups]
        later = int((~REVIEWS.same_day).sum())
        assert sum(counts) == later
        assert len(counts) >= 8
        # As even as bins that are a hundred and twentieth of the scale allow.
        assert max(counts) < 3 * later / len(counts)


def test_algorithms_are_shown_and_hidden_by_buttons(report: OpenPage) -> None:
    drawn = "id => new Set(document.getElementById(id).data.map(t => t.name)).has('AVG')"
    charts = ("loss-chart", "calibration-chart")
    assert [report.run(drawn, chart) for chart in charts] == [False, False]
    report.page.locator("#algorithms button", has_text="AVG").last.click()
    assert [report.run(drawn, chart) for chart in charts] == [True, True]
    assert report.run("() => document.querySelectorAll('#predicted .legend').length") == 0
    report.page.locator("#algorithms button", has_text="AVG").last.click()
    assert [report.run(drawn, chart) for chart in charts] == [False, False]


def test_decks_without_such_reviews_cannot_be_chosen(chromium: "Browser", tmp_path: Path) -> None:
    same_day = (REVIEWS.deck == DECKS.index("Kanji")) | REVIEWS.same_day
    page = OpenPage(chromium, written(tmp_path, replace(CONTENT, reviews=replace(REVIEWS, same_day=same_day))))
    option = page.page.locator("#filter-deck option[value=Kanji]")
    assert option.evaluate("option => [option.disabled, option.text]") == [True, "Kanji (0)"]
    page.page.select_option("#filter-same-day", "with")
    option = page.page.locator("#filter-deck option[value=Kanji]")
    assert option.evaluate("option => option.disabled") is False
    page.close()


def test_compared_people_are_not_mixed_into_the_first(chromium: "Browser", tmp_path: Path) -> None:
    half = len(REVIEWS) // 2
    person = (np.arange(len(REVIEWS)) >= half).astype(np.int32)
    people = ("Ada", "Bob")
    content = replace(
        CONTENT,
        people=people,
        reviews=replace(REVIEWS, person=person),
        compared={name: {"RWKV": 0.3, "FSRS-6": 0.2} for name in people},
    )
    page = OpenPage(chromium, written(tmp_path, content))
    own = int((~REVIEWS.same_day[:half]).sum())
    assert page.texts("#filter-count") == [f"{own:,} reviews"]
    assert f"{own:,}" in page.texts("#trust p")[0]
    page.page.select_option("#filter-person", label="Bob")
    assert page.texts("#filter-count") == [f"{(~REVIEWS.same_day[half:]).sum():,} reviews"]
    page.page.select_option("#filter-person", "")
    assert page.texts("#filter-count") == [f"{(~REVIEWS.same_day).sum():,} reviews"]
    assert page.table("compared-table")["Bob"][1] == "0.3000"
    assert page.complaints == []
    page.close()


@pytest.mark.parametrize("key", ["validation_<a href='http://evil.example'>win</a>", "validation_<b>bold</b>"])
def test_keys_of_a_log_are_escaped(chromium: "Browser", tmp_path: Path, key: str) -> None:
    steps = np.array([1, 2, 3])
    run = TrainingRun("run", {"loss": (steps, steps / 1.0), key: (steps, steps / 2.0)})
    page = OpenPage(chromium, written(tmp_path, ReportContent("Training", "", training=[run])))
    assert page.run("() => document.querySelectorAll('#training a, #training b').length") == 0
    legend = page.run("() => [...document.querySelectorAll('#training .legendtext')].map(t => t.textContent)")
    assert any("<" in text for text in legend)
    assert page.complaints == []
    page.close()


def test_backticks_are_code(chromium: "Browser", tmp_path: Path) -> None:
    content = replace(CONTENT, facts=[("Today", "the reviews of `rwkv schedule`")], notice="See `rwkv info`.")
    page = OpenPage(chromium, written(tmp_path, content))
    assert page.texts("#facts dd") == ["the reviews of rwkv schedule"]
    assert page.texts("#facts code, #notice code") == ["rwkv info", "rwkv schedule"]
    page.close()


def test_a_phone_shows_the_first_screen_and_a_card(chromium: "Browser", tmp_path: Path) -> None:
    page = OpenPage(chromium, written(tmp_path), width=390, height=844)
    page.page.locator("#weak button").first.click()
    assert page.page.locator("#card").is_visible()
    assert page.run("() => document.documentElement.scrollWidth") <= 390
    box = page.run(
        "() => { const b = document.getElementById('card-chart').getBoundingClientRect(); return [b.top, b.bottom]; }"
    )
    assert 0 < box[0] < box[1] < 844
    page.page.click("#card-close")
    page.close()


def test_more_decks_than_the_filter_lists(chromium: "Browser", tmp_path: Path) -> None:
    decks = [f"Parent::{i}" for i in range(MOST_DECKS + 100)]
    rng = np.random.default_rng(2)
    reviews = replace(REVIEWS, deck=rng.integers(0, len(decks), len(REVIEWS)).astype(np.int32))
    cards = replace(CARDS, deck=rng.integers(0, len(decks), len(CARDS)).astype(np.int32))
    page = OpenPage(
        chromium, written(tmp_path, replace(CONTENT, decks=decks, decks_of_reviews=decks, reviews=reviews, cards=cards))
    )
    assert page.run("() => document.getElementById('filter-deck').options.length") == MOST_DECKS + 3
    assert page.complaints == []
    page.close()


def test_a_deck_without_a_name_is_not_listed_below_the_map(chromium: "Browser", tmp_path: Path) -> None:
    """As in a report of CSV, which has no decks."""
    content = replace(CONTENT, decks=("", *DECKS[1:]))
    page = OpenPage(chromium, written(tmp_path, content), width=390, height=844)
    assert "  (" not in page.run("() => document.getElementById('map-small').textContent")
    page.close()
