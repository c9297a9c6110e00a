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
    except ValueError as error:
        raise CheckpointError("The model card is damaged.", where=str(path), got=str(error)) from error
    if not isinstance(card, dict):
        raise CheckpointError("The model card is no group of facts.", where=str(path))
    return card


def card_lines(card: Card) -> list[str]:
    """A card for people: each title, then its facts or its table."""
    lines: list[str] = []
    for title, facts in card.items():
        lines += ["", title] if lines else [title]
        rows = facts.items() if isinstance(facts, dict) else enumerate(facts) if isinstance(facts, list) else [("", facts)]
        lines += [f"  {f'{name}: ' if isinstance(name, str) and name else ''}{_shown(value)}" for name, value in rows]
    return lines


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
