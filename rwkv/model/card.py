"""The weights that come with the package, and the model card in a file of weights."""

import json
from pathlib import Path
from typing import Any

from rwkv.errors import CheckpointError
from rwkv.files import file_errors
from rwkv.model.weights_file import read_metadata

SHIPPED = Path(__file__).resolve().parents[1] / "weights" / "rwkv.safetensors"

# Key of the card in the metadata of a .safetensors file.
CARD = "rwkv.card"
# Titles of the facts about an adaptation, and of the facts about the weights before it.
ADAPTED, BEFORE = "adapted", "before: "
# Facts about an adaptation: the people, and the reviews of each that the weights were trained on.
ADAPTED_TO, TRAINED_ON = "to", "trained on"
# Fact about the program that trained the weights, and its value for those of the demo.
TRAINED_BY, DEMO = "trained by", "rwkv demo"

Card = dict[str, Any]
_FACTS = (str, int, float, bool, type(None))


def read_card(path: Path) -> Card | None:
    """Read the model card in a file of weights.

    Returns:
        Groups of facts by title; None if the file has no card.

    Raises:
        CheckpointError: The file is missing or the card is damaged.
    """
    with file_errors(path):
        if not path.is_file():
            what = "The path is not a file." if path.exists() else "The file of weights does not exist."
            raise CheckpointError(what, where=str(path), hint="check the path")
        text = read_metadata(path).get(CARD)
    if text is None:
        return None
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(card, dict) or not all(map(_are_facts, card.values())):
        raise _damaged(path, "JSON of another form")
    return card


def adaptations(card: Card) -> list[dict[str, Any]]:
    """The facts about each adaptation of the weights, the latest first."""
    return [facts for title, facts in card.items() if title.replace(BEFORE, "") == ADAPTED]


def is_of_demo(card: Card) -> bool:
    """Whether the weights, or those they were made from, were trained by the demo."""
    return any(facts.get(TRAINED_BY) == DEMO for facts in card.values())


def _are_facts(facts: object) -> bool:
    return isinstance(facts, dict) and all(isinstance(fact, _FACTS) for fact in facts.values())


def _damaged(path: Path, got: str) -> CheckpointError:
    expected, hint = "groups of facts by title", "download the file again; its weights are checked separately"
    return CheckpointError("The model card is damaged.", where=str(path), got=got, expected=expected, hint=hint)


def card_lines(card: Card) -> list[str]:
    """The lines of a card as text: each title followed by its facts."""
    lines: list[str] = []
    for title, facts in card.items():
        lines += ["", title] if lines else [title]
        lines += [f"  {name}: {value}" for name, value in facts.items()]
    return lines
