"""`rwkv finetune`."""

import argparse

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, add_folder, add_model, add_out

_DESCRIPTION = """\
Adapt weights to one person or several: what reads a history stays, the heads that predict from it learn.

Of the reviews on a later day than the card's review before, the first 64% are learnt from, and the next 16% say how
long. Then both are learnt from, and the last 20% decide: the heads of RWKV, and those of RWKV-P, are taken only if they
do better there, in the mean over people. If neither does, nothing is written, and the exit code is 1."""


def add_finetune(commands: Commands) -> None:
    """Weights for somebody."""
    parser = add_command(commands, "finetune", _run, "adapt weights to somebody's reviews", _DESCRIPTION)
    add_folder(parser)
    help = "which users, one after another (default: all of the folder together)"
    parser.add_argument("--user", type=int, nargs="+", metavar="N", help=help)
    add_model(parser)
    add_out(parser, "the adapted weights, a .safetensors file", required=True)


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.collection.finetune import finetune, finetuned_fields, format_finetuned  # loads torch

    found = finetune(options.folder, options.out, options.user, options.model)
    return Answer(format_finetuned(found), finetuned_fields(found), found.exit_code)
