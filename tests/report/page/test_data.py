"""The numbers in a report, against the same computed by hand from the reviews and cards."""

from dataclasses import replace

import numpy as np
import pytest

from bench.report_contents import DECKS, made_up_content
from rwkv.evaluation.metrics import recall_metrics
from rwkv.report.content import CardsNow, PredictedReviews, TrainingRun
from rwkv.report.page.collection_data import RECALL_STEPS, UNKNOWN, cards_data, quantised
from rwkv.report.page.data import report_data, training_facts
from rwkv.report.page.prediction_data import (
    BAND_NAMES,
    BIN_EDGES,
    MOST_DECKS,
    MOST_PERIODS,
    OTHER_DECKS,
    interval_bands,
    largest_decks,
    predicted_data,
)

CONTENT = made_up_content(cards=300, reviews=4000)
assert CONTENT.reviews is not None
assert CONTENT.cards is not None
REVIEWS: PredictedReviews = CONTENT.reviews
CARDS: CardsNow = CONTENT.cards


@pytest.mark.parametrize(
    ("elapsed_s", "same_day", "band"),
    [
        (0, True, "same day, under 10 min"),
        (599, True, "same day, under 10 min"),
        (600, True, "same day, 10 to 60 min"),
        (3600, True, "same day, over an hour"),
        (80_000, True, "same day, over an hour"),
        (30_000, False, "under 2 days"),
        (2 * 86_400, False, "2 to 7 days"),
        (20 * 86_400, False, "7 to 21 days"),
        (10**10, False, "over 180 days"),
    ],
)
def test_interval_bands(elapsed_s: int, same_day: bool, band: str) -> None:
    assert BAND_NAMES[interval_bands(np.array([elapsed_s]), np.array([same_day]))[0]] == band


def test_bins_count_every_prediction_once() -> None:
    facts, arrays = predicted_data(REVIEWS, DECKS, ["Ada"], 0)
    for number, (name, p) in enumerate(REVIEWS.p.items()):
        known = ~np.isnan(p)
        cells = arrays["bin_algorithm"] == number
        assert facts["algorithms"][number] == name
        assert arrays["bin_count"][cells].sum() == known.sum()
        assert arrays["bin_recalled"][cells].sum() == REVIEWS.y[known].sum()
        # float32 sums
        assert arrays["bin_sum_p"][cells].sum() == pytest.approx(p[known].sum(), rel=1e-5)


def test_a_cell_is_the_reviews_of_its_deck_interval_and_bin() -> None:
    facts, arrays = predicted_data(REVIEWS, DECKS, ["Ada"], 0)
    names = list(facts["decks"])
    bands = interval_bands(REVIEWS.elapsed_s, REVIEWS.same_day)
    for cell in range(0, len(arrays["bin_bin"]), 17):
        name = list(REVIEWS.p)[arrays["bin_algorithm"][cell]]
        low, high = BIN_EDGES[arrays["bin_bin"][cell]], BIN_EDGES[arrays["bin_bin"][cell] + 1]
        inside = (REVIEWS.p[name] >= low) & (REVIEWS.p[name] < high)
        inside &= bands == arrays["bin_band"][cell]
        inside &= REVIEWS.deck == DECKS.index(names[arrays["bin_deck"][cell]])
        assert (arrays["bin_count"][cell], arrays["bin_recalled"][cell]) == (inside.sum(), REVIEWS.y[inside].sum())


def test_predictions_of_zero_and_one_have_bins() -> None:
    reviews = replace(REVIEWS, p={"A": np.where(np.arange(len(REVIEWS)) % 2, 1.0, 0.0)})
    _, arrays = predicted_data(reviews, DECKS, ["Ada"], 0)
    assert set(arrays["bin_bin"].tolist()) == {0, len(BIN_EDGES) - 2}


@pytest.mark.parametrize("deck", [None, 0, 6])
def test_losses_add_up_to_the_benchmarks_log_loss(deck: int | None) -> None:
    facts, arrays = predicted_data(REVIEWS, DECKS, ["Ada"], 0)
    names = list(facts["decks"])
    rows = np.ones(len(REVIEWS), bool) if deck is None else deck == REVIEWS.deck
    cells = slice(None) if deck is None else arrays["loss_deck"] == names.index(DECKS[deck])
    sums = arrays["loss_sum"].reshape(-1, len(REVIEWS.p))[cells].sum(0, dtype=np.float64)
    counts = arrays["loss_count"].reshape(-1, len(REVIEWS.p))[cells].sum(0)
    for name, loss, count in zip(REVIEWS.p, sums, counts, strict=True):
        p = REVIEWS.p[name][rows]
        known = ~np.isnan(p)
        expected = recall_metrics(p[known], REVIEWS.y[rows][known], np.zeros(known.sum()))["LogLoss"]
        # sums are sent as float32, metrics are rounded to 6 places
        assert loss / count == pytest.approx(expected, rel=3e-6)


@pytest.mark.parametrize(("days", "length"), [(1, 1), (60, 1), (61, 7), (900, 30), (5000, 91), (40_000, 667)])
def test_periods_are_few(days: int, length: int) -> None:
    reviews = replace(REVIEWS, day=np.linspace(0, days - 1, len(REVIEWS)).astype(np.int64))
    facts, arrays = predicted_data(reviews, DECKS, ["Ada"], 0)
    assert facts["period_days"] == length
    assert facts["periods"] == arrays["loss_period"].max() + 1 <= MOST_PERIODS


