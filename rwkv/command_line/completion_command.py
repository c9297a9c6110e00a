"""The command `rwkv completion`: a script for the shell that completes commands, options and paths."""

import argparse

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command
from rwkv.errors import InputError

_DESCRIPTION = """\
Print a script with which the shell completes commands, options and paths. Install it once:

  rwkv completion bash > ~/.local/share/bash-completion/completions/rwkv
  rwkv completion zsh > ~/.zfunc/_rwkv     .zshrc: fpath+=~/.zfunc, compinit
  rwkv completion tcsh > ~/.rwkv.csh       .tcshrc: source ~/.rwkv.csh"""


def add_completion(commands: Commands, root: argparse.ArgumentParser) -> None:
    """Add the command `completion`. root: the parser of all commands."""

    def run(options: argparse.Namespace) -> Answer:
        import shtab  # a slow import

        if options.shell not in shtab.SUPPORTED_SHELLS:
            expected = ", ".join(shtab.SUPPORTED_SHELLS)
            what, hint = "The shell is unknown.", "name one of these"
            raise InputError(what, where="SHELL", got=options.shell, expected=expected, hint=hint)
        script = shtab.complete(root, options.shell)
        return Answer(script, {"shell": options.shell, "script": script})

    parser = add_command(commands, "completion", run, "print a completion script for the shell", _DESCRIPTION)
    parser.add_argument("shell", metavar="SHELL", help="bash, zsh, tcsh, or another shell that shtab supports")
