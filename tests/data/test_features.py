"""The 24 columns against a plain rendering of the specification (spec 3), one row at a time."""

import math

import numpy as np
import pytest
from hypothesis import given

from rwkv.data.features import log_count, log_elapsed, query_features, review_features, scale, time_of_day
from rwkv.data.history import RevlogTable, cumsum_by_group, order_by_card
from rwkv.vocab import FEATURE_NAMES
from tests.helpers import SECONDS_PER_DAY, context_of, make_table, random_revlog, revlog_columns, tables

TOLERANCE = 1e-6


def plain_log(elapsed: int) -> float:
    """The specification's form for -1 and more; a sum of several -1 counts as -1."""
    return 0.0 if elapsed <= -1 else math.log(1 + 1e-5 + elapsed)


def plain_row(table: RevlogTable, row: int, first_day: int) -> list[float]:
    """The columns of one review row, as the specification words them."""
    of_card = [r for r in range(row + 1) if table.card[r] == table.card[row]]
    previous = of_card[-2] if len(of_card) > 1 else None
    today = [r for r in range(row + 1) if table.day_offset[r] == table.day_offset[row]]
    days, seconds = int(table.elapsed_days[row]), int(table.elapsed_s[row])
    sum_days = sum(int(table.elapsed_days[r]) for r in of_card)
    sum_seconds = sum(int(table.elapsed_s[r]) for r in of_card)
    angle, sum_angle = (2 * math.pi * (s % SECONDS_PER_DAY) / SECONDS_PER_DAY for s in (seconds, sum_seconds))
    day_diff = int(table.day_offset[row]) - int(table.day_offset[max(0, row - 1)])
    new_since = reviews_since = 0
    if previous is not None:
        new_since = sum(int(table.elapsed_days[r] == -1) for r in range(previous + 1, row + 1))
        reviews_since = max(0, int(table.review_th[row]) - int(table.review_th[previous]) - 1)
    card = table.card[row]
    return [
        (plain_log(days) - 1.51) / 1.62,
        (plain_log(sum_days) - 2.14) / 2.25,
        (plain_log(seconds) - 9.96) / 5.21,
        math.sin(angle),
        math.cos(angle),
        (plain_log(sum_seconds) - 10.86) / 5.8,
        math.sin(sum_angle),
        math.cos(sum_angle),
        (math.log(10 + int(table.duration_ms[row])) - 8.9) / 1.07,
        *(float(table.rating[row] == rating) for rating in (1, 2, 3, 4)),
        float(table.cards.note_missing[card]),
        float(table.cards.deck_missing[card]),
        float(table.cards.preset_missing[card]),
        math.log(math.log(math.e + day_diff)),
        (((int(table.day_offset[row]) - first_day) % 7) - 3) / 3,
        (math.log(3 + new_since) - 2.945) / 2.011,
        (math.log(3 + reviews_since) - 4.64) / 2.59,
        (math.log(3 + sum(int(table.elapsed_days[r] == -1) for r in today)) - 2.55) / 1.41,
        (math.log(3 + len(today) - 1) - 4.59) / 1.30,
        float(table.state[row]) - 2,
        0.0,
    ]


def our_features(table: RevlogTable) -> np.ndarray:
    context = context_of(table)
    return review_features(context, (table.day_offset - table.day_offset[0]).astype(np.int64))


def column(features: np.ndarray, name: str) -> np.ndarray:
    return features[:, FEATURE_NAMES.index(name)]


@given(table=tables())
def test_features_are_those_of_the_specification(table: RevlogTable) -> None:
    ours = our_features(table)
    assert ours.dtype == np.float32
    expected = [plain_row(table, row, int(table.day_offset[0])) for row in range(len(table))]
    difference = np.abs(ours - np.array(expected))
    assert difference.max() <= TOLERANCE * max(1, np.abs(expected).max()), FEATURE_NAMES[
        difference.max(axis=0).argmax()
    ]


def test_features_of_a_longer_history() -> None:
    table = make_table(random_revlog(5, reviews=300, cards=40))
    expected = [plain_row(table, row, int(table.day_offset[0])) for row in range(len(table))]
    np.testing.assert_allclose(our_features(table), expected, rtol=0, atol=TOLERANCE)


