"""Stopped commands: a message, the signal's exit code, and no leftovers."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rwkv.batches.loader import fetch
from rwkv.errors import RwkvError
from rwkv.runtime import run_command
from rwkv.stopping import Stopped, asked_to_end, ended_by, finishing, stoppable
from tests.benchmark.workspace import REPOSITORY, Workspace, add_users, block, wait_until

COMMAND = "rwkv.find_equalize_test_reviews"


def stopped(workspace: Workspace, number: signal.Signals, processes: int) -> tuple[int, str]:
    """The command in the midst of its work gets a signal, and so do its workers, as of Ctrl-C and of `timeout`."""
    for user in (3, 4):
        block(workspace.dataset, user)
    command = [sys.executable, "-m", COMMAND, "--config", workspace.write_config({"PROCESSES": processes})]
    message = workspace.root / "said.txt"
    with message.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=file,
            start_new_session=True,
            # Tests that run in the background hand down that Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        wait_until(lambda: process.poll() is not None or (workspace.root / "keys_db" / "data.mdb").exists())
        os.killpg(process.pid, number)
        process.communicate(timeout=60)  # returns when its workers, who share its output, have ended too
    return process.returncode, message.read_text()


@pytest.mark.parametrize(
    ("number", "processes", "sentence"),
    [
        (signal.SIGINT, 2, "interrupted; files already written are kept. Rerun the command to continue."),
        (signal.SIGTERM, 2, "ended by SIGTERM; files already written are kept. Rerun the command to continue."),
        (signal.SIGTERM, 1, "ended by SIGTERM; files already written are kept. Rerun the command to continue."),
    ],
)
def test_a_stopped_command_ends_with_its_signals_code(
    tmp_path: Path, number: signal.Signals, processes: int, sentence: str
) -> None:
    workspace = Workspace(tmp_path)
    add_users(workspace.dataset, range(1, 6))
    code, message = stopped(workspace, number, processes)
    assert code == 128 + number
    assert message.splitlines()[-1] == sentence
    assert "Traceback" not in message
    assert not list(tmp_path.rglob("*.lock"))


def test_a_second_signal_does_not_disturb_the_end() -> None:
    tidied = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            tidied.append(True)

    with pytest.raises(Stopped) as caught, stoppable():
        work()
    assert tidied
    assert caught.value.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_that_was_lost_may_be_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised in a finalizer ends nothing."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with stoppable():
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        assert asked_to_end() == signal.SIGTERM
        now += 2
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_block_can_finish_before_a_signal_ends_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    """A second one within a second belongs to the first, and a later one ends the block at once."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with stoppable():
        with finishing("finishing") as asked:
            assert asked() is None
            for _ in range(2):
                os.kill(os.getpid(), number)
            assert asked() == number
            assert capfd.readouterr().err == "\nfinishing\n"
            now += 2
            with pytest.raises(type(ended_by(number))):
                os.kill(os.getpid(), number)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        now += 2
        with pytest.raises(type(ended_by(number))):
            os.kill(os.getpid(), number)


def test_a_worker_ended_first_by_the_signal_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Stopped as stopped:
            raise RwkvError("A worker process was killed.") from stopped
        return 0

    assert run_command(work) == 128 + signal.SIGTERM
    assert capsys.readouterr().err.startswith("ended by SIGTERM; files already written are kept")


def test_ignored_signals_stay_ignored() -> None:
    """As nohup has it of a terminal that is closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def _handlers(queue: "multiprocessing.SimpleQueue[tuple[object, object]]") -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    queue.put((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))


def test_forked_workers_do_not_handle_the_commands_signals() -> None:
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    worker = context.Process(target=_handlers, args=(queue,))
    with stoppable():
        worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    assert queue.get() == (signal.SIG_IGN, signal.SIG_DFL)


def test_other_forks_are_not_changed() -> None:
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    worker.start()
    worker.terminate()
    worker.join(60)
    assert worker.exitcode == -signal.SIGTERM


def test_a_command_that_fails_unexpectedly_leaves_no_workers() -> None:
    """They hold SIGTERM back, so Python's end would wait for them."""

    def command() -> int:
        results = fetch(abs, range(100), 2)
        next(results)
        raise ValueError("unexpected")

    with pytest.raises(ValueError, match="unexpected") as caught:
        run_command(command)
    assert caught.traceback, "which keeps the iterator that would end the workers"
    assert multiprocessing.active_children() == []
