"""Rules for the values of configuration keys, and the field types that carry them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal


@dataclass(frozen=True)
class Rule:
    """The values that a key accepts.

    Attributes:
        expected: The rule in words, for messages.
        types: The TOML types. A bool is not an int.
        fits: A test of the value.
        convert: The field's value from the key's.
    """

    expected: str
    types: tuple[type, ...]
    fits: Callable[[Any], bool] = lambda value: True
    convert: Callable[[Any], Any] = lambda value: value

    def accepts(self, value: object) -> bool:
        """Whether a value has one of the types and passes the test."""
        return type(value) in self.types and self.fits(value)


def whole(least: int, most: int = 2**31 - 1, what: str = "a whole number") -> Rule:
    """A whole number from `least` to `most`, both included."""
    return Rule(f"{what} from {least} to {most}", (int,), lambda number: least <= number <= most)


def text_like(expected: str, pattern: str, convert: Callable[[str], object] = str) -> Rule:
    """Text that a regular expression matches as a whole."""
    return Rule(expected, (str,), lambda text: re.fullmatch(pattern, text) is not None, convert)


def as_path(text: str) -> Path:
    """A path, with `~` as the home folder. A shell replaces it only at the start of a word."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user
        return Path(text)


def one_of(*words: str, **synonyms: str) -> Rule:
    """One of several words. A synonym is converted to its word."""
    table = {word: word for word in words} | synonyms
    return Rule(" or ".join(f'"{word}"' for word in table), (str,), table.__contains__, table.__getitem__)


def list_of(rule: Rule) -> Rule:
    """A list, not empty, whose values follow a rule. Converted to a tuple."""
    expected = f"a list, not empty, each {rule.expected}"
    return Rule(expected, (list,), lambda xs: len(xs) > 0 and all(map(rule.accepts, xs)), tuple)


def list_of_different(rule: Rule) -> Rule:
    """A list, neither empty nor with duplicates, whose values follow a rule. Converted to a tuple."""
    expected = f"a list without duplicates, not empty, each {rule.expected}"
    return Rule(expected, (list,), lambda xs: all(map(rule.accepts, xs)) and 0 < len({*xs}) == len(xs), tuple)


def list_of_each(names: Sequence[str], rule: Rule) -> Rule:
    """A list with one value for each name, all following a rule. Converted to a tuple."""
    expected = f"a list of {len(names)} values, for {', '.join(names)}, each {rule.expected}"
    return Rule(expected, (list,), lambda xs: all(map(rule.accepts, xs)) and len(xs) == len(names), tuple)


# File names cannot contain NUL.
_ANY, _SOME = "[^\0]*", "[^\0]+"
NAME_RULE = text_like("text in quotes, not empty", _SOME)
USER_RULE = whole(0, what="a user number")

Flag = Annotated[bool, Rule("true or false", (bool,))]
Count = Annotated[int, whole(1)]
CountOrZero = Annotated[int, whole(0)]
# Threads and processes, up to the cores of large machines. OpenMP aborts the process when threads run out.
Workers = Annotated[int, whole(1, 1024)]
WorkersOrZero = Annotated[int, whole(0, 1024)]
User = Annotated[int, USER_RULE]
Size = Annotated[int, whole(1, 2**47, "a size in bytes")]  # the largest file that x86-64 can map
Positive = Annotated[float, Rule("a number above 0 and below 1e9", (int, float), lambda x: 0 < x < 1e9, float)]
Share = Annotated[float, Rule("a number from 0 to 1", (int, float), lambda x: 0 <= x <= 1, float)]
Text = Annotated[str, text_like("text in quotes", _ANY)]
Name = Annotated[str, NAME_RULE]
# The weights of a run `y_optim` would overwrite the optimiser's state of a run `y`.
RunName = Annotated[str, text_like('text in quotes, not empty, not ending in "_optim"', f"{_SOME}(?<!_optim)")]
Place = Annotated[Path, text_like("a path in quotes, not empty", _SOME, as_path)]
Folder = Annotated[Path, text_like("a folder in quotes", _ANY, as_path)]  # empty: the working directory
DEVICE_RULE = text_like('a torch device such as "cpu", "cuda" or "cuda:1"', "[a-z]+(:(0|[1-9][0-9]*))?")
Device = Annotated[str, DEVICE_RULE]
Dtype = Annotated[Literal["bfloat16", "float32"], one_of("bfloat16", "float32", float="float32")]
Optimizer = Annotated[Literal["adamw", "muon"], one_of("adamw", "muon")]
MissingNotes = Annotated[Literal["own", "published"], one_of("own", "published")]
