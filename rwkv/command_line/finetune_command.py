"""The command `rwkv finetune`."""

import argparse

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, add_folder, add_model, add_out, add_users, opened_folder

_DESCRIPTION = """\
Adapt weights to one person or several. Only the heads that predict are trained; the network that reads the history
stays.

Only reviews on a later day than the card's previous review are used. The first 64% are for training, and the next 16%
choose the number of steps. The heads are then trained again on both, and tested on the last 20%. The heads of RWKV, and
those of RWKV-P, are kept only if they do better there, in the mean over people. If neither does, nothing is written and
the exit code is 1."""


def add_finetune(commands: Commands) -> None:
    """Add the command `finetune`."""
    parser = add_command(commands, "finetune", _run, "adapt weights to your reviews", _DESCRIPTION)
    add_folder(parser)
    add_users(parser, "the users to adapt to, together, such as 1,4-6 (default: all users of the folder)")
    add_model(parser)
    add_out(parser, "the adapted weights, a .safetensors file", required=True)


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.collection.finetune import finetune, finetuned_fields, format_finetuned  # a slow import

    result = finetune(opened_folder(options), options.out, options.users, options.model)
    return Answer(format_finetuned(result), finetuned_fields(result), result.exit_code)
