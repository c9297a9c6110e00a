"""What the keys of configuration files may hold: rules, and the types of fields that carry them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal


@dataclass(frozen=True)
class Rule:
    """What a key may hold: in words, as TOML types (a bool is no int), as a test; and how it becomes the field."""

    expected: str
    types: tuple[type, ...]
    fits: Callable[[Any], bool] = lambda value: True
    convert: Callable[[Any], Any] = lambda value: value

    def accepts(self, value: object) -> bool:
        """Whether a value is of these types, and fits."""
        return type(value) in self.types and self.fits(value)


def whole(least: int, most: int = 2**31 - 1, what: str = "a whole number") -> Rule:
    """A whole number within bounds, both included."""
    return Rule(f"{what} from {least} to {most}", (int,), lambda number: least <= number <= most)


def text_like(expected: str, pattern: str, convert: Callable[[str], object] = str) -> Rule:
    """A text that a pattern matches whole."""
    return Rule(expected, (str,), lambda text: re.fullmatch(pattern, text) is not None, convert)


def as_path(text: str) -> Path:
    """`~` is the home folder here, too: a shell replaces it at the beginning of a word only."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user
        return Path(text)


def one_of(*words: str, **synonyms: str) -> Rule:
    """One of some words; a synonym becomes the word it stands for."""
    table = {word: word for word in words} | synonyms
    return Rule(" or ".join(f'"{word}"' for word in table), (str,), table.__contains__, table.__getitem__)


def list_of_different(rule: Rule) -> Rule:
    """A list of values of a rule, which becomes a tuple."""
    expected = f"a list of at least one, none twice, each {rule.expected}"
    return Rule(expected, (list,), lambda xs: all(map(rule.accepts, xs)) and 0 < len({*xs}) == len(xs), tuple)


def list_of_each(names: Sequence[str], rule: Rule) -> Rule:
    """A list with a value of a rule for each name, which becomes a tuple."""
    expected = f"a list of {len(names)}, for {', '.join(names)}, each {rule.expected}"
    return Rule(expected, (list,), lambda xs: all(map(rule.accepts, xs)) and len(xs) == len(names), tuple)


# No name of a file holds the character NUL.
_ANY, _SOME = "[^\0]*", "[^\0]+"
NAME_RULE = text_like("text in quotes, not empty", _SOME)
USER_RULE = whole(0, what="a user number")

Flag = Annotated[bool, Rule("true or false", (bool,))]
Count = Annotated[int, whole(1)]
CountOrZero = Annotated[int, whole(0)]
# Threads and processes, as many as large machines have cores. Where there are no more, OpenMP ends the process.
Workers = Annotated[int, whole(1, 1024)]
WorkersOrZero = Annotated[int, whole(0, 1024)]
User = Annotated[int, USER_RULE]
Size = Annotated[int, whole(1, 2**47, "a size in bytes")]  # no machine can map a larger file
Positive = Annotated[float, Rule("a number above 0 and below 1e9", (int, float), lambda x: 0 < x < 1e9, float)]
Share = Annotated[float, Rule("a number from 0 to 1", (int, float), lambda x: 0 <= x <= 1, float)]
Text = Annotated[str, text_like("text in quotes", _ANY)]
Name = Annotated[str, NAME_RULE]
# A run `y_optim` would write its weights over the states of the optimiser of a run `y`.
RunName = Annotated[str, text_like('text in quotes, not empty, without "_optim" at its end', f"{_SOME}(?<!_optim)")]
Place = Annotated[Path, text_like("a path in quotes, not empty", _SOME, as_path)]
Folder = Annotated[Path, text_like("a folder in quotes", _ANY, as_path)]  # empty: the working directory
Device = Annotated[str, text_like('a torch device such as "cpu", "cuda" or "cuda:1"', "[a-z]+(:(0|[1-9][0-9]*))?")]
Dtype = Annotated[Literal["bfloat16", "float32"], one_of("bfloat16", "float32", float="float32")]
Optimizer = Annotated[Literal["adamw", "muon"], one_of("adamw", "muon")]
MissingNotes = Annotated[Literal["own", "published"], one_of("own", "published")]
