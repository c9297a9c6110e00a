"""The log of a run, one JSON line for each step or validation, and Weights & Biases."""

import json
import math
import netrc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlsplit

from rwkv.errors import RwkvError
from rwkv.files import file_errors, write_whole
from rwkv.runtime import log

# How names of figures of a validation begin.
VALIDATION_PREFIX = "validation_"
# A validation after a step lies so far before the next step.
_VALIDATION = 0.5


@dataclass(frozen=True)
class WandbSettings:
    """Settings of Weights & Biases.

    Attributes:
        project: Name of the project.
        resume_id: Id of an earlier run to continue; empty for a new one.
    """

    project: str
    resume_id: str


class Log(Protocol):
    """A log of figures by step."""

    def write(self, step: int, figures: Mapping[str, float | None]) -> None: ...


class NoLog:
    """Writes nothing, in processes other than the first."""

    def write(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Ignore the figures."""


class Tracker:
    """Writes figures by step to a file of JSON lines and, if configured, to Weights & Biases."""

    def __init__(
        self,
        path: Path,
        wandb: WandbSettings | None,
        keys: dict[str, object],
        first_step: int,
        is_validated: bool = True,
    ) -> None:
        """Open the log.

        Args:
            path: The file.
            wandb: Settings of Weights & Biases; None to use only the file.
            keys: The configuration, for Weights & Biases.
            first_step: Next step. Lines of this and later steps, which a stopped run left, are removed.
            is_validated: False to remove the figures of a validation after the step before, too.

        Raises:
            InputError: The file cannot be written.
            RwkvError: Weights & Biases refuses the run.
        """
        self._path = path
        _drop_from(path, first_step if is_validated else first_step - _VALIDATION)
        with file_errors(path):
            self._file = path.open("a")
        self._wandb = None if wandb is None else _start_wandb(wandb, keys)

    def write(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Log the figures of a step; values that are not finite are logged as null."""
        known = {name: value if value is not None and math.isfinite(value) else None for name, value in figures.items()}
        with file_errors(self._path):
            self._file.write(json.dumps({"step": step, **known}) + "\n")
            self._file.flush()
        if self._wandb is not None:
            self._wandb.log(known, step=step)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with file_errors(self._path):
            self._file.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=0 if error is None else 1)


def _drop_from(path: Path, first: float) -> None:
    """Keep only lines before the place `first`; a killed run may have left a truncated last line."""
    lines = b""
    if path.is_file():
        with file_errors(path):
            lines = path.read_bytes()
    kept = [line for line in lines.splitlines(keepends=True) if line.endswith(b"\n") and _place_of(line) < first]
    write_whole(path, b"".join(kept))


def _place_of(line: bytes) -> float:
    """The step of a line, and a part of a step more for a validation; infinity if it is not a line of this log."""
    try:
        figures = json.loads(line)
        is_validation = any(name.startswith(VALIDATION_PREFIX) for name in figures)
        return float(figures["step"]) + (1 - _VALIDATION) * is_validation
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return math.inf


def _start_wandb(settings: WandbSettings, keys: dict[str, object]) -> Any:
    try:
        import wandb
    except ImportError:
        log.info("the package wandb is not installed: the run is logged in its folder only")
        return None
    has_login = _has_wandb_login()
    if not has_login:
        log.info("no login to Weights & Biases: the run is logged offline, under ./wandb")
    try:
        return wandb.init(
            project=settings.project,
            id=settings.resume_id or None,
            resume="must" if settings.resume_id and has_login else None,
            mode=None if has_login else "offline",
            config=keys,
        )
    except wandb.Error as error:
        hint = "correct WANDB_PROJECT_NAME and WANDB_RESUME_ID, or set USE_WANDB = false"
        raise RwkvError("Weights & Biases refused the run.", got=str(error), hint=hint) from error


def _has_wandb_login() -> bool:
    """Whether an API key is in the environment or where `wandb login` puts it; without one, wandb would prompt."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    try:
        logins = netrc.netrc(os.environ.get("NETRC") or Path.home() / ".netrc")
    except (OSError, netrc.NetrcParseError):
        return False
    return host is not None and logins.authenticators(host) is not None
