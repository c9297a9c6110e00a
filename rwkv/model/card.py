"""The weights that come with the package, and what a file of weights says of itself."""

import json
from pathlib import Path
from typing import Any

from rwkv.errors import CheckpointError
from rwkv.files import file_errors
from rwkv.model.checkpoint import read_metadata

SHIPPED = Path(__file__).resolve().parents[1] / "weights" / "rwkv.safetensors"

# The key of a card within the metadata of a .safetensors file.
CARD = "rwkv.card"

Card = dict[str, Any]
_FACTS = (str, int, float, bool, type(None))


def read_card(path: Path) -> Card | None:
    """The model card in a file of weights: groups of facts by title; None where it carries none.

    Raises CheckpointError where the file is missing or the card is damaged.
    """
    with file_errors(path):
        if not path.is_file():
            raise CheckpointError("There is no file of weights.", where=str(path), hint="correct the path")
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


def _are_facts(facts: object) -> bool:
    return isinstance(facts, dict) and all(isinstance(fact, _FACTS) for fact in facts.values())


def _damaged(path: Path, got: str) -> CheckpointError:
    expected, hint = "groups of facts by title", "get the file once more; its weights are checked apart from the card"
    return CheckpointError("The model card is damaged.", where=str(path), got=got, expected=expected, hint=hint)


def card_lines(card: Card) -> list[str]:
    """A card for people: each title, and its facts below it."""
    lines: list[str] = []
    for title, facts in card.items():
        lines += ["", title] if lines else [title]
        lines += [f"  {name}: {value}" for name, value in facts.items()]
    return lines
