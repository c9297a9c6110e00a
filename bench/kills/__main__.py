"""Kills at random moments: after each, the files can be read, the command goes on, and its results are the same.

Each command is killed many times: by SIGKILL, by SIGTERM, and by the end of one of its workers. The moments are spread
over the time of an undisturbed run. After each kill everything in the files is part of the undisturbed run's results,
the command is run again, and then its results equal those of the undisturbed run byte for byte. No process may be left.

python -m bench.kills [--repeats 30] [--only NAME ...] [--seed 1]
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import get_args

from bench.kills.inputs import prepare
from bench.kills.subjects import SUBJECTS, Subject
from bench.kills.trials import Problem, Trial, attempt, plan, usual
from bench.report import print_json

_PROBLEMS: tuple[Problem, ...] = get_args(Problem)


def main() -> int:
    """Run the benchmark and print its figures. Returns 1 if anything was wrong after a kill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30, help="kills of each command")
    parser.add_argument("--only", nargs="+", choices=[subject.name for subject in SUBJECTS], metavar="NAME")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chosen = [subject for subject in SUBJECTS if options.only is None or subject.name in options.only]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name) / "given")
        trials = {subject.name: _trials(subject, Path(name), options) for subject in chosen}
    figures = _figures([trial for some in trials.values() for trial in some])
    by_subject = {name: len(some) for name, some in trials.items()}
    print_json("kills", figures | {"of": by_subject, "seed": options.seed, "seconds": round(time.monotonic() - start)})
    return int(any(figures[problem] for problem in _PROBLEMS))


def _trials(subject: Subject, root: Path, options: argparse.Namespace) -> list[Trial]:
    given, own = root / "given", root / subject.name
    expected = usual(subject, given, own)
    print(f"{subject.name}: {expected.seconds:.1f} s without a kill", flush=True)
    trials = []
    for kill in plan(subject, options.repeats, options.seed):
        trial = attempt(subject, kill, expected, given, own)
        for problem, text in trial.problems:
            print(f"{subject.name}, {kill.kind} after {kill.share:.3f} of its time, {problem}: {text}", flush=True)
        trials.append(trial)
    print(f"{subject.name}: {len(trials)} kills, {sum(bool(trial.problems) for trial in trials)} bad", flush=True)
    return trials


def _figures(trials: list[Trial]) -> dict[str, object]:
    problems = Counter(problem for trial in trials for problem in {problem for problem, _ in trial.problems})
    kinds = Counter(trial.kill.kind for trial in trials)
    counts: dict[str, int] = {problem: problems[problem] for problem in _PROBLEMS}
    before_start = sum(trial.is_before_start for trial in trials)
    return {"kills": len(trials), **counts, "kinds": dict(kinds), "SIGTERM_before_start": before_start}


if __name__ == "__main__":
    sys.exit(main())
