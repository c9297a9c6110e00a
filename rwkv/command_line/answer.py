"""The output of a command: text, or with --json one JSON object."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """The output of a command.

    Attributes:
        text: The output for people.
        fields: The output for programs; see `as_json`.
        exit_code: 0, or 1 if something was skipped.
    """

    text: str
    fields: Mapping[str, object] = field(default_factory=dict)
    exit_code: int = 0


def as_json(fields: Mapping[str, object]) -> str:
    """One JSON object in one line of ASCII, because names may contain control characters or any letter.

    Numbers that are not finite become null, and paths become text.
    """
    return json.dumps(_plain(fields), allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers; loading NumPy for this would slow --help
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
