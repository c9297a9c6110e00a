"""Trials: a command is killed at a moment, its files are read, it is run again, and the results are compared."""

import functools
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.kills.contents import Contents, is_checkpoint, parts_of, remains, results
from bench.kills.processes import Command, send
from bench.kills.subjects import Subject

Kind = Literal["SIGKILL", "SIGTERM", "worker", "all"]
Problem = Literal["lost", "hangs", "tracebacks", "orphans", "differing", "unclear"]

# Kinds of a round of five kills: of the command, of one of its workers, and of all its processes at once.
_KINDS: tuple[Kind, ...] = ("SIGKILL", "SIGTERM", "SIGKILL", "worker", "all")
# Workers of PyTorch look every 5 s whether their command is gone.
_ORPHANS_AFTER_S = 15
# A command hangs when it needs this many times its usual time, and at least so many seconds.
_SLOWER, _LEAST_S = 10, 60.0
_SOONER = 0.8
_WORKER_KILLED = "A worker process was killed"
_ENDED = "ended by SIGTERM; files already written are kept"
# A mark of what the command itself says, but torchrun does not.
_OURS = "INFO: "


@dataclass(frozen=True)
class Kill:
    """A planned kill, at a share of the command's usual time."""

    kind: Kind
    share: float


@dataclass(frozen=True)
class Usual:
    """An undisturbed run: its time and its results."""

    seconds: float
    results: Contents

    @property
    def patience_s(self) -> float:
        """After so many seconds a command hangs."""
        return max(_LEAST_S, _SLOWER * self.seconds)


@dataclass
class Trial:
    """A kill of a subject and what was wrong after it. is_before_start: a SIGTERM came while Python started."""

    subject: Subject
    kill: Kill
    is_before_start: bool = False
    problems: list[tuple[Problem, str]] = field(default_factory=list)

    def note(self, problem: Problem, text: str) -> None:
        """Note something that is wrong."""
        self.problems.append((problem, text))


def plan(subject: Subject, repeats: int, seed: int) -> Iterator[Kill]:
    """Kills spread evenly over the time of a command."""
    rng = random.Random(f"{seed} {subject.name}")
    shares = [(number + rng.random()) / repeats for number in range(repeats)]
    rng.shuffle(shares)
    for number, share in enumerate(shares):
        kind = _KINDS[number % len(_KINDS)]
        yield Kill(kind if subject.has_workers or kind == "SIGTERM" else "SIGKILL", share)


def usual(subject: Subject, given: Path, root: Path) -> Usual:
    """Run a command twice without a kill. Raises RuntimeError if it fails, or its results are not the same."""
    runs = []
    for _ in range(2):
        out = _empty(root)
        start = time.monotonic()
        command = Command(subject.command(given, out), root / "log.txt")
        code, seconds = command.wait(600), time.monotonic() - start
        command.end()
        if code != 0:
            raise RuntimeError(f"{subject.name} ends with {code} without any kill:\n{command.text}")
        runs.append(Usual(seconds, results(out)))
    if differences := _differing(runs[0].results, runs[1].results):
        raise RuntimeError(f"two runs of {subject.name} differ without any kill: {differences}")
    return runs[1]


def attempt(subject: Subject, kill: Kill, expected: Usual, given: Path, root: Path) -> Trial:
    """Kill a command, run it again, and judge both."""
    trial = Trial(subject, kill)
    share = kill.share
    while True:
        out = _empty(root)
        killed = Command(subject.command(given, out), root / "killed.txt")
        try:
            is_done = functools.partial(_is_done, out, expected)
            if _end(trial, killed, share * expected.seconds, expected.patience_s, is_done):
                break
        finally:
            if killed.wait(0) is None:
                killed.end()
        killed.end()
        share *= _SOONER
    try:
        _check_remains(trial, out, given, expected)
        _run_again(trial, subject, given, out, expected)
        _check_orphans(trial, killed)
    finally:
        killed.end()
    return trial


def _is_done(out: Path, expected: Usual) -> bool:
    return not _differing(results(out), expected.results)


def _apart_from_stop(trial: Trial, found: Contents, expected: Usual) -> Contents:
    """What was found without the checkpoint that a training saves when SIGTERM stops it."""
    if trial.kill.kind != "SIGTERM":
        return found
    return {name: part for name, part in found.items() if name in expected.results or not is_checkpoint(name)}


