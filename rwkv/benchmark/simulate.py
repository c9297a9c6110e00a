"""Write simulated learners as a dataset."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from rwkv.data.revlogs import has_revlog, write_user
from rwkv.data.simulate import SPREAD, simulate_users
from rwkv.errors import InputError
from rwkv.files import replacing
from rwkv.locks import only_writer_in
from rwkv.plurals import counted
from rwkv.runtime import log, progress
from rwkv.workers import map_users

# The arguments of the simulation; written first.
_SETTINGS_FILE = "simulated.json"
# The reviews of learners that are simulated in one batch.
_RUN_REVIEWS = 1_000_000


def simulate(
    users: int, reviews: int, seed: int, out: Path, first_user: int = 1, spread: float = SPREAD, processes: int = 1
) -> int:
    """Write simulated learners as a dataset, or continue an interrupted run with the same arguments.

    Args:
        users: The number of learners.
        reviews: The mean number of reviews of a learner.
        seed: The seed of the learners.
        out: The dataset's folder.
        first_user: The number of the first learner.
        spread: The standard deviation of the log number of reviews.
        processes: The number of worker processes.

    Returns:
        The exit code.

    Raises:
        InputError: The folder holds another dataset, or cannot be written.
    """
    settings: dict[str, Any] = {
        "users": users,
        "reviews": reviews,
        "seed": seed,
        "first_user": first_user,
        "spread": spread,
    }
    simulate_users(**settings)  # check the numbers before writing anything
    try:
        with only_writer_in(out, "another folder"):
            _claim(out, settings)
            runs = _runs_left(out, range(first_user, first_user + users), max(1, _RUN_REVIEWS // reviews))
            remaining = sum(len(run) for run in runs)
            log.info("%s, %s of them done before", counted(users, "user"), f"{users - remaining:,}")
            job = partial(_write_run, out, reviews, seed, spread, {run[0]: run for run in runs})
            with progress((), users, "learners", done_before=users - remaining) as bar:
                for outcome in map_users(job, [run[0] for run in runs], processes):
                    if outcome.error is not None:
                        raise outcome.error
                    bar.update(outcome.result or 0)
    except OSError as error:
        hint = "check the path, its permissions and the free space"
        raise InputError("The dataset cannot be written.", where=str(out), got=str(error), hint=hint) from error
    return 0


def _write_run(out: Path, reviews: int, seed: int, spread: float, runs: dict[int, range], first: int) -> int:
    """In a worker: simulate and write the learners of one run. Returns their number."""
    for user in simulate_users(len(runs[first]), reviews, seed, first, spread):
        write_user(out, user)
    return len(runs[first])


def _runs_left(out: Path, users: range, most: int) -> list[range]:
    """The users that are not written yet, in runs of at most `most` consecutive numbers."""
    runs: list[range] = []
    for user in users:
        if has_revlog(out, user):
            continue
        if runs and runs[-1].stop == user and len(runs[-1]) < most:
            runs[-1] = range(runs[-1].start, user + 1)
        else:
            runs.append(range(user, user + 1))
    return runs


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Write the settings to the folder. Raises InputError if it holds another dataset."""
    file = out / _SETTINGS_FILE
    stated = json.dumps(settings)
    existing = file.read_text(errors="replace") if file.is_file() else None
    if existing == stated:
        return
    if existing is not None or (out / "revlogs").exists():
        raise InputError(
            "The folder holds another dataset.",
            where=str(out),
            got=existing or f"reviews without {_SETTINGS_FILE}",
            expected=stated,
            hint="choose another folder, or use the same arguments to continue",
        )
    from rwkv.data import arrow  # noqa: F401 - fail before writing where pyarrow is missing

    with replacing(file) as partial:
        partial.write_text(stated)
