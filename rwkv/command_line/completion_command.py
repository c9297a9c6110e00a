"""`rwkv completion`: a script by which the shell completes commands, options and paths."""

import argparse

import shtab

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command

_DESCRIPTION = """\
Print a script for the shell, once, to complete commands, options and paths from then on:

  rwkv completion bash > ~/.local/share/bash-completion/completions/rwkv
  rwkv completion zsh > ~/.zfunc/_rwkv     .zshrc: fpath+=~/.zfunc, compinit
  rwkv completion tcsh > ~/.rwkv.csh       .tcshrc: source ~/.rwkv.csh"""


def add_completion(commands: Commands, whole: argparse.ArgumentParser) -> None:
    """whole: the parser that is to be completed."""

    def run(options: argparse.Namespace) -> Answer:
        script = shtab.complete(whole, options.shell)
        return Answer(script, {"shell": options.shell, "script": script})

    parser = add_command(commands, "completion", run, "print a script for the shell's completion", _DESCRIPTION)
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="which shell")
