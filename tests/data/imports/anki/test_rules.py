"""The rules of the import on arrays: named scenes, and random histories against the plain reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv.data.imports.anki.database import RevlogRows
from rwkv.data.imports.anki.rules import KeptReviews, kept_reviews
from tests.data.imports.anki.reference import (
    FILTERED,
    LEARNING,
    MANUAL,
    RELEARNING,
    RESCHEDULED,
    REVIEW,
    Entry,
    history_that_counts,
)

# Letters of the scenes below.
SCENE = {
    "l": (LEARNING, 3, 0),
    "r": (REVIEW, 3, 2500),
    "x": (RELEARNING, 3, 2500),
    "c": (FILTERED, 3, 0),  # an answer that did not reschedule
    "e": (FILTERED, 3, 2500),  # early, and it did
    "d": (MANUAL, 0, 2500),  # set due date
    "F": (MANUAL, 0, 0),  # forget
    "s": (RESCHEDULED, 0, 2500),
    "5": (REVIEW, 5, 2500),  # no button has that number
}


def rows(entries: list[tuple[int, Entry]]) -> RevlogRows:
    """A revlog of (card, entry), ascending by time."""
    card = np.array([card for card, _ in entries], np.int64)
    time_ms, ease, factor, duration_ms, kind = np.array([entry for _, entry in entries], np.int64).reshape(-1, 5).T
    return RevlogRows(time_ms, card, ease, np.ones_like(card), factor, duration_ms, kind)


def kept_of(revlog: RevlogRows, is_old: bool = False, now_ms: int = 10**6) -> tuple[KeptReviews, dict[str, int]]:
    """All answers with one scheduler's buttons, and none in the future."""
    return kept_reviews(revlog, np.full(len(revlog.ease), is_old), now_ms)


def scene(letters: str) -> RevlogRows:
    """One card with one entry for each letter."""
    entries = [(SCENE[letter], 1000 + place) for place, letter in enumerate(letters)]
    return rows([(1, Entry(time_ms, ease, factor, 5000, kind)) for (kind, ease, factor), time_ms in entries])


@pytest.mark.parametrize(
    ("letters", "kept", "states", "rule"),
    [
        ("llrrx", "llrrx", (0, 1, 2, 2, 3), None),
        ("lrcr", "lrr", (0, 2, 2), "cram_answers"),
        ("ler", "ler", (0, 4, 2), None),
        ("lrdr", "lrr", (0, 2, 2), "manual_entries"),
        ("lrsr", "lrr", (0, 2, 2), "manual_entries"),
        ("lr5r", "lrr", (0, 2, 2), "impossible_ratings"),
        ("llrFllr", "llr", (0, 1, 2), "before_last_new_start"),
        ("lFl", "l", (0,), "before_last_new_start"),
        ("lrlr", "lr", (0, 2), "before_last_new_start"),  # old versions left no mark of a reset
        ("ldlr", "lr", (0, 2), "before_last_new_start"),  # any other entry ends a group of steps
        ("lclr", "llr", (0, 1, 2), "cram_answers"),  # but an answer that does not reschedule
        ("llrF", "", (), "forgotten"),
        ("llrFrr", "", (), "forgotten"),
        ("rrx", "", (), "without_new_start"),
        ("ccc", "", (), "cram_answers"),
        ("F", "", (), "manual_entries"),
        ("", "", (), None),
    ],
)
def test_scenes(letters: str, kept: str, states: tuple[int, ...], rule: str | None) -> None:
    reviews, counts = kept_of(scene(letters))
    assert reviews.state.tolist() == list(states)
    assert reviews.rating.tolist() == [3] * len(kept)
    assert [letters[row] for row in reviews.row] == list(kept)
    assert counts["entries"] == len(letters)
    if rule:
        assert counts[rule] > 0


def test_reviews_after_a_reset_without_a_learning_step_have_no_start() -> None:
    """Those before are forgotten, those after have lost their beginning."""
    counts = kept_of(scene("llrFrrx"))[1]
    assert (counts["forgotten"], counts["manual_entries"], counts["without_new_start"]) == (3, 1, 3)


def test_the_old_schedulers_buttons() -> None:
    """While learning and relearning 2 was Good and 3 Easy; Again, and reviews, had the numbers of today."""
    entries = [
        (1, Entry(time_ms, ease, 2500 * (kind != LEARNING), 5000, kind))
        for time_ms, (kind, ease) in enumerate((kind, ease) for kind in (0, 1, 2, 3) for ease in (1, 2, 3, 4))
    ]
    # In the order of these entries only the last run of learning steps would count, which is the first four.
    mapped, counts = kept_of(rows(entries), is_old=True)
    assert mapped.rating.tolist() == [1, 3, 4, 4, 1, 2, 3, 4, 1, 3, 4, 4, 1, 2, 3, 4]
    assert counts["mapped_ratings"] == 4
    raw, counts = kept_of(rows(entries))
    assert raw.rating.tolist() == [1, 2, 3, 4] * 4
    assert counts["mapped_ratings"] == 0


kinds = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 5])
entries = st.tuples(st.integers(1, 4), st.integers(-1, 6), st.sampled_from([0, 2500]), kinds)


@given(st.lists(entries, max_size=60))
def test_rules_match_the_reference(drawn: list[tuple[int, int, int, int]]) -> None:
    revlog = [
        (card, Entry(1000 + place, ease, factor, 5000, kind)) for place, (card, ease, factor, kind) in enumerate(drawn)
    ]
    kept, counts = kept_of(rows(revlog))
    expected: list[tuple[int, Entry]] = []
    for card in range(1, 5):
        history = history_that_counts([entry for other, entry in revlog if other == card])
        expected += [(card, entry) for entry in history if entry.ease <= 4]
    expected.sort(key=lambda item: item[1].time_ms)
    assert [revlog[row] for row in kept.row] == expected
    assert kept.rating.tolist() == [entry.ease for _, entry in expected]
    # Every entry falls under one rule.
    fallen = ("manual_entries", "impossible_ratings", "cram_answers", "forgotten", "without_new_start")
    assert sum(counts[name] for name in (*fallen, "before_last_new_start", "reviews")) == counts["entries"]
