"""Write simulated learners as a dataset, to try everything without downloading one."""

import json
from pathlib import Path

from rwkv.data.revlogs import has_revlog, write_user
from rwkv.data.simulate import simulate_users
from rwkv.errors import InputError
from rwkv.files import replacing
from rwkv.locks import only_writer_in
from rwkv.runtime import log, progress

# What the dataset was made with; written before anything else.
_SETTINGS_FILE = "simulated.json"


def simulate(users: int, reviews: int, seed: int, out: Path, first_user: int = 1) -> int:
    """Write users first_user, first_user + 1, ... below `out`; `reviews` is their mean number. Returns the exit code.

    After a kill the same arguments go on where it stopped. Raises InputError where `out` holds another dataset or
    cannot be written.
    """
    settings = {"users": users, "reviews": reviews, "seed": seed, "first_user": first_user}
    simulate_users(**settings)  # refuses impossible numbers before anything is written
    try:
        with only_writer_in(out, "another folder"):
            _claim(out, settings)
            done = _users_done(out, users, first_user)
            log.info("%d users, %d of them done before", users, done)
            if done < users:
                rest = simulate_users(users - done, reviews, seed, first_user + done)
                for user in progress(rest, users - done, "learners"):
                    write_user(out, user)
    except OSError as error:
        raise InputError("The dataset cannot be written.", where=str(out), got=str(error)) from error
    return 0


def _claim(out: Path, settings: dict[str, int]) -> None:
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


def _users_done(out: Path, users: int, first_user: int) -> int:
    """How many users are whole; they are written in order, so these are the first ones."""
    missing = (done for done in range(users) if not has_revlog(out, first_user + done))
    return next(missing, users)
