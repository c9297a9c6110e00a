"""The report in a real browser: it draws, filters and searches, in light and dark, and on a phone."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import binomtest

from bench.report_contents import DECKS
from rwkv.evaluation.metrics import recall_metrics
from rwkv.report.content import CURVE_TIMES_S, CardsNow, PredictedReviews, ReportContent
from tests.browser import OpenPage
from tests.report.page.report_files import CONTENT, written

if TYPE_CHECKING:
    from playwright.sync_api import Browser

assert CONTENT.reviews is not None
assert CONTENT.cards is not None
REVIEWS: PredictedReviews = CONTENT.reviews
CARDS: CardsNow = CONTENT.cards
SECTIONS = ["overview", "map", "ahead", "past", "habits", "decks", "curves", "predicted", "comparison", "training"]
LONG = ("Deck" * 40, *DECKS[1:])
LINK, LOSSES = "validation_<a href='https://example.com'>ahead</a>", (np.arange(3), np.ones(3))
HOSTILE = "</script><img src=x onerror=alert(1)><b>bold</b>"


def test_all_sections_are_drawn(report: OpenPage) -> None:
    assert report.visible("main section") == SECTIONS
    charts = report.run(
        "() => [...document.querySelectorAll('.chart')].map(c => [c.id, c.querySelectorAll('.trace').length])"
    )
    assert len(charts) == 16
    assert [name for name, traces in charts if traces == 0] == ["card-chart"]
    assert report.texts("#title") == [CONTENT.title]
    assert report.texts("#notice") == [CONTENT.notice]
    assert report.complaints == []


def test_only_the_file_is_requested(report: OpenPage) -> None:
    assert [url for url in report.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert len([url for url in report.requests if url.startswith("file:")]) == 1


def test_the_overview_fits_the_first_screen(report: OpenPage) -> None:
    """Retention, what to do today, which cards are weak, how far to trust the predictions: without scrolling."""
    assert CONTENT.due is not None
    assert report.texts("#overview h2") == [
        "Retention",
        "Today",
        "Remembered now",
        "Weakest cards",
        "How far to trust the predictions",
    ]
    assert report.run("() => document.getElementById('trust').getBoundingClientRect().bottom") < 900
    tiles = report.texts("#overview .tile b")
    assert tiles[1] == str(len(CONTENT.due.row))
    assert tiles[2] == f"{np.nansum(CARDS.p_now):.0f}"
    assert report.texts("#trust p") == [report.run("() => readData().then(d => d.facts.trust.sentence)")]
    assert "log loss" not in " ".join(report.texts("#overview")).lower()


def test_recall_is_one_number_everywhere(report: OpenPage) -> None:
    """In the list, on the chip, at the dot, in the card's panel: the curve's; another is named where it is shown."""
    row = int(np.flatnonzero(~np.isnan(CARDS.p_now) & (np.abs(CARDS.p_now - CARDS.p_asked) > 0.04))[0])
    recall = f"{100 * round(CARDS.p_now[row] * 254) / 254:.0f}%"
    report.page.fill("#curve-search", str(CARDS.card_id[row]))
    assert report.texts("#curve-found .p") == [recall]
    report.page.click("#curve-found button")
    assert recall in report.texts("#curve-chosen button")[-1]
    dot = report.run("() => document.getElementById('curve-chart').data.filter(t => t.mode === 'markers').at(-1).y[0]")
    assert dot == pytest.approx(CARDS.p_now[row], abs=0.5 / 254 + 1e-9)
    report.page.locator("#curve-chosen button").last.click()
    report.run(
        "row => readData().then(d => showCard([...d.arrays.id].map(String).indexOf(row), d))", str(CARDS.card_id[row])
    )
    report.page.wait_for_selector("#card:not([hidden])")
    numbers = report.table("card-numbers")
    assert numbers["RWKV, the curve"][0] == recall
    assert numbers["RWKV-P, in a review now"][0] == f"{100 * round(CARDS.p_asked[row] * 254) / 254:.0f}%" != recall
    assert f"Recall is {recall}" in report.texts("#card-why")[0]
    report.page.keyboard.press("Escape")
    assert report.page.locator("#card").is_hidden()
    report.page.fill("#curve-search", "")


def loss_of(name: str, rows: np.ndarray) -> float:
    p = REVIEWS.p[name][rows]
    known = ~np.isnan(p)
    loss = recall_metrics(p[known], REVIEWS.y[rows][known], np.zeros(known.sum()))["LogLoss"]
    assert loss is not None
    return loss


@pytest.mark.parametrize(
    ("filters", "decks", "same_day"),
    [
        ({}, DECKS, False),
        ({"deck": "Kanji"}, ("Kanji",), False),
        ({"deck": "Medicine::Anatomy"}, ("Medicine::Anatomy::Upper limb", "Medicine::Anatomy::Lower limb"), False),
        ({"same-day": "only"}, DECKS, True),
        ({"deck": "Spanish", "same-day": "with"}, ("Spanish::Vocabulary", "Spanish::Grammar"), None),
    ],
)
def test_filters(report: OpenPage, filters: dict[str, str], decks: tuple[str, ...], same_day: bool | None) -> None:
    for name, value in filters.items():
        report.page.select_option(f"#filter-{name}", value)
    rows = np.isin(REVIEWS.deck, [DECKS.index(deck) for deck in decks])
    if same_day is not None:
        rows &= REVIEWS.same_day == same_day
    table = report.table("calibration-table")
    for name, (count, recalled, predicted, loss) in table.items():
        p, y = REVIEWS.p[name][rows], REVIEWS.y[rows]
        known = ~np.isnan(p)
        assert count == f"{known.sum():,}"
        if known.any():
            assert float(recalled[:-1]) == pytest.approx(100 * y[known].mean(), abs=0.051)
            assert float(predicted[:-1]) == pytest.approx(100 * p[known].mean(), abs=0.051)
            assert float(loss) == pytest.approx(loss_of(name, rows), abs=6e-5)
    assert len(table) == len(REVIEWS.p)
    # only what was predicted of the same reviews has a best
    assert len(report.texts("#calibration-table .best")) == (same_day is False)
    assert report.texts("#filter-count") == [f"{rows.sum():,} reviews"]
    report.page.click("#filter-reset")
    assert report.texts("#filter-count") == [f"{(~REVIEWS.same_day).sum():,} reviews"]


def test_an_interval_that_is_chosen_redraws_the_charts(report: OpenPage) -> None:
    points = "id => document.getElementById(id).data.find(t => t.name === 'RWKV' && t.mode === 'lines+markers').y"
    before = [report.run(points, chart) for chart in ("calibration-chart", "loss-chart")]
    report.page.select_option("#filter-band", label="21 to 60 days")
    after = [report.run(points, chart) for chart in ("calibration-chart", "loss-chart")]
    assert before[0] != after[0]
    assert before[1] != after[1]
    report.page.click("#filter-reset")
    assert [report.run(points, chart) for chart in ("calibration-chart", "loss-chart")] == before


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (7, 10), (950, 1000)])
def test_bands_are_wilsons(report: OpenPage, k: int, n: int) -> None:
    interval = binomtest(k, n).proportion_ci(0.95, "wilson")
    assert report.run("([k, n]) => wilson(k, n)", [k, n]) == pytest.approx([interval.low, interval.high], abs=1e-6)


def test_cards_are_found_by_text_deck_and_id(report: OpenPage) -> None:
    seen = np.flatnonzero(~np.isnan(CARDS.p_now))
    row = int(seen[300])  # a number of three digits, which no other note contains
    for query in (CARDS.note[row].upper(), str(CARDS.card_id[row])):
        report.page.fill("#curve-search", query)
        assert CARDS.note[row] in report.texts("#curve-found .note")
    report.page.fill("#curve-search", "grammar ulnaris")
    assert set(report.texts("#curve-found .deck")) == {"Spanish::Grammar"}
    assert all("nervus ulnaris" in note for note in report.texts("#curve-found .note"))
    report.page.fill("#curve-search", "no such card")
    assert report.texts("#curve-found li") == ["No reviewed card matches."]
    report.page.fill("#curve-search", "")
    weakest = seen[np.argsort(CARDS.p_now[seen])[:3]]
    assert {CARDS.note[row] for row in weakest} <= set(report.texts("#curve-found .note"))


def test_the_curve_of_a_card_is_its_own(report: OpenPage) -> None:
    row = int(np.flatnonzero(~np.isnan(CARDS.p_now))[9])
    report.page.fill("#curve-search", str(CARDS.card_id[row]))
    report.page.click("#curve-found button")
    line = report.run("() => document.getElementById('curve-chart').data.filter(t => t.mode === 'lines').at(-1)")
    times = [*CURVE_TIMES_S, max(CURVE_TIMES_S[0], CARDS.elapsed_s[row])]
    by_time = np.argsort(times, kind="stable")
    # recall is sent in steps of 1/254, moments as float32; the dot that is now lies on the line
    assert line["x"] == pytest.approx(np.array(times)[by_time].tolist(), rel=1e-6)
    expected = np.array([*CARDS.curves[row], CARDS.p_now[row]])[by_time]
    assert line["y"] == pytest.approx(expected.tolist(), abs=0.5 / 254 + 1e-9)
    assert report.texts("#curve-chosen button")[-1].startswith(CARDS.note[row])
    report.page.locator("#curve-chosen button").last.click()
    assert len(report.texts("#curve-chosen button")) == 3
    report.page.fill("#curve-search", "")


def test_a_click_on_the_map_shows_the_card_without_scrolling(report: OpenPage) -> None:
    report.page.click("#map-canvas", position={"x": 20, "y": 30})
    assert report.page.locator("#card").is_visible()
    box = report.run("() => document.getElementById('card-history').getBoundingClientRect().top")
    assert 0 < box < 900
    assert report.run("() => document.getElementById('card-chart').data.length") == 2
    card = report.run("() => shownCard.card")
    assert CONTENT.past is not None
    ids = report.run("() => readData().then(d => [...d.arrays.id].map(String))")
    row = [str(one) for one in CARDS.card_id.tolist()].index(ids[card])
    assert len(report.texts("#card-history tbody tr")) == (CONTENT.past.card == row).sum()
    report.page.click("#card-close")
    assert report.page.locator("#card").is_hidden()


def test_the_map_is_used_by_keyboard(report: OpenPage) -> None:
    report.page.focus("#map-canvas")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Enter"):
        report.page.keyboard.press(key)
    assert report.page.locator("#card").is_visible()
    report.page.keyboard.press("Escape")
    assert report.page.locator("#card").is_hidden()
    assert report.run("() => document.activeElement.id") == "map-canvas"


def test_the_map_has_three_orders(report: OpenPage) -> None:
    orders = {}
    for order in ("due", "recall", "age"):
        report.page.select_option("#map-order", order)
        orders[order] = report.run("() => [...mapCards]")
    assert len({tuple(cards) for cards in orders.values()}) == 3
    assert all(sorted(cards) == list(range(len(CARDS))) for cards in orders.values())
    recall = report.run("() => readData().then(d => [...mapCards].map(c => [d.arrays.deck[c], isSuspended(c, d)]))")
    assert [deck for deck, _ in recall] == sorted(deck for deck, _ in recall)


def test_a_desired_retention_is_chosen(report: OpenPage) -> None:
    assert CONTENT.workload is not None
    assert report.texts("#workload-value") == ["90%"]
    report.page.evaluate("() => { const s = document.getElementById('workload-slider'); s.value = 0; s.oninput(); }")
    assert report.texts("#workload-value") == ["70%"]
    bars = report.run("() => document.getElementById('workload-days').data[0]")
    assert bars["y"] == pytest.approx(CONTENT.workload.minutes[0].tolist(), abs=0.051)
    assert bars["x"] == list(range(30))


def test_the_table_states_the_compared_reviews(report: OpenPage) -> None:
    table = report.table("comparison-table")
    assert list(table) == [row.name for row in CONTENT.comparison]
    assert table["RWKV-P"] == ["10", "3,855", "0.2790 ± 0.0100", "0.0310 ± 0.0100", "0.8310 ± 0.0100"]
    assert report.texts("#comparison-table .best") == ["0.2790 ± 0.0100", "0.0310 ± 0.0100", "0.8310 ± 0.0100"]
    assert report.table("superiority-table")["RWKV"] == ["", "10%", "96%"]


def background(page: OpenPage) -> str:
    return str(page.run("() => getComputedStyle(document.body).backgroundColor"))


def test_light_and_dark(chromium: "Browser", tmp_path: Path) -> None:
    """As the system says; the button overrides it, and is remembered."""
    page = OpenPage(chromium, written(tmp_path), scheme="dark")
    dark = background(page)
    page.page.emulate_media(color_scheme="light")
    page.page.wait_for_selector("html[data-theme=light]")
    light = background(page)
    assert light != dark
    page.page.click("#theme")
    assert (page.texts("#theme"), background(page)) == (["☀ light"], light)
    page.page.click("#theme")
    assert (page.texts("#theme"), background(page)) == (["☾ dark"], dark)
    page.page.reload()
    page.wait_until_drawn()
    assert (page.texts("#theme"), background(page)) == (["☾ dark"], dark)
    assert page.complaints == []
    page.close()


def test_sections_fit_a_phones_screen(chromium: "Browser", tmp_path: Path) -> None:
    hostile = replace(CONTENT, title="Unbreakable" * 9, decks=LONG, decks_of_reviews=LONG)
    page = OpenPage(chromium, written(tmp_path, hostile), width=360, height=740)
    assert page.run("() => document.documentElement.scrollWidth") <= 360
    assert page.visible("main section") == SECTIONS
    assert page.complaints == []
    page.close()


def test_names_are_text(chromium: "Browser", tmp_path: Path) -> None:
    content = replace(
        CONTENT,
        title=HOSTILE,
        subtitle=HOSTILE,
        notice=HOSTILE,
        facts=[(HOSTILE, HOSTILE)],
        decks=[HOSTILE, *DECKS[1:]],
        decks_of_reviews=[HOSTILE, *DECKS[1:]],
        cards=replace(CARDS, note=[HOSTILE] * len(CARDS)),
        reviews=replace(REVIEWS, p={HOSTILE: REVIEWS.p["RWKV"]}),
        comparison=[replace(CONTENT.comparison[0], name=HOSTILE)],
        training=[replace(CONTENT.training[0], name=HOSTILE, curves={**CONTENT.training[0].curves, LINK: LOSSES})],
    )
    page = OpenPage(chromium, written(tmp_path, content))
    assert page.texts("#title") == [HOSTILE]
    assert page.page.title() == HOSTILE
    assert page.texts("#curve-found .note")[0] == HOSTILE
    assert page.run("() => document.querySelectorAll('img, .chart a, main b > b, main li b').length") == 0
    assert "val. <a href='https://example.com'>ahead</a>" in page.texts("#training-loss-0 .legendtext")
    assert page.complaints == []
    page.close()


def test_training_alone(chromium: "Browser", tmp_path: Path) -> None:
    page = OpenPage(chromium, written(tmp_path, ReportContent("Training", "", training=CONTENT.training)))
    assert page.visible("main section") == ["training"]
    assert page.complaints == []
    page.close()
