"""Progress bars: they are drawn on terminals only. Elsewhere a long command writes a line now and then."""

import gc
import os
import subprocess
import sys

import pytest

from rwkv.progress_bar import Bar
from rwkv.runtime import log, log_errors_only, progress
from tests.benchmark.workspace import REPOSITORY


@pytest.mark.parametrize("is_terminal", [True, False])
def test_bars_are_drawn_on_a_terminal_only(
    is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    with progress(range(3), 3, "learners") as bar:
        assert list(bar) == [0, 1, 2]
        bar.set_postfix(loss=0.5)
    drawn = capsys.readouterr().err
    assert ("\r" in drawn, "learners: 100%" in drawn) == (is_terminal, is_terminal)


@pytest.mark.parametrize("unit", ["step", "B"])
def test_lines_where_no_bar_can_be_drawn(
    unit: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rwkv.progress_bar._LINE_EVERY_S", 0)
    with progress((), 4000, "training", unit, done_before=1000) as bar:
        bar.set_postfix(loss=0.5)
        bar.update(1000)
    written = capsys.readouterr().err
    assert "\r" not in written
    assert all(line.startswith("training: ") for line in written.splitlines())
    last = written.splitlines()[-1]
    done = "2.00k of 4.00k" if unit == "B" else "2000 of 4000"
    for words in ("training: 50%", done, " passed", " left", "/s, loss=0.5"):
        assert words in last


def test_lines_are_rare(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One in half a minute, by the clock of the bar; none of a command that is shorter."""
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with progress((), 300, "training", "step") as bar:
        for _ in range(300):
            now[0] += 1
            bar.update(1)
    assert 8 <= len(capsys.readouterr().err.splitlines()) <= 11
    with progress((), 20, "training", "step") as bar:
        for _ in range(20):
            now[0] += 1
            bar.update(1)
    assert capsys.readouterr().err == ""


def test_a_quiet_command_has_no_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rwkv.progress_bar._LINE_EVERY_S", 0)
    level = log.level
    log_errors_only()
    try:
        list(progress(range(3), 3, "training"))
    finally:
        log.setLevel(level)
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
@pytest.mark.parametrize(("columns", "lines"), [(0, 0), (0, 24), (80, 0), (80, 24)])
def test_a_bar_in_a_terminal_that_does_not_know_its_size(columns: int, lines: int) -> None:
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    command = "from rwkv.runtime import progress; list(progress(range(3), 3, 'learners'))"
    subprocess.run([sys.executable, "-c", command], stderr=theirs, cwd=REPOSITORY, timeout=60, check=True)
    os.close(theirs)
    drawn = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "learners: 100%" in drawn
    assert max(map(len, drawn.replace("\n", "\r").split("\r"))) <= 80


def test_a_line_has_the_items_done_by_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where many quick items come before slow ones, and an error ends the block."""
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])

    def fail_in_the_last() -> None:
        with progress(range(2000), 2000, "training", "step") as bar:
            for item in bar:
                assert bar.n == item
                now[0] += 0.1 if item < 1000 else 60
                if item == 1010:
                    raise ValueError("in the last")

    with pytest.raises(ValueError, match="in the last"):
        fail_in_the_last()
    written = capsys.readouterr().err.splitlines()
    done = [int(line.split(", ")[1].split()[0]) for line in written]
    assert done[-11:] == [*range(1001, 1011), 1010]


def test_a_bar_that_a_signal_leaves_half_made_has_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    ignored: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", ignored.append)
    monkeypatch.setattr(Bar, "_get_free_pos", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Bar(range(3))
    gc.collect()
    assert not ignored
