"""Cases of one subject in a process of its own, since a reader may crash or hang.

python -m bench.fuzz.batch SUBJECT SEED FIRST STOP RESULTS: runs the cases FIRST to STOP. The file RESULTS gets a line
with the number of a case when it begins, and a line with its outcomes when it ends.
"""

import faulthandler
import json
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from random import Random

from bench.fuzz.damage import damaged
from bench.fuzz.subject import Subject, plain
from bench.fuzz.subjects import SUBJECTS
from rwkv.errors import RwkvError

# A case that needs more hangs, or asks for too much.
_SECONDS, _MEGABYTES, _ADDRESSES = 20, 600, 12 << 30
# Where nothing waits for a disk, if the system has it.
_IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
_WILD_SHARE = 0.35
_LONGEST_MESSAGE = 20_000


def main() -> None:
    """Run the cases and write the results."""
    name, seed, first, stop, results = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    warnings.simplefilter("ignore")
    tempfile.tempdir = _IN_MEMORY
    with tempfile.TemporaryDirectory() as folder, Path(results).open("w", buffering=1) as file:
        cases = Cases(SUBJECTS[name], seed, Path(folder))
        for number in range(int(first), int(stop)):
            file.write(f"{number}\n")
            faulthandler.dump_traceback_later(_SECONDS, exit=True)
            outcomes = cases.run(number)
            faulthandler.cancel_dump_traceback_later()
            file.write(json.dumps(outcomes) + "\n")


class Cases:
    """The cases of a subject. Each depends only on the seed and its number."""

    def __init__(self, subject: Subject, seed: str, folder: Path) -> None:
        self._subject, self._seed = subject, seed
        self._sound, self._folder = folder / "sound", folder / "case"
        subject.make(self._sound)
        self._data = (self._sound / subject.file).read_bytes()
        self._expected = plain(subject.read(self._sound))

    def run(self, number: int) -> list[tuple[str, str]]:
        """Run one case. Returns its outcome, and what must not happen with a text."""
        rng = Random(f"{self._seed} {self._subject.name} {number}")
        is_wild = rng.random() < _WILD_SHARE
        data = self._subject.wild(self._sound, rng) if is_wild else damaged(self._data, rng)
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(self._sound, self._folder)
        (self._folder / self._subject.file).write_bytes(data)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcomes = [self._outcome(is_wild)]
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        return outcomes + [("memory", f"{grown:.0f} MB")] * (grown > _MEGABYTES)

    def _outcome(self, is_wild: bool) -> tuple[str, str]:
        try:
            value = plain(self._subject.read(self._folder))
        except RwkvError as error:
            if isinstance(error.__cause__, MemoryError):
                return "memory", str(error)
            return ("refused", "") if len(str(error)) < _LONGEST_MESSAGE else ("endless", str(error)[:300])
        except BaseException as error:  # noqa: BLE001 - whatever it is, a user would see a traceback
            return "traceback", _shortly(error)
        if value == self._expected:
            return "same", ""
        return ("silent", "another value") if self._subject.has_checksum and not is_wild else ("other", "")


def _shortly(error: BaseException) -> str:
    """An error with its place, and with the place in this project."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/rwkv/" in frame.filename][-1:]
    places = dict.fromkeys(f"{Path(frame.filename).name}:{frame.lineno}" for frame in (*ours, frames[-1]))
    return f"{', '.join(places)} {type(error).__name__}: {str(error)[:200]}"


if __name__ == "__main__":
    main()
