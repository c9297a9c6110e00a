"""The stated figures of the package's weights: the card, the README, the recipe and the docs agree."""

import json
import re

import numpy as np
import pytest

from rwkv.model.card import SHIPPED, Card, read_card
from tests.benchmark.workspace import REPOSITORY
from tests.typed import not_none

RECIPE = REPOSITORY / "recipes" / "weights"
# Algorithms by their names in the card, and in the tables of the README and of the recipe.
NAMES = {
    "AVG": ("average", "AVG"),
    "MOVING-AVG": ("moving average", "MOVING-AVG"),
    "FSRS-6 default": ("FSRS-6, default parameters", "FSRS-6 default"),
    "FSRS-6 optimised on each": ("FSRS-6, optimised on each person", "FSRS-6 optimised"),
    "RWKV": ("RWKV", "RWKV"),
    "RWKV-P": ("RWKV-P", "RWKV-P"),
}


@pytest.fixture(scope="module")
def card() -> Card:
    return not_none(read_card(SHIPPED))


@pytest.fixture(scope="module")
def losses(card: Card) -> dict[str, float]:
    (group,) = (facts for title, facts in card.items() if title.startswith("LogLoss on eight real people"))
    return dict(group)


def tables(page: str) -> list[list[list[str]]]:
    """The cells of each table of a page."""
    texts = re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE)
    return [[[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()] for table in texts]


def test_the_card_is_that_of_the_recipe(card: Card) -> None:
    assert card == json.loads((RECIPE / "card.json").read_text())


def test_the_readme_states_the_cards_losses(losses: dict[str, float]) -> None:
    (table,) = (rows for rows in tables((REPOSITORY / "README.md").read_text()) if rows[0][:2] == ["RWKV-P", "RWKV"])
    stated = dict(zip(table[0], map(float, table[2]), strict=True))
    assert stated == {NAMES[name][0]: round(loss, 3) for name, loss in losses.items()}


def test_the_recipe_states_the_cards_losses(card: Card, losses: dict[str, float]) -> None:
    """Means of the metrics, means over the people, and the number of people for whom the weights are better."""
    page = (RECIPE / "README.md").read_text()
    people, means = (rows for rows in tables(page) if rows[2][0] == "AVG" and rows[0][0] == "")
    assert {row[0]: float(row[1]) for row in means[2:]} == {NAMES[name][1]: loss for name, loss in losses.items()}
    by_person = {row[0]: np.array(row[1:], float) for row in people[2:]}
    for name, own in by_person.items():
        # Rounding to four places.
        assert own.mean() == pytest.approx({NAMES[key][1]: loss for key, loss in losses.items()}[name], abs=1e-4)
    (ahead,) = (facts for title, facts in card.items() if title.startswith("people of the eight"))
    for title, sentence in ahead.items():
        other = by_person[NAMES[title.removeprefix("of ")][1]]
        counts = {name: int((by_person[name] < other).sum()) for name in ("RWKV", "RWKV-P")}
        assert sentence == ", ".join(f"{name} {count}" for name, count in counts.items())


def test_the_docs_state_the_effect_of_fine_tuning(losses: dict[str, float]) -> None:
    """The means of the recipe's table, which are those before and after."""
    (table,) = (rows for rows in tables((RECIPE / "README.md").read_text()) if rows[0][0] == "person")
    people, mean = table[2:-1], table[-1]
    *_, ahead, ahead_after, imm, imm_after = mean
    assert [float(ahead), float(imm)] == [losses["RWKV"], losses["RWKV-P"]]
    for column in range(3, 9):
        values = [float(row[column]) for row in people]
        assert np.mean(values) == pytest.approx(float(mean[column]), abs=1e-4)
    text = " ".join((REPOSITORY / "docs" / "scheduling.md").read_text().split())
    assert f"from {ahead} to {ahead_after} (RWKV) and from {imm} to {imm_after} (RWKV-P)" in text
