"""The language of --cards: the meaning of each term, their combinations, and invalid queries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv.collection.card_query import Columns, parse_query
from rwkv.errors import InputError

NAN = np.nan
COLUMNS: Columns = {
    "card_id": np.array([11, 22, 33, 44, 55]),
    "note": np.array(["der Hund", "die Katze", "Hundert", "a:b (c)", ""], object),
    "deck": np.array(["Deutsch", "Deutsch::Tiere", "Deutschland", "Two words", "x"], object),
    "preset": np.array(["Default", "Default", "Hard ones", "Hard ones", "x"], object),
    "tags": np.array([" animal ", " animal::dog easy ", "", " Été ", " plant:x animals "], object),
    "added_days": np.array([0.0, 6.0, 7.0, NAN, -1.0]),
    "rated_days_1": np.array([0.0, 3.0, NAN, NAN, 30.0]),
    "rated_days_2": np.array([NAN, NAN, 6.0, NAN, NAN]),
    "rated_days_3": np.array([2.0, 0.0, 7.0, NAN, 1.0]),
    "rated_days_4": np.array([NAN, NAN, NAN, NAN, NAN]),
    "is_new": np.array([False, False, False, True, False]),
    "is_suspended": np.array([False, True, False, False, False]),
    "due_in_days": np.array([-1.0, 0.0, 3.0, NAN, 0.0]),
    "anki_interval_days": np.array([10, 20, 30, 0, 40]),
    "p_now": np.array([0.5, 0.9, 0.8, 0.4, 1.0]),
    "p_curve": np.array([0.6, 0.9, 0.7, NAN, 1.0]),
    "left_days": np.array([-2.0, 1.0, np.inf, NAN, 0.0]),
}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("  ", [0, 1, 2, 3, 4]),
        ("hund", [0, 2]),
        ('"der hund"', [0]),
        ('"a:b (c)"', [3]),
        ("d*e", [0, 1, 2]),
        ("k*e", [1]),
        (".", []),
        ("deck", []),
        ("deck:deutsch", [0, 1]),
        ("deck:Deutsch::tiere", [1]),
        ("deck:Deutsch*", [0, 1, 2]),
        ('deck:"Two words"', [3]),
        ('"deck:Two words"', [3]),
        ('preset:"hard ones"', [2, 3]),
        ("is:new", [3]),
        ("is:suspended", [1]),
        ("is:due", [0, 4]),
        ("cid:11,33,99", [0, 2]),
        ("prop:r<0.9", [0, 2]),
        ("prop:p>=0.8", [1, 2, 4]),
        ("prop:p!=0.5", [1, 2, 3, 4]),
        ("prop:left<=0", [0, 4]),
        ("prop:left>100", [2]),
        ("prop:ivl=20", [1]),
        ("prop:due>-1", [1, 2, 4]),
        ("deck:deutsch -is:suspended", [0]),
        ("deck:deutsch and is:suspended", [1]),
        ("is:new or is:suspended", [1, 3]),
        ("is:new OR cid:11 deck:deutsch", [0, 3]),
        ("(is:new or cid:11) deck:deutsch", [0]),
        ("-(is:new or cid:11)", [1, 2, 4]),
        ("-( is:new or -cid:11 )", [0]),
        ("-hund", [1, 3, 4]),
        ("((hund))", [0, 2]),
        ("tag:animal", [0, 1]),
        ("tag:ANIMAL*", [0, 1, 4]),
        ("tag:animal::dog", [1]),
        ("tag:dog", []),
        ("tag:easy", [1]),
        ("tag:none", [2]),
        ("-tag:none", [0, 1, 3, 4]),
        ("tag:plant:x", [4]),
        ("tag:été", [3]),
        ("tag:e\u0301te\u0301", [3]),
        ("added:1", [0, 4]),
        ("added:7", [0, 1, 4]),
        ("rated:1", [0, 1]),
        ("rated:2", [0, 1, 4]),
        ("rated:7", [0, 1, 2, 4]),
        ("rated:7:1", [0, 1]),
        ("rated:7:2", [2]),
        ("rated:100:4", []),
        ("-rated:2 -is:new", [2]),
        ("IS:Suspended", [1]),
        ("cid:9223372036854775807,22", [1]),
        ("cid:-3,9999999999999999999,11", [0]),
    ],
)
def test_queries_match_cards(query: str, expected: list[int]) -> None:
    assert np.flatnonzero(parse_query(query).matches(COLUMNS)).tolist() == expected


@pytest.mark.parametrize(
    ("query", "asks"),
    [("is:new prop:ivl>3 prop:due<1", False), ("prop:r<0.9", True), ("is:new -(x or prop:p>0.5)", True), ("p", False)],
)
def test_queries_that_need_the_model(query: str, asks: bool) -> None:
    assert parse_query(query).asks_model is asks


@pytest.mark.parametrize(
    ("query", "got"),
    [
        ("(is:new", "("),
        ("is:new)", ")"),
        ("()", ")"),
        ("or is:new", "or"),
        ("is:new or", "or"),
        ('deck:"two', "two"),
        ("-", "-"),
        ("is:old", "is:old"),
        ("flag:1", "flag:1"),
        ("added:0", "added:0"),
        ("added:x", "added:x"),
        ("rated:", "rated:"),
        ("rated:7:5", "rated:7:5"),
        ("rated:1e9", "rated:1e9"),
        ("cid:12345678901234567890", "cid:12345678901234567890"),
        ("cid:1,x", "cid:1,x"),
        ("cid:", "cid:"),
        ("prop:r", "prop:r"),
        ("prop:s<1", "prop:s<1"),
        ("prop:r~1", "prop:r~1"),
        (200 * "(" + "a" + 200 * ")", "401 terms"),
    ],
)
def test_invalid_queries_are_refused(query: str, got: str) -> None:
    """Naming what is wrong."""
    with pytest.raises(InputError, match="card query is invalid") as caught:
        parse_query(query)
    assert got in str(caught.value)


def test_combined_and_decomposed_letters_match() -> None:
    """On either side: macOS writes names in the long form."""
    short, long = "caf\u00e9", "cafe\u0301"
    columns = {"card_id": np.arange(3), "note": np.array([short, long, "cafe"], object)}
    columns |= {"deck": columns["note"], "preset": columns["note"]}
    for text in (short, long):
        for query in (text, f"deck:{text}", f"preset:{text.upper()}"):
            assert np.flatnonzero(parse_query(query).matches(columns)).tolist() == [0, 1], query


@pytest.mark.parametrize(
    ("query", "outcome"),
    [
        ("deck:x", False),
        ("-deck:x", True),
        ("cid:9", None),
        ("deck:x cid:9", False),
        ("deck:x or cid:9", None),
        ("deck:x or tag:y", False),
        ("(deck:x or cid:9) tag:y", False),
        ("(deck:x or cid:9) -tag:y", None),
        ("-(deck:x or cid:9)", None),
        ("-(-deck:x or cid:9)", False),
        ("", True),
    ],
)
def test_what_is_known_of_a_query_where_no_card_has_decks_or_tags(query: str, outcome: bool | None) -> None:
    """What is known is true of every table of cards without decks and tags."""
    parsed = parse_query(query)
    assert parsed.outcome({"deck:", "tag:"}) is outcome
    empty = np.full(len(COLUMNS["card_id"]), "", object)
    for card_id in (COLUMNS["card_id"], COLUMNS["card_id"] * 0 + 9):
        matches = parsed.matches({**COLUMNS, "deck": empty, "tags": empty, "card_id": card_id})
        assert outcome is None or matches.tolist() == [outcome] * len(matches)
    assert parsed.outcome(set()) is (True if query == "" else None)


def glob(pattern: str, text: str) -> bool:
    """The definition: * is any text, also none."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return glob(pattern[1:], text) or (bool(text) and glob(pattern, text[1:]))
    return bool(text) and pattern[0] == text[0] and glob(pattern[1:], text[1:])


@given(st.text("ab*", min_size=1, max_size=7), st.lists(st.text("ab", max_size=7), min_size=1, max_size=4))
def test_stars_stand_for_anything(pattern: str, texts: list[str]) -> None:
    columns = {"card_id": np.arange(len(texts)), "preset": np.array(texts, object), "note": np.array(texts, object)}
    assert parse_query(f"preset:{pattern}").matches(columns).tolist() == [glob(pattern, text) for text in texts]
    within = [glob(f"*{pattern}*", text) for text in texts]
    assert parse_query(f'"{pattern}"').matches(columns).tolist() == within


def test_many_stars_are_matched_quickly() -> None:
    columns = {"card_id": np.arange(1), "note": np.array(["a" * 80], object)}
    assert not parse_query("a*" * 40 + "b").matches(columns).any()
