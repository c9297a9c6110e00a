"""What a rehearsal has measured: kept in a file between runs, printed as a table, extrapolated to the dataset."""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from recipes.rehearsal.resources import MemoryWatch, disk_bytes
from rwkv.errors import InputError
from rwkv.files import replacing

DATASET_REVIEWS = 727_000_000

_FORM = "{:<14} {:>10} {:>14} {:>10} {:>13} {:>10} {:>12} {:>12}"
_TITLES = ("stage", "s", "reviews/s", "memory GB", "one process", "disk GB", "727 M: h", "727 M: GB")
_GB = 1e9


@dataclass
class StageFigures:
    """The figures of a stage, over all runs that it took.

    Attributes:
        seconds: The time.
        memory, memory_of_one: The peak of all processes together, and of a single one, in bytes.
        disk: What the stage wrote, in bytes.
        share: The part of the reviews that the stage handled; 0.5 for half an epoch.
        runs: How often the stage was started.
        is_done: Whether it has ended.
    """

    seconds: float = 0.0
    memory: int = 0
    memory_of_one: int = 0
    disk: int = 0
    share: float = 1.0
    runs: int = 0
    is_done: bool = False


@dataclass
class Figures:
    """The figures of all stages in a file, with the settings of the rehearsal.

    Attributes:
        settings: The options that all runs in the folder share.
        reviews: The reviews of the simulated dataset; 0 until the training store has counted them.
    """

    path: Path
    settings: dict[str, object]
    reviews: int = 0
    stages: dict[str, StageFigures] = field(default_factory=dict)

    def load(self) -> "Figures":
        """Read the figures of earlier runs. Raises InputError if they had other settings."""
        if self.path.is_file():
            stated = json.loads(self.path.read_text())
            if stated["settings"] != self.settings:
                raise InputError(
                    "The folder has a rehearsal with other options.",
                    where=str(self.path),
                    got=str(self.settings),
                    expected=str(stated["settings"]),
                    hint="choose another --out, or use the same options to continue",
                )
            self.reviews = stated["reviews"]
            self.stages = {name: StageFigures(**values) for name, values in stated["stages"].items()}
        return self

    def save(self) -> None:
        """Write the file."""
        stages = {name: asdict(stage) for name, stage in self.stages.items()}
        with replacing(self.path) as partial:
            partial.write_text(json.dumps({"settings": self.settings, "reviews": self.reviews, "stages": stages}))

    def is_done(self, name: str) -> bool:
        """Whether a stage has ended."""
        return name in self.stages and self.stages[name].is_done

    @contextmanager
    def measured(self, name: str, written: Path, share: float = 1.0) -> Iterator[None]:
        """Measure a stage. An interrupted one keeps its figures, too. written: the folder it writes."""
        stage = self.stages.setdefault(name, StageFigures())
        start = time.perf_counter()
        watch = MemoryWatch()
        try:
            with watch:
                yield
            stage.is_done = True
        finally:
            stage.seconds += time.perf_counter() - start
            stage.memory = max(stage.memory, watch.peak)
            stage.memory_of_one = max(stage.memory_of_one, watch.peak_of_one)
            stage.disk = disk_bytes(written)
            stage.share = share
            stage.runs += 1
            self.save()

    def table(self) -> str:
        """The figures, and time and disk for the whole dataset, if both grow with the number of reviews.

        Until the reviews are counted, what follows from their number is "nan".
        """
        scale = DATASET_REVIEWS / self.reviews if self.reviews else math.nan
        stages = list(self.stages.values())
        hours = [stage.seconds / stage.share * scale / 3600 for stage in stages]
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        lines = [f"{self.reviews:,} reviews; {settings}", _FORM.format(*_TITLES)]
        for name, stage, hour in zip(self.stages, stages, hours, strict=True):
            rate = f"{DATASET_REVIEWS / scale * stage.share / max(stage.seconds, 1e-9):,.0f}"
            lines.append(_line(name, stage, rate, hour, scale))
        total = StageFigures(
            seconds=sum(stage.seconds for stage in stages),
            memory=max((stage.memory for stage in stages), default=0),
            memory_of_one=max((stage.memory_of_one for stage in stages), default=0),
            disk=sum(stage.disk for stage in stages),
        )
        lines.append(_line("total", total, "", sum(hours), scale))
        if unfinished := [name for name, stage in self.stages.items() if not stage.is_done]:
            lines.append(f"not finished: {', '.join(unfinished)}")
        return "\n".join(lines)


def _line(name: str, stage: StageFigures, rate: str, hours: float, scale: float) -> str:
    return _FORM.format(
        name,
        f"{stage.seconds:,.0f}",
        rate,
        f"{stage.memory / _GB:.2f}",
        f"{stage.memory_of_one / _GB:.2f}",
        f"{stage.disk / _GB:.2f}",
        f"{hours:,.2f}",
        f"{stage.disk * scale / _GB:,.1f}",
    )
