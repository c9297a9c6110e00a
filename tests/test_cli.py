"""The command `rwkv`: its help, wrong usage, and `simulate` from the command line."""

import builtins
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Concatenate, ParamSpec

import pytest

from rwkv.cli import main
from rwkv.data.revlogs import list_users, read_history
from tests.benchmark.workspace import REPOSITORY, assert_said


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The arguments are refused by the parser: what it says."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--help",), ("usage: rwkv", "demo", "simulate", "run the benchmark on simulated learners")),
        (("demo", "--help"), ("usage: rwkv demo", "--out", "rwkv-demo", "Rerun the command")),
        (("simulate", "--help"), ("usage: rwkv simulate", "--users", "--reviews", "--seed", "--first-user", "--out")),
    ],
)
def test_help(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    assert ended.value.code == 0
    output = capsys.readouterr()
    assert output.err == ""
    for word in words:
        assert word in " ".join(output.out.split())


@pytest.mark.parametrize("arguments", [["--help"], ["report", "--help"], ["predict"]])
def test_help_and_usage_import_no_large_package(arguments: list[str]) -> None:
    """So that they come at once."""
    large = {"torch", "numpy", "pyarrow", "scipy", "lmdb", "zstandard", "shtab", "tqdm"}
    program = (
        f"import sys, rwkv.cli\ntry:\n rwkv.cli.main({arguments})\n"
        f"finally:\n assert not {large} & set(sys.modules), {large} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if "--help" in arguments else 2), done.stderr
    assert (done.stdout or done.stderr).startswith("usage: rwkv")


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    for word in ("usage: rwkv", "demo", "simulate", "exit codes"):
        assert word in output.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"rwkv {version('rwkv-srs')}\n"


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    output = refused(capsys, "train")
    for word in ("'train'", "demo", "simulate"):
        assert word in output


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"--users": None}, "--users"),
        ({"--reviews": None}, "--reviews"),
        ({"--out": None}, "--out"),
        ({"--users": "many"}, "'many'"),
        ({"--sed": "3"}, "--sed"),
    ],
)
def test_arguments_of_simulate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str | None], word: str
) -> None:
    given = {"--users": "2", "--reviews": "30", "--out": str(tmp_path / "out")} | changed
    output = refused(capsys, "simulate", *(part for name, value in given.items() if value for part in (name, value)))
    assert word in output
    assert not (tmp_path / "out").exists()


def simulate(out: Path, *more: str) -> int:
    return main(["simulate", "--users", "2", "--reviews", "30", "--out", str(out), *more])


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_simulate_writes_what_the_commands_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(tmp_path / "out") == 0
    output = capsys.readouterr()
    assert output.out == f"2 simulated learners written to {tmp_path / 'out'}\n"
    assert "2 users, 0 of them done before" in output.err
    assert list_users(tmp_path / "out") == [1, 2]
    assert all(len(read_history(tmp_path / "out", user)) > 0 for user in (1, 2))
    assert simulate(tmp_path / "out") == 0
    assert_said(capsys, "2 users, 2 of them done before")


def test_seeds_and_first_users_are_applied(tmp_path: Path) -> None:
    assert simulate(tmp_path / "default") == 0
    assert simulate(tmp_path / "same", "--seed", "1", "--first-user", "1") == 0
    assert simulate(tmp_path / "other", "--seed", "2") == 0
    assert simulate(tmp_path / "later", "--first-user", "2") == 0
    assert files(tmp_path / "same") == files(tmp_path / "default")
    revlog = "revlogs/user_id=2/data.parquet"
    assert files(tmp_path / "other")[revlog] != files(tmp_path / "default")[revlog]
    assert files(tmp_path / "later")[revlog] == files(tmp_path / "default")[revlog]
    assert list_users(tmp_path / "later") == [2, 3]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--users", "0"), ("out of range", "users")),
        (("--first-user", "0"), ("out of range", "--first-user")),
        (("--reviews", "-3"), ("out of range", "reviews")),
    ],
)
def test_impossible_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert simulate(tmp_path / "out", *more) == 2
    assert_said(capsys, "error: ", *words)
    assert not (tmp_path / "out").exists()


def test_another_dataset_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(tmp_path / "out") == 0
    before = files(tmp_path / "out")
    assert simulate(tmp_path / "out", "--seed", "5") == 2
    assert_said(capsys, "error: The folder holds another dataset.", "choose another folder")
    assert files(tmp_path / "out") == before


def test_a_folder_that_cannot_be_created_is_an_error_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file" / "demo")]) == 2
    assert_said(capsys, "error: ", str(tmp_path / "file"), "permissions")


def test_large_modules_are_loaded_after_ctrl_c_is_handled() -> None:
    """What takes a while to load is loaded inside the command: an interrupt before it would end in a traceback."""
    program = (
        "import sys, rwkv.cli; print(*sorted({'numpy', 'torch', 'tqdm', 'rwkv.command_line'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


Rest = ParamSpec("Rest")


def interrupted(load: Callable[Concatenate[str, Rest], object]) -> Callable[Concatenate[str, Rest], object]:
    def load_other(name: str, /, *rest: Rest.args, **named: Rest.kwargs) -> object:
        if name == "rwkv.command_line.parser":
            raise KeyboardInterrupt
        return load(name, *rest, **named)

    return load_other


def test_ctrl_c_while_a_command_is_loaded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(builtins, "__import__", interrupted(builtins.__import__))
    assert main(["info"]) == 130
    assert capsys.readouterr().err.startswith("interrupted; ")
