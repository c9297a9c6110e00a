"""Damaged and wild files: each is read right, or refused with a message, in bounded time and memory.

Most cases change bytes of a sound file: flipped, foreign, zeroed, cut, added, removed, copied. The others are valid
files with wild values. A case is good if the reader gives the sound file's value, or an RwkvError. Where the format has
a checksum, another value is a silent wrong number; parquet, CSV, TOML, SQLite and JSON have none, so there and for wild
values other values count as read. Cases run in processes of their own, so that crashes and hangs are seen, and so many
at once as --processes says. Progress is shown on stderr, in a file as a line every half minute.

python -m bench.fuzz [--cases 100000] [--only NAME ...] [--seed 1] [--processes 2]
python -m bench.fuzz --only NAME --seed SEED --case NUMBER      one case again, in this process
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.fuzz.batch import Cases
from bench.fuzz.subjects import SUBJECTS
from bench.report import print_json
from rwkv.runtime import progress

_PROBLEMS = ("traceback", "crash", "hang", "memory", "silent", "endless")
# Cases of a process; the number of processes changes neither the cases nor the figures.
_BATCH = 1000
# The first word of faulthandler.
_TIMEOUT = "Timeout ("
_SHOWN = 20


Finding = tuple[int, str, str]


@dataclass
class Tally:
    """Counts by outcome, and the findings: number of the case, kind and text."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def add(self, number: int, kind: str, text: str) -> None:
        """Count an outcome. text: not empty if it must not happen."""
        self.counts[kind] += 1
        if text:
            self.findings.append((number, kind, text))


def main() -> int:
    """Run the benchmark and print its figures. Returns 1 if a case was bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), metavar="NAME", default=list(SUBJECTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--case", type=int, help="run only this case of the subject")
    options = parser.parse_args()
    if options.case is not None:
        return _run_one(options.only[0], options.seed, options.case)
    start = time.monotonic()
    tallies = _run_all(_numbers(options.only, options.cases), options.seed, options.processes)
    for name, tally in tallies.items():
        print(f"{name:<12}", ", ".join(f"{count} {outcome}" for outcome, count in sorted(tally.counts.items())))
        print(*distinct(tally.findings), sep="\n", end="\n" * bool(tally.findings))
    total = sum((tally.counts for tally in tallies.values()), Counter())
    figures = {"cases": sum(total[name] for name in ("same", "other", "refused", *_PROBLEMS)), **total}
    figures |= {problem: total[problem] for problem in _PROBLEMS}
    print_json("fuzz", {**figures, "seed": options.seed, "seconds": round(time.monotonic() - start)})
    return int(any(total[problem] for problem in _PROBLEMS))


def _numbers(names: list[str], cases: int) -> dict[str, int]:
    """The number of cases of each subject."""
    shares = {name: SUBJECTS[name].share for name in names}
    return {name: round(cases * share / sum(shares.values())) for name, share in shares.items()}


def _run_all(numbers: dict[str, int], seed: int, processes: int) -> dict[str, Tally]:
    tallies = {name: Tally() for name in numbers}
    batches = [
        (name, first, min(first + _BATCH, count))
        for name, count in numbers.items()
        for first in range(0, count, _BATCH)
    ]
    with ThreadPoolExecutor(processes) as pool, progress([], sum(numbers.values()), "fuzz", "case") as bar:
        jobs = {pool.submit(run_batch, *batch, seed): batch for batch in batches}
        try:
            for job in as_completed(jobs):
                (name, first, stop), tally = jobs[job], job.result()
                tallies[name].counts += tally.counts
                tallies[name].findings += tally.findings
                bar.update(stop - first)
        finally:
            for job in jobs:  # after an error
                job.cancel()
    return tallies


def run_batch(name: str, first: int, stop: int, seed: int) -> Tally:
    """Run the cases of a subject from `first` to `stop` in processes, a new one after a crash."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        while first < stop:
            arguments = [name, str(seed), str(first), str(stop), str(results)]
            command = [sys.executable, "-m", "bench.fuzz.batch", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = results.read_text().splitlines() if results.exists() else []
            if not lines:
                raise RuntimeError(f"{name} cannot be run:\n{done.stderr[-3000:]}")
            first = _count(tally, [json.loads(line) for line in lines])
            if done.returncode:
                tally.add(first, _kind_of_end(done), f"exit code {done.returncode}\n{done.stderr[-2000:]}")
                first += 1
    return tally


def _count(tally: Tally, lines: list[Any]) -> int:
    """Count the outcomes of a process. Returns the case that has no outcome, or the one after the last."""
    for number, outcomes in zip(lines[::2], lines[1::2], strict=False):
        for kind, text in outcomes:
            tally.add(number, kind, text)
    return lines[-1] if len(lines) % 2 else lines[-2] + 1


def _kind_of_end(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return "crash"
    if _TIMEOUT in done.stderr:
        return "hang"
    raise RuntimeError(f"a case cannot be made:\n{done.stderr[-3000:]}")


def distinct(findings: list[Finding]) -> list[str]:
    """The findings of different kinds and texts, each with its number and its first case."""
    first: dict[tuple[str, str], int] = {}
    count: Counter[tuple[str, str]] = Counter()
    for number, kind, text in sorted(findings):
        first.setdefault((kind, text), number)
        count[kind, text] += 1
    shown = sorted(first, key=lambda key: -count[key])[:_SHOWN]
    return [f"  {count[kind, text]} {kind}, first in case {first[kind, text]}: {text}" for kind, text in shown]


def _run_one(name: str, seed: int, number: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        outcomes = Cases(SUBJECTS[name], str(seed), Path(folder)).run(number)
    print(*map(" ".join, outcomes), sep="\n")
    return int(any(text for _, text in outcomes))


if __name__ == "__main__":
    sys.exit(main())
