"""stdout and stderr of whole commands: closed, without a reader, or on a full disk."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rwkv.data.revlogs import list_users
from rwkv.runtime import run_command
from tests.benchmark.workspace import REPOSITORY

START_MS = 1_700_000_000_000
SUCCESS = f"card_id,review_time,review_rating\n1,{START_MS},3\n1,{START_MS + 90_000_000},3\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a table of reviews, and a file that is no collection."""
    (tmp_path / "good.csv").write_text(SUCCESS)
    (tmp_path / "bad.apkg").write_bytes(b"x")
    return tmp_path


def shell(folder: Path, line: str, is_unbuffered: bool = False) -> subprocess.CompletedProcess[str]:
    """A line of bash, in which `rwkv` is the command, and `code` prints how the first of a pipe ended."""
    program = f'rwkv() {{ "{sys.executable}" -m rwkv.cli "$@"; }}; code() {{ echo "code ${{PIPESTATUS[0]}}"; }}; {line}'
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    environment.pop("PYTHONUNBUFFERED", None)
    if is_unbuffered:
        environment["PYTHONUNBUFFERED"] = "1"
    command = ["bash", "-c", program]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


def assert_quiet(done: subprocess.CompletedProcess[str]) -> None:
    for word in ("Traceback", "Exception ignored"):
        assert word not in done.stderr


@pytest.mark.parametrize("sink", ["2>&-", "2>/dev/full", "2> >(true)"])
def test_a_closed_stderr_does_not_change_the_outcome(files: Path, sink: str) -> None:
    done = shell(files, f"rwkv import good.csv bad.apkg --out mine {sink}; echo code $?")
    assert "reviews imported" in done.stdout
    assert "INFO" not in done.stdout
    assert done.stdout.endswith("code 1\n")
    assert list_users(files / "mine") == [1]


@pytest.mark.parametrize("is_unbuffered", [False, True])
def test_a_reader_that_closes_both_streams_ends_the_output_silently(files: Path, is_unbuffered: bool) -> None:
    done = shell(files, "rwkv import good.csv --out mine 2>&1 | true; code", is_unbuffered)
    assert (done.stdout, done.stderr) == ("code 0\n", "")
    assert list_users(files / "mine") == [1]


@pytest.mark.parametrize(
    ("arguments", "code", "is_unbuffered"),
    [
        ("import good.csv --out mine --quiet", 0, False),
        ("import good.csv bad.apkg --out mine --quiet", 1, False),
        ("import good.csv bad.apkg --out mine --quiet", 1, True),
        ("import bad.apkg --out mine --quiet --json", 2, True),
        ("--help", 0, False),
        ("completion bash", 0, True),
    ],
)
def test_a_reader_that_closes_stdout_ends_the_output_silently(
    files: Path, arguments: str, code: int, is_unbuffered: bool
) -> None:
    """Silence, and the code of the work."""
    done = shell(files, f"rwkv {arguments} | true; code", is_unbuffered)
    assert done.stdout == f"code {code}\n"
    assert_quiet(done)
    if code == 0:
        assert done.stderr == ""


@pytest.mark.parametrize("arguments", ["import good.csv --out mine --quiet", "--help"])
def test_a_full_disk_behind_stdout_is_an_error(files: Path, arguments: str) -> None:
    done = shell(files, f"rwkv {arguments} > /dev/full; echo code $?")
    assert done.stderr.startswith("error: No space left on device: the output was not written.\n")
    assert_quiet(done)
    assert done.stdout == "code 1\n"


def test_a_command_works_without_stdout(files: Path) -> None:
    done = shell(files, "rwkv import good.csv --out mine --quiet >&-; echo code $?")
    assert (done.stdout, done.stderr) == ("code 0\n", "")
    assert list_users(files / "mine") == [1]


def test_a_broken_pipe_between_processes_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that was killed as it began is no reader that has had enough."""

    def work() -> int:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    assert run_command(work) == 1
    assert "Broken pipe" in capsys.readouterr().err


def test_opened_files_do_not_take_the_descriptor_of_stderr(tmp_path: Path) -> None:
    """What libraries and workers write to descriptor 2 must not end in a database."""
    program = (
        "from rwkv.standard_streams import standard_streams as s\nwith s(), open('data', 'w') as f: print(f.fileno())"
    )
    done = shell(tmp_path, f'"{sys.executable}" -c "{program}" <&- 2>&-')
    assert int(done.stdout) > 2


@pytest.mark.parametrize(
    ("variables", "spins"), [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_waiting_threads_sleep_unless_configured_otherwise(
    variables: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(variables))
    assert run_command(lambda: 0) == 0
    assert os.environ.get("GOMP_SPINCOUNT") == spins
