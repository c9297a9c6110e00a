"""One writer at a time: the second is told the first one's process, and an ended process leaves no lock."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from rwkv.errors import BusyError, InputError
from rwkv.locks import only_writer_in, only_writer_of
from tests.benchmark.workspace import REPOSITORY

_HOLDING = """
import sys, time
from pathlib import Path
from rwkv.locks import only_writer_in
with only_writer_in(Path(sys.argv[1]), "another"):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def held_by_another(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes into a folder, until it is killed here."""
    command = [sys.executable, "-c", _HOLDING, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_the_second_writer_is_told_the_first_ones_process(tmp_path: Path) -> None:
    with held_by_another(tmp_path) as process, pytest.raises(BusyError) as caught, only_writer_in(tmp_path, "a folder"):
        pass
    output = str(caught.value)
    assert output.startswith(f"Another command is writing here: process {process.pid} of ")
    assert f"where: {tmp_path}" in output
    assert output.endswith("next: wait until it ends, or choose a folder")


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    """Not even where its lock's file is left."""
    with held_by_another(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / "rwkv.lock").exists()
        with only_writer_in(tmp_path, ""):
            assert f"process {os.getpid()}" in (tmp_path / "rwkv.lock").read_text()
    assert list(tmp_path.iterdir()) == []


def test_forked_workers_hold_nothing(tmp_path: Path) -> None:
    """A command that is killed may leave workers for a while."""
    context = multiprocessing.get_context("fork")
    with only_writer_in(tmp_path, ""):
        worker = context.Process(target=time.sleep, args=(600,))
        worker.start()
    try:
        with only_writer_in(tmp_path, ""):
            assert worker.is_alive()
    finally:
        worker.kill()
        worker.join()


def test_lock_files_and_empty_folders_are_removed(tmp_path: Path) -> None:
    with only_writer_of(tmp_path / "a" / "b" / "run", ""):
        assert (tmp_path / "a" / "b" / "run.lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_writer_holds_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with only_writer_in(tmp_path, ""):
            (tmp_path / "written").touch()
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            write()
    assert list(tmp_path.iterdir()) == [tmp_path / "written"]


@pytest.mark.parametrize("other", ["sub/..", "link", "."])
def test_every_path_to_a_folder_leads_to_its_lock(tmp_path: Path, other: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    with only_writer_in(tmp_path, ""), pytest.raises(BusyError), only_writer_in(tmp_path / other, ""):
        pass
    with only_writer_of(tmp_path / "run", ""), pytest.raises(BusyError), only_writer_of(tmp_path / other / "run", ""):
        pass


def test_files_in_one_folder_have_their_own_locks(tmp_path: Path) -> None:
    with only_writer_in(tmp_path, ""), only_writer_of(tmp_path / "run", ""), only_writer_of(tmp_path / "run2", ""):
        pass


@pytest.mark.parametrize("place", ["file", "file/below", "link", "link/below"])
def test_a_lock_that_cannot_be_created_is_an_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    with (
        pytest.raises(InputError, match=rf"The path cannot be written to.\n  where: {tmp_path / place}"),
        only_writer_in(tmp_path / place, ""),
    ):
        pass


def test_a_file_system_without_locks_gives_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    error = OSError(errno.ENOLCK, "No locks available")
    with mock.patch("fcntl.flock", side_effect=error), only_writer_in(tmp_path / "new", ""):
        (tmp_path / "new" / "written").touch()
    assert "has no locks" in caplog.text
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "written"]


_MANY = """
import sys
from pathlib import Path
from rwkv.errors import BusyError
from rwkv.locks import only_writer_in
folder = Path(sys.argv[1])
done = 0
while done < 150:
    try:
        with only_writer_in(folder / "in", "another"):
            count = folder / "count"
            before = int(count.read_text())
            count.write_text(str(before + 1))
            done += 1
    except BusyError:
        pass
"""


def test_two_writers_never_run_at_once(tmp_path: Path) -> None:
    """Though the lock's file and its folder come and go each time."""
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", _MANY, str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=REPOSITORY) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "450"