def _end(trial: Trial, command: Command, after_s: float, patience_s: float, is_done: Callable[[], bool]) -> bool:
    """End a command, or a part of it, after so many seconds. Returns False if it was done before."""
    kind = trial.kill.kind
    if command.wait(after_s) is not None:
        return False
    if kind == "worker":
        if (worker := _some_worker(command, trial.kill.share)) is None:
            return False
        send(signal.SIGKILL, worker)
    else:
        send(signal.SIGTERM if kind == "SIGTERM" else signal.SIGKILL, command.pid, *command.others() * (kind == "all"))
    code = command.wait(patience_s)
    text = command.text
    trial.is_before_start = kind == "SIGTERM" and code == -signal.SIGTERM and not text
    if code is None:
        trial.note("hangs", "after the kill")
    elif code == 0 and kind != "worker":  # a worker without remaining work is not missed
        return False
    elif not (_is_clear_end(trial, code, text) or (code == -signal.SIGTERM and is_done())):  # while Python ends
        trial.note("unclear", f"exit code {code}, {text[-600:]!r}")
    _check_text(trial, text, is_killed=True)
    return True


def _some_worker(command: Command, share: float) -> int | None:
    """One of the workers, as soon as there is one; None if the command ended before."""
    while not (workers := command.workers()):
        if command.wait(0.005) is not None:
            return None
    return random.Random(share).choice(workers)


def _is_clear_end(trial: Trial, code: int, text: str) -> bool:
    """Whether a command says why it ended, once it can: until Python has started, the system ends it silently."""
    kind, is_shared = trial.kill.kind, trial.subject.is_shared
    if kind == "worker":
        return code == 0 or (code == 1 and (_WORKER_KILLED in text or (is_shared and _has_lost_a_process(text))))
    if kind != "SIGTERM":
        return code == -signal.SIGKILL
    if code == -signal.SIGTERM:
        return text == ""
    has_said = _ENDED in text
    return (code == 128 + signal.SIGTERM and has_said) or (is_shared and (has_said or _OURS not in text))


def _has_lost_a_process(text: str) -> bool:
    """Whether processes say that one is lost. Torchrun alone says it if none of them had begun."""
    return re.search(r"Process \d of the \d of this training has ended", text) is not None or _OURS not in text


def _check_text(trial: Trial, text: str, is_killed: bool = False) -> None:
    usual = 1 if trial.subject.is_shared and is_killed else 0
    if text.count("Traceback") > usual:
        trial.note("tracebacks", text[text.index("Traceback") :][:2000])


def _check_remains(trial: Trial, out: Path, given: Path, expected: Usual) -> None:
    try:
        parts = _apart_from_stop(trial, remains(out, given), expected)
    except Exception as error:  # noqa: BLE001 - whatever it is, the file is not readable
        trial.note("lost", f"what was left cannot be read: {type(error).__name__}: {error}")
        return
    whole = parts_of(expected.results)
    strange = [name for name, value in parts.items() if whole.get(name) != value]
    if strange:
        trial.note("lost", f"what was left is not part of the results: {strange[:5]}")


def _run_again(trial: Trial, subject: Subject, given: Path, out: Path, expected: Usual) -> None:
    command = Command(subject.command(given, out), out.parent / "again.txt")
    try:
        code = command.wait(expected.patience_s)
        if code is None:
            trial.note("hangs", "when run again")
        elif code != 0:
            trial.note("lost", f"run again, it ends with {code}: {command.text[-600:]}")
        elif differences := _differing(_apart_from_stop(trial, results(out), expected), expected.results):
            trial.note("differing", differences)
        _check_text(trial, command.text)
        if code is not None:
            _check_orphans(trial, command)
    finally:
        command.end()


def _check_orphans(trial: Trial, command: Command) -> None:
    if left := command.orphans(_ORPHANS_AFTER_S):
        trial.note("orphans", f"{len(left)} processes")


def _differing(ours: Contents, expected: Contents) -> str:
    """The names of what differs; empty if nothing does."""
    names = sorted(name for name in ours.keys() | expected.keys() if ours.get(name) != expected.get(name))
    return f"{len(names)} parts, such as {names[:5]}" if names else ""


def _empty(root: Path) -> Path:
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    return out
