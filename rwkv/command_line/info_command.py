"""`rwkv info`."""

import argparse

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, add_model

_DESCRIPTION = "Say what the weights were trained on and how they do: those of the package, or another file's."


def add_info(commands: Commands) -> None:
    """What weights are worth."""
    parser = add_command(commands, "info", _run, "what the weights were trained on, and how they do", _DESCRIPTION)
    add_model(parser)


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.model.card import SHIPPED, card_lines, read_card

    path = options.model or SHIPPED
    card = read_card(path)
    lines = ["This file has no model card."] if card is None else card_lines(card)
    return Answer("\n".join([f"weights: {path}", "", *lines]), {"weights": path, "card": card})
