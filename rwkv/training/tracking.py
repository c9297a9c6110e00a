"""The door to Weights & Biases, and the log of a run: one JSON line a step or validation."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rwkv.runtime import log


@dataclass(frozen=True)
class WandbSettings:
    """Where a run is logged. resume_id: of an earlier run that is continued, "" for a new one."""

    project: str
    resume_id: str


class Tracker:
    """Writes figures by step to a file of JSON lines, and to Weights & Biases where that is wanted."""

    def __init__(self, path: Path, wandb: WandbSettings | None, keys: dict[str, object], first_step: int) -> None:
        """first_step: lines of this and later steps, left by a run that was stopped, are dropped."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._wandb = None if wandb is None else _start_wandb(wandb, keys)
        _drop_from(path, first_step)
        self._file = path.open("a")

    def write(self, step: int, figures: dict[str, float | None]) -> None:
        """Log figures of a step."""
        self._file.write(json.dumps({"step": step, **figures}) + "\n")
        self._file.flush()
        if self._wandb is not None:
            self._wandb.log(figures, step=step)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._wandb is not None:
            self._wandb.finish()


def _drop_from(path: Path, first_step: int) -> None:
    if not path.is_file():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError):
            continue  # the last line of a run that was killed while it wrote
        if step < first_step:
            kept.append(line + "\n")
    path.write_text("".join(kept))


def _start_wandb(settings: WandbSettings, keys: dict[str, object]) -> Any:
    try:
        import wandb
    except ImportError:
        log.info("the package wandb is not installed: the run is logged in its folder only")
        return None
    has_login = wandb.api.api_key is not None
    if not has_login:
        log.info("no login to Weights & Biases: the run is logged offline, under ./wandb")
    return wandb.init(
        project=settings.project,
        id=settings.resume_id or None,
        resume="must" if settings.resume_id and has_login else None,
        mode="online" if has_login else "offline",
        config=keys,
    )
