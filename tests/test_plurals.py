"""Numbers with their nouns."""

from collections import Counter

import pytest

from rwkv.data.imports.imported import RULES, rule_text
from rwkv.plurals import counted, form


@pytest.mark.parametrize(
    ("number", "words", "expected"),
    [
        (0, ("review",), "0 reviews"),
        (1, ("review",), "1 review"),
        (1234, ("review",), "1,234 reviews"),
        (1, ("manual entry",), "1 manual entry"),
        (2, ("manual entry",), "2 manual entries"),
        (2, ("day",), "2 days"),
        (2, ("person", "people"), "2 people"),
    ],
)
def test_the_form_follows_the_number(number: int, words: tuple[str, ...], expected: str) -> None:
    assert counted(number, *words) == expected


def test_verbs_follow_the_number() -> None:
    assert [form(number, "is", "are") for number in (0, 1, 2)] == ["are", "is", "are"]


def test_rules_of_an_import_agree_with_their_number() -> None:
    assert rule_text("reviews", 1) == "review imported"
    assert rule_text("entries", 2) == "entries in the source"
    assert rule_text("suspended_cards", 1) == rule_text("suspended_cards", 2) == "  suspended"
    assert max(Counter(rule_text(name, 1) for name in RULES).values()) == 1
