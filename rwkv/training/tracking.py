"""The door to Weights & Biases, and the log of a run: one JSON line a step or validation."""

import json
import math
import netrc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from rwkv.errors import RwkvError
from rwkv.files import file_errors, write_whole
from rwkv.runtime import log


@dataclass(frozen=True)
class WandbSettings:
    """Where a run is logged. resume_id: of an earlier run that is continued, "" for a new one."""

    project: str
    resume_id: str


class Tracker:
    """Writes figures by step to a file of JSON lines, and to Weights & Biases where that is wanted."""

    def __init__(self, path: Path, wandb: WandbSettings | None, keys: dict[str, object], first_step: int) -> None:
        """first_step: lines of this and later steps, left by a run that was stopped, are dropped. keys: for wandb.

        Raises InputError where the file cannot be written, RwkvError where Weights & Biases refuses the run.
        """
        self._path = path
        _drop_from(path, first_step)
        with file_errors(path):
            self._file = path.open("a")
        self._wandb = None if wandb is None else _start_wandb(wandb, keys)

    def write(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Log figures of a step; one that is not finite is logged as none."""
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


def _drop_from(path: Path, first_step: int) -> None:
    """Keep only lines of steps before the first; the last line of a run that was killed may be cut short."""
    lines = b""
    if path.is_file():
        with file_errors(path):
            lines = path.read_bytes()
    kept = [line for line in lines.splitlines(keepends=True) if line.endswith(b"\n") and _step_of(line) < first_step]
    write_whole(path, b"".join(kept))


def _step_of(line: bytes) -> float:
    """The step of a line; infinite where the line is none of ours."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
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
        raise RwkvError("Weights & Biases cannot be used.", got=str(error), hint=hint) from error


def _has_wandb_login() -> bool:
    """Whether there is a key where `wandb login` puts it, or in the environment: wandb itself would ask for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    try:
        logins = netrc.netrc(os.environ.get("NETRC") or Path.home() / ".netrc")
    except (OSError, netrc.NetrcParseError):
        return False
    return host is not None and logins.authenticators(host) is not None
