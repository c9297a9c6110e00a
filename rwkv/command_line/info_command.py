"""The command `rwkv info`."""

import argparse

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, add_model

_DESCRIPTION = "Show the training data and the scores of weights: those of the package, or of another file."


def add_info(commands: Commands) -> None:
    """Add the command `info`."""
    parser = add_command(commands, "info", _run, "show the training data and scores of weights", _DESCRIPTION)
    add_model(parser)


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.model.card import SHIPPED, card_lines, read_card

    path = options.model or SHIPPED
    card = read_card(path)
    lines = ["This file has no model card."] if card is None else card_lines(card)
    return Answer("\n".join([f"weights: {path}", "", *lines]), {"weights": path, "card": card})
