"""Wild values: numbers at the limits of their types, odd texts, and JSON with some of its values replaced."""

import math
from random import Random
from typing import Any

_INTEGERS = [0, 1, -1, 2, 5, 127, 128, 255, 2**15, 2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**62, 2**63 - 1, -(2**63)]
_BEYOND = [2**63, 2**64, -(2**70), 10**40]
_REALS = [0.0, -0.0, 0.5, 1.5, -1.0, 1e300, -1e300, 5e-324, math.inf, -math.inf, math.nan]
_TEXTS = [
    "",
    " ",
    "0",
    "-1",
    "1e400",
    "nan",
    "NULL",
    "a\0b",
    "\u202e",
    "\x1f",
    "ß€😀",
    '"',
    "'",
    ",;\t|",
    "x" * 5000,
    "\n",
]


def integer(rng: Random) -> int:
    """An integer of 64 bits."""
    return rng.choice([rng.choice(_INTEGERS), rng.randrange(-10, 100), rng.randrange(-(2**63), 2**63)])


def real(rng: Random) -> float:
    """A number, perhaps not finite."""
    return rng.choice([rng.choice(_REALS), rng.uniform(-2, 2), rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300)])


def text(rng: Random) -> str:
    """A text that UTF-8 can encode."""
    letters = (
        chr(rng.choice([rng.randrange(32, 127), rng.randrange(0xD800), rng.randrange(0xE000, 0x11000)]))
        for _ in range(5)
    )
    return rng.choice([rng.choice(_TEXTS), "".join(letters)])


def value(rng: Random, depth: int = 3) -> Any:
    """A value as JSON has it."""
    kind = rng.randrange(9 if depth else 6)
    if kind == 6:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        return {text(rng): value(rng, depth - 1) for _ in range(rng.randrange(4))}
    if kind == 8:
        nested: Any = 1
        for _ in range(rng.choice([5, 900])):
            nested = [nested]
        return nested
    return rng.choice([integer, real, text, lambda rng: None, lambda rng: rng.random() < 0.5, _beyond])(rng)


def changed(content: Any, rng: Random) -> Any:
    """JSON after one to three of its values were replaced, removed or added."""
    for _ in range(rng.randint(1, 3)):
        content = _changed_once(content, rng)
    return content


def _changed_once(content: Any, rng: Random) -> Any:
    if not isinstance(content, dict | list) or not content or rng.random() < 0.05:
        return value(rng)
    key = rng.choice(list(content)) if isinstance(content, dict) else rng.randrange(len(content))
    copy = content.copy()
    if isinstance(content[key], dict | list) and rng.random() < 0.7:
        copy[key] = _changed_once(content[key], rng)
    elif (act := rng.random()) < 0.7:
        copy[key] = value(rng)
    elif act < 0.85:
        del copy[key]
    elif isinstance(copy, dict):
        copy[text(rng)] = value(rng)
    else:
        copy.append(value(rng))
    return copy


def _beyond(rng: Random) -> int:
    return rng.choice(_BEYOND)
