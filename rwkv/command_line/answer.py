"""What a command says on stdout: text for people, or with --json one object for programs."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Answer:
    """text: for people. fields: the same for programs, see `as_json`. exit_code: 1 where something was skipped."""

    text: str
    fields: Mapping[str, object] = field(default_factory=dict)
    exit_code: int = 0


def as_json(fields: Mapping[str, object]) -> str:
    """One JSON object in one line, in ASCII: names may hold what a terminal obeys, or an encoding lacks.

    A number that is not finite becomes null, a path its text.
    """
    return json.dumps(_plain(fields), allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