def test_small_decks_are_joined() -> None:
    names = [f"deck {i:03}" for i in range(MOST_DECKS + 30)]
    deck = np.concatenate([np.arange(len(names)), np.arange(31, len(names)), [-1] * 3]).astype(np.int32)
    number, kept, owners = largest_decks(deck, np.zeros(len(deck), np.int32), names)
    assert kept[-1] == OTHER_DECKS
    assert len(kept) == len(owners) == MOST_DECKS + 1
    output = np.array(kept)[number]
    assert set(output[deck >= 31]) == set(names[31:])
    assert output[deck == -1].tolist() == ["(no deck)"] * 3
    assert set(output[(deck >= 0) & (deck < 31)]) == {OTHER_DECKS}


def test_recall_is_sent_to_a_five_hundredth() -> None:
    p = np.linspace(0, 1, 1001)
    # half a step of 1/254
    assert np.abs(quantised(p) / RECALL_STEPS - p).max() <= 0.5 / RECALL_STEPS + 1e-12
    assert quantised(np.array([np.nan])).tolist() == [UNKNOWN]


def test_cards_come_by_deck_and_due_day_with_all_their_columns() -> None:
    facts, arrays = cards_data(CARDS, DECKS, CONTENT.due)
    row_of = {card: row for row, card in enumerate(CARDS.card_id.tolist())}
    rows = np.array([row_of[card] for card in arrays["id"].tolist()])
    assert arrays["deck"].tolist() == CARDS.deck[rows].tolist()
    assert arrays["recall"].tolist() == quantised(CARDS.p_now[rows]).tolist()
    last = np.isnan(CARDS.p_now[rows]) * 2 + CARDS.suspended[rows]
    assert (np.diff(arrays["deck"].astype(int) * 4 + last) >= 0).all()
    left = arrays["interval_days"] - arrays["elapsed_s"] / 86_400
    later = (last == 0) & ((arrays["flags"].astype(int) & 2) == 0)
    same_deck = np.diff(arrays["deck"][later].astype(int)) == 0
    assert (np.diff(left[later])[same_deck] >= -1e-3).all()  # days, of float32 seconds
    curves = np.cumsum(arrays["curves"].reshape(-1, len(CARDS)), axis=0, dtype=np.uint8).T
    assert (curves == quantised(CARDS.curves[rows])).all()
    notes = arrays["notes"].tobytes().decode().split("\n")
    assert notes == [CARDS.note[row] for row in rows]
    assert facts["reviewed"] == (~np.isnan(CARDS.p_now)).sum()
    assert facts["known"] == pytest.approx(np.nansum(CARDS.p_now))


def test_flags_mark_suspended_due_and_new_cards() -> None:
    _, arrays = cards_data(CARDS, DECKS, CONTENT.due)
    assert CONTENT.due is not None
    row_of = {card: row for row, card in enumerate(CARDS.card_id.tolist())}
    rows = np.array([row_of[card] for card in arrays["id"].tolist()])
    flags = arrays["flags"].astype(int)
    assert ((flags & 1) > 0).tolist() == CARDS.suspended[rows].tolist()
    assert ((flags & 2) > 0).tolist() == np.isin(rows, CONTENT.due.row).tolist()
    assert (flags >> 2).tolist() == CARDS.kind[rows].tolist()


def test_a_note_of_several_lines_is_one_line() -> None:
    notes = ["a\nb\r\n c\u2028d", *CARDS.note[1:]]
    _, arrays = cards_data(replace(CARDS, note=notes), DECKS, None)
    lines = arrays["notes"].tobytes().decode().split("\n")
    assert len(lines) == len(CARDS)
    assert "a b c d" in lines


def test_cards_without_a_deck() -> None:
    facts, arrays = cards_data(replace(CARDS, deck=np.full(len(CARDS), -1, np.int32)), [], None)
    assert facts["decks"] == ["(no deck)"]
    assert set(arrays["deck"].tolist()) == {0}


def test_a_long_run_is_thinned_to_means() -> None:
    steps = np.arange(1, 5002)
    curve = training_facts(TrainingRun("run", {"loss": (steps, steps * 2.0)}), most=1000)["curves"]["loss"]
    assert len(curve["step"]) <= 1000
    assert (curve["step"][0], curve["value"][0]) == (3.5, 7.0)
    assert (curve["step"][-1], curve["value"][-1]) == (5000.0, 10_000.0)


def test_missing_contents_are_left_out() -> None:
    data = report_data(replace(CONTENT, reviews=None, cards=None, workload=None, past=None, due=None))
    assert data.arrays == {}
    assert not {"predicted", "cards", "workload"} & set(data.facts)


def test_empty_reviews_and_cards_are_left_out() -> None:
    none = replace(
        REVIEWS,
        p={name: p[:0] for name, p in REVIEWS.p.items()},
        **{name: getattr(REVIEWS, name)[:0] for name in ("y", "elapsed_s", "same_day", "deck", "person", "day")},
    )
    assert "predicted" not in report_data(replace(CONTENT, reviews=none)).facts
