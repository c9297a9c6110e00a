"""Write simulated learners as a dataset, to try everything without downloading one."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from rwkv.data.revlogs import has_revlog, write_user
from rwkv.data.simulate import SPREAD, simulate_users
from rwkv.errors import InputError
from rwkv.files import replacing
from rwkv.locks import only_writer_in
from rwkv.runtime import log, progress
from rwkv.workers import map_users

# What the dataset was made with; written before anything else.
_SETTINGS_FILE = "simulated.json"
# Learners are simulated side by side, so many that they make about this many reviews.
_RUN_REVIEWS = 1_000_000


def simulate(
    users: int, reviews: int, seed: int, out: Path, first_user: int = 1, spread: float = SPREAD, processes: int = 1
) -> int:
    """Write users first_user, first_user + 1, ... below `out`; `reviews` is their mean number. Returns the exit code.

    spread: of the log of their numbers of reviews. After a kill the same arguments go on where it stopped. Raises
    InputError where `out` holds another dataset or cannot be written.
    """
    settings: dict[str, Any] = {
        "users": users,
        "reviews": reviews,
        "seed": seed,
        "first_user": first_user,
        "spread": spread,
    }
    simulate_users(**settings)  # refuses impossible numbers before anything is written
    try:
        with only_writer_in(out, "another folder"):
            _claim(out, settings)
            runs = _runs_left(out, range(first_user, first_user + users), max(1, _RUN_REVIEWS // reviews))
            left = sum(len(run) for run in runs)
            log.info("%d users, %d of them done before", users, users - left)
            job = partial(_write_run, out, reviews, seed, spread, {run[0]: run for run in runs})
            with progress((), users, "learners", done_before=users - left) as bar:
                for outcome in map_users(job, [run[0] for run in runs], processes):
                    if outcome.error is not None:
                        raise outcome.error
                    bar.update(outcome.result or 0)
    except OSError as error:
        raise InputError("The dataset cannot be written.", where=str(out), got=str(error)) from error
    return 0


def _write_run(out: Path, reviews: int, seed: int, spread: float, runs: dict[int, range], first: int) -> int:
    """In a worker: simulate and write the learners of one run; returns how many."""
    for user in simulate_users(len(runs[first]), reviews, seed, first, spread):
        write_user(out, user)
    return len(runs[first])


def _runs_left(out: Path, wanted: range, most: int) -> list[range]:
    """The users who are not written yet, in runs of consecutive numbers, none longer than `most`."""
    runs: list[range] = []
    for user in wanted:
        if has_revlog(out, user):
            continue
        if runs and runs[-1].stop == user and len(runs[-1]) < most:
            runs[-1] = range(runs[-1].start, user + 1)
        else:
            runs.append(range(user, user + 1))
    return runs


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Make `out` the place of this dataset, unless it holds another one."""
    file = out / _SETTINGS_FILE
    stated = json.dumps(settings)
    there = file.read_text(errors="replace") if file.is_file() else None
    if there == stated:
        return
    if there is not None or (out / "revlogs").exists():
        raise InputError(
            "The folder holds another dataset already.",
            where=str(out),
            got=there or f"reviews without {_SETTINGS_FILE}",
            expected=stated,
            hint="give another folder, or the same arguments to go on",
        )
    with replacing(file) as partial:
        partial.write_text(stated)
