"""The command `rwkv info`."""

import argparse

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, add_model

_DESCRIPTION = "Show the size, the training data and the scores of weights: those of the package, or of another file."


def add_info(commands: Commands) -> None:
    """Add the command `info`."""
    parser = add_command(commands, "info", _run, "show the size, training data and scores of weights", _DESCRIPTION)
    add_model(parser)


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.model.card import SHIPPED, card_lines, read_card
    from rwkv.model.shapes import parameters_of
    from rwkv.model.weights_file import load_spec

    path = options.model or SHIPPED
    card, spec = read_card(path), load_spec(path)
    sizes = {"channels": spec.channels, "heads": spec.heads, "layers": spec.layers, "parameters": parameters_of(spec)}
    network = {
        **sizes,
        "layers": ", ".join(f"{stream} {layers}" for stream, layers in spec.layers.items()),
        "parameters": f"{sizes['parameters']:,}",
    }
    lines = ["This file has no model card."] if card is None else card_lines(card)
    text = "\n".join([f"weights: {path}", "", *card_lines({"network": network}), "", *lines])
    return Answer(text, {"weights": path, "network": sizes, "card": card})
