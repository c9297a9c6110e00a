"""Download the dataset, or some of its users, from the Hugging Face hub."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import TypeVar

from rwkv.collection.users import shown_users
from rwkv.data.hub import PAGE, HubFile, begin_downloads, download_file, is_download, list_dataset
from rwkv.data.tables import table_files
from rwkv.errors import HistoryError, InputError, RwkvError
from rwkv.locks import only_writer_in
from rwkv.plurals import counted
from rwkv.runtime import Failures, log, progress

Item = TypeVar("Item")
Result = TypeVar("Result")

# Files that are fetched at the same time. They are small, so that most of the time of one is waiting.
_CONNECTIONS = 8


@dataclass(frozen=True)
class Download:
    """What was downloaded.

    Attributes:
        users: The users of the dataset that were asked for, ascending.
        absent: Those asked for that the dataset does not have.
        revision: The dataset's revision on the hub.
        bytes: The size of the users' files.
        files, fetched, kept: The number of the users' files, of those downloaded, and of those that were there.
        exit_code: 1 if some users could not be downloaded.
    """

    users: list[int]
    absent: list[int]
    revision: str
    bytes: int
    files: int
    fetched: int
    kept: int
    exit_code: int


def download(users: Sequence[int] | None, out: Path) -> Download:
    """Download users, or continue an interrupted download. Files that are there and intact are kept.

    Args:
        users: The users; None for all.
        out: The dataset's folder.

    Raises:
        RwkvError: The hub cannot be reached or refuses, or has none of the users, the folder has another dataset, or
            the disk is too small.
    """
    with only_writer_in(out, "another folder"):
        _refuse_other_dataset(out)
        log.info("reading the list of files on the hub")
        dataset = list_dataset()
        chosen, absent = _choose(users, {file.user for file in dataset.files})
        files = [file for file in dataset.files if file.user in chosen]
        _warn_of_others(files, out)
        lacking = _lacking(files, out)
        _check_space(lacking, out)
        fetched, failures = 0, Failures()
        if lacking:
            begin_downloads(out, dataset.revision)
            fetched, failures = _fetch(lacking, out, dataset.revision)
    return Download(
        sorted(chosen),
        absent,
        dataset.revision,
        sum(file.size for file in files),
        len(files),
        fetched,
        len(files) - len(lacking),
        failures.exit_code(),
    )


def _choose(users: Sequence[int] | None, present: set[int]) -> tuple[set[int], list[int]]:
    """The users to download, and those asked for that are not on the hub. Raises InputError if all are not."""
    if users is None:
        return present, []
    absent = sorted(set(users) - present)
    if not present & set(users):
        raise InputError(
            "None of the users is in the dataset on the hub.",
            where=PAGE,
            got=shown_users(absent),
            expected=f"users from {min(present)} to {max(present)}",
            hint="correct `users`",
        )
    return present & set(users), absent


def _refuse_other_dataset(out: Path) -> None:
    """Raise InputError if the folder has users that were not downloaded, because they would be overwritten."""
    if (out / "revlogs").exists() and not is_download(out):
        hint = "choose another `out`"
        raise InputError("The folder has a dataset that was not downloaded.", where=str(out), hint=hint)


def _warn_of_others(files: list[HubFile], out: Path) -> None:
    """Warn of files in the users' folders that the hub does not have, because all commands read them, too."""
    known = {out / file.path for file in files}
    others = [path for folder in sorted({path.parent for path in known}) for path in table_files(folder)]
    others = [path for path in others if path not in known]
    if others:
        what = counted(len(others), "file")
        log.warning("%s of these users not on the hub, but read like the others; delete %s", what, others[0])


def _lacking(files: list[HubFile], out: Path) -> list[HubFile]:
    """The files that are missing or damaged. Logs how many they are."""
    present = [file for file in files if (out / file.path).exists()]
    intact = _intact(present, out) if present else set()
    lacking = [file for file in files if file.path not in intact]
    size, left = (_size(sum(file.size for file in part)) for part in (files, lacking))
    users = counted(len({file.user for file in files}), "user")
    whole, part = (counted(len(part), "file") for part in (files, lacking))
    log.info("%s, %s, %s; to download: %s, %s", users, whole, size, part, left)
    if differing := len(present) - len(intact):
        log.info("%s replaced, different from those on the hub", counted(differing, "file"))
    return lacking


def _intact(present: list[HubFile], out: Path) -> set[str]:
    """The paths of the files whose content is that on the hub."""
    intact = set()
    with progress((), sum(file.size for file in present), "checking files", "B") as bar:
        for file, is_intact in _in_threads(partial(_is_intact, out), present):
            bar.update(file.size)
            if is_intact:
                intact.add(file.path)
    return intact


def _is_intact(out: Path, file: HubFile) -> bool:
    return file.is_intact(out)


def _check_space(lacking: list[HubFile], out: Path) -> None:
    """Raise RwkvError if the files do not fit on the disk."""
    need, free = sum(file.size for file in lacking), shutil.disk_usage(out).free
    if need > free:
        raise RwkvError(
            "The files do not fit on the disk.",
            where=str(out),
            got=f"{_size(free)} free",
            expected=_size(need),
            hint="free some space, choose another `out`, or fewer `users`",
        )


def _fetch(lacking: list[HubFile], out: Path, revision: str) -> tuple[int, Failures]:
    """Download files, those of one user in order.

    Returns:
        The number of files that were downloaded, and the users whose files the hub sends damaged.
    """
    failures, stop, fetched = Failures(), Event(), list[str]()
    by_user = [list(files) for _, files in groupby(lacking, lambda file: file.user)]

    def fetch_user(files: list[HubFile]) -> HistoryError | None:
        for file in files:
            if stop.is_set():
                return None
            try:
                download_file(file, out, revision)
            except HistoryError as error:
                return error
            fetched.append(file.path)
            bar.update(file.size)
        return None

    with progress((), sum(file.size for file in lacking), "download", "B") as bar:
        for files, error in _in_threads(fetch_user, by_user, stop):
            if error is not None:
                failures.add(files[0].user, error)
    return len(fetched), failures


def _in_threads(
    job: Callable[[Item], Result], items: Iterable[Item], stop: Event | None = None
) -> Iterator[tuple[Item, Result]]:
    """Run a job for every item, and yield (item, result) as they are ready.

    After an error or an interruption, jobs that have not begun are given up, and `stop` asks the others to end.
    """
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        running = {pool.submit(job, item): item for item in items}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            if stop is not None:
                stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _size(count: int) -> str:
    """1234567 -> 1.2 MB."""
    power = next((power for power in (0, 1, 2) if count < 1000 ** (power + 1)), 3)
    return f"{count / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB')[power]}"