def test_a_query_row_does_not_depend_on_the_answer() -> None:
    features = our_features(make_table(random_revlog(6, reviews=50, cards=5)))
    query = query_features(features)
    of_the_answer = {"scaled_duration", "rating_1", "rating_2", "rating_3", "rating_4", "scaled_state"}
    for name in FEATURE_NAMES:
        if name in of_the_answer:
            assert not column(query, name).any(), name
        elif name == "is_query":
            assert column(query, name).all()
            assert not column(features, name).any()
        else:
            np.testing.assert_array_equal(column(query, name), column(features, name), err_msg=name)


def test_answers_do_not_reach_their_own_query_row() -> None:
    columns = random_revlog(7, reviews=60, cards=6)
    query = query_features(our_features(make_table(columns)))
    changed = {
        **columns,
        "rating": 5 - columns["rating"],
        "duration": columns["duration"] + 1234,
        "state": np.full(60, 3),
    }
    np.testing.assert_array_equal(query_features(our_features(make_table(changed))), query)


@pytest.mark.parametrize(
    ("elapsed_s", "second_of_day"),
    [(-1, 86_399), (0, 0), (86_399, 86_399), (86_400, 0), (-86_401, 86_399), (10**12 + 1, (10**12 + 1) % 86_400)],
)
def test_time_of_day_is_floored(elapsed_s: int, second_of_day: int) -> None:
    sine, cosine = time_of_day(np.array([elapsed_s]))
    angle = 2 * math.pi * second_of_day / SECONDS_PER_DAY
    assert sine[0] == pytest.approx(math.sin(angle), abs=1e-12)
    assert cosine[0] == pytest.approx(math.cos(angle), abs=1e-12)


def test_formulas() -> None:
    assert scale(3.0, 1.0, 4.0) == 0.5
    np.testing.assert_allclose(log_count([0, 7]), [math.log(3), math.log(10)], rtol=1e-15)
    np.testing.assert_allclose(
        log_elapsed([-3, -1, 0, 1, 10**12]), [0, 0, *(math.log(1 + 1e-5 + e) for e in (0, 1, 10**12))], rtol=1e-12
    )


def test_features_are_finite_at_the_extremes() -> None:
    """The largest values that a history can hold, and a card that begins again and again."""
    largest = np.iinfo(np.int32).max
    columns = revlog_columns([1, 2, 1, 1], [0, 0, 0, 0])
    columns["day_offset"] = np.array([-largest, 0, 0, largest])
    columns["elapsed_days"] = np.array([-1, -1, largest, -1])
    columns["elapsed_seconds"] = np.array([-1, -1, 2**62, -1])
    columns["duration"] = np.array([0, 2**63 - 1, 1, 2])
    context = context_of(make_table(columns))
    day = np.asarray(columns["day_offset"], np.int64) - columns["day_offset"][0]
    assert np.isfinite(review_features(context, day)).all()


def test_repeated_first_reviews_sum_to_no_elapsed_time() -> None:
    """A card whose history begins twice: the sum of several -1 is treated as one."""
    columns = revlog_columns([1, 1], [0, 10])
    columns["elapsed_days"] = columns["elapsed_seconds"] = np.array([-1, -1])
    features = our_features(make_table(columns))
    assert np.isfinite(features).all()
    cumulative = column(features, "scaled_elapsed_days_cumulative")
    assert cumulative[0] == cumulative[1] == pytest.approx(-2.14 / 2.25)


def test_neighbours_of_a_card() -> None:
    cards = order_by_card(np.array([0, 1, 0, 2, 1, 0], np.int32))
    assert cards.order.tolist() == [0, 2, 5, 1, 4, 3]
    assert cards.is_start.tolist() == [True, False, False, True, False, True]
    assert cards.previous.tolist() == [-1, -1, 0, -1, 1, 2]
    assert cards.following.tolist() == [2, 4, 5, -1, -1, -1]


def test_sums_begin_again_with_each_group() -> None:
    values = np.array([3, -1, 4, 1, -5])
    sums = cumsum_by_group(values, np.array([True, False, True, False, True]))
    assert sums.tolist() == [3, 2, 4, 5, -5]
    assert cumsum_by_group(values[:0], np.zeros(0, bool)).tolist() == []
