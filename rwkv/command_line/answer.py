"""What a command says on stdout: text for people, or with --json one object for programs."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """text: for people. fields: the same for programs, see `as_json`. exit_code: 1 where something was skipped."""

    text: str
    fields: Mapping[str, object] = field(default_factory=dict)
    exit_code: int = 0
