"""Names of parameters in messages become the names of a command's options: `least_days` becomes --least-days.

The layers below know no command line. They name a parameter as Python does, in backticks.
"""

import argparse
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rwkv.errors import RwkvError
from rwkv.runtime import log

_PARAMETER = re.compile(r"`(\w+)`")


def option_names(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The option of each parameter of a command; of a positional argument its name in the help."""
    names: dict[str, str] = {}
    for action in parser._actions:
        name = action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest)
        names.setdefault(action.dest, name)  # the first of several spellings
    return names


@contextmanager
def named_options(names: Mapping[str, str]) -> Iterator[None]:
    """Name options instead of parameters in the log and in the errors of the block."""

    def rename(record: logging.LogRecord) -> bool:
        record.msg, record.args = renamed(record.getMessage(), names), ()
        return True

    log.addFilter(rename)
    try:
        yield
    except RwkvError as error:
        raise error.reworded(lambda text: renamed(text, names)) from error
    finally:
        log.removeFilter(rename)


def renamed(text: str, names: Mapping[str, str]) -> str:
    """A text with options instead of parameters. Other words in backticks stay."""
    return _PARAMETER.sub(lambda match: names.get(match[1], match[0]), text)
