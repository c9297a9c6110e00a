"""What all commands share: help, --json, --quiet, completion in the shell."""

import argparse
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rwkv.benchmark.demo_table import DemoTable
from rwkv.cli import main
from rwkv.command_line.answer import Answer
from rwkv.command_line.parser import build_parser

SUBPARSERS = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))


@pytest.mark.parametrize("name", SUBPARSERS.choices)
def test_every_command_has_a_description(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    for word in (f"usage: rwkv {name}", "--json", "--quiet"):
        assert word in output
    described = SUBPARSERS.choices[name].description
    assert described
    assert " ".join(described.split()) in " ".join(output.split())
    assert max(map(len, output.splitlines())) <= 80
    assert not re.search(r"\d{4}-\d\d-\d\d", output), "a date of an example will lie in the past"


def test_every_command_has_a_line_in_the_list() -> None:
    assert {choice.dest for choice in SUBPARSERS._choices_actions if choice.help} == set(SUBPARSERS.choices)


def test_output_during_a_command_stays_out_of_its_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = DemoTable({"RWKV": {"LogLoss": 0.25, "RMSE(bins)": 0.5, "AUC": float("nan")}}, 10, 99)

    def chatting(out: Path) -> DemoTable:
        print("still training")
        return table

    monkeypatch.setattr("rwkv.benchmark.demo.demo", chatting)
    assert main(["demo", "--out", str(tmp_path), "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out) == {
        "metrics": {"RWKV": {"LogLoss": 0.25, "RMSE(bins)": 0.5, "AUC": None}},
        "learners": 10,
        "reviews": 99,
        "model": str(tmp_path / "model.safetensors"),
    }
    assert output.err == "still training\n"


def test_simulate_in_json_and_quietly(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = str(tmp_path / "sim")
    assert main(["simulate", "--users", "2", "--reviews", "30", "--out", out, "--json", "--quiet"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out) == {"dataset": out, "first_user": 1, "last_user": 2}
    assert output.err == ""


def test_the_exit_code_of_an_answer_is_that_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def parser() -> argparse.ArgumentParser:
        made = argparse.ArgumentParser()
        made.set_defaults(run=lambda options: Answer("", {}, 1), parser=made, json=False, quiet=False)
        return made

    monkeypatch.setattr("rwkv.command_line.parser.build_parser", parser)
    assert main([]) == 1


@pytest.mark.parametrize("query", ["-is:suspended", "-hund", "-hund -is:new", "-(a or b)", "-5"])
@pytest.mark.parametrize("options", [[], ["--json"], ["--quiet", "--rows=3"]])
def test_a_value_may_begin_with_a_minus(query: str, options: list[str]) -> None:
    """As in Anki's search box: with or without =, whatever comes after it."""
    for written in (["--cards", query], [f"--cards={query}"]):
        read = build_parser().parse_args(["predict", "mine", *written, *options])
        assert (read.query, read.folder, read.json) == (query, Path("mine"), "--json" in options)


def test_options_are_not_taken_as_values(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--cards", "--json"], ["--json", "-x"], ["--cards", "-x", "-y"], ["--cards"]):
        with pytest.raises(SystemExit) as ended:
            build_parser().parse_args(["predict", "mine", *arguments])
        assert ended.value.code == 2
    assert "expected one argument" in capsys.readouterr().err


def test_a_value_with_two_minuses_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """Twice not is a query; an option stays an option."""
    assert main(["predict", "nowhere", "--cards=--is:new"]) == 2
    assert "The path does not exist" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["predict", "nowhere", "--cards", "--is:new"])
    assert "two leading minuses as --option=--value" in capsys.readouterr().err


def test_an_unknown_option_shows_the_usage_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", "mine", "--nme", "Ada"])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("usage: rwkv report ")
    assert "rwkv report: error: unrecognized arguments: --nme Ada" in message


@pytest.mark.parametrize(
    "arguments",
    [["predict", "mine", "--rows", "x"], ["predict"], ["schedule", "mine", "--nothing"], ["foretell", "mine"]],
)
def test_wrong_usage_is_reported_in_json_too(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    assert ended.value.code == 2
    output = capsys.readouterr()
    read = json.loads(output.out)
    assert read["exit_code"] == 2
    assert read["error"]["what"] in output.err
    assert "--help" in read["error"]["next"]


def test_system_errors_are_reported_in_json_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(out: Path) -> DemoTable:
        raise PermissionError(13, "Permission denied", str(out))

    monkeypatch.setattr("rwkv.benchmark.demo.demo", refused)
    assert main(["demo", "--out", str(tmp_path), "--json"]) == 1
    output = capsys.readouterr()
    assert json.loads(output.out)["exit_code"] == 1
    assert json.loads(output.out)["error"]["what"] in output.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_scripts_contain_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in (*SUBPARSERS.choices, "retention"):
        assert word in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [("rwkv pre", {"predict"}), ("rwkv predict --ret", {"--retention"}), ("rwkv schedule mi", {"mine"})],
)
def test_bash_completes(line: str, expected: set[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As bash asks for it: with the words so far, and folders where a command takes a folder."""
    main(["completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "mine").mkdir()
    words = line.split()
    ask = f"""source ./script
COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1}
_shtab_rwkv
printf '%s\\n' "${{COMPREPLY[@]}}" """
    done = subprocess.run(["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert {word.strip("/ ") for word in done.stdout.split()} == expected, done.stderr


@pytest.mark.parametrize("spelling", ["--user", "--users"])
@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        (["predict", "mine"], "3", 3),
        (["schedule", "mine"], "3", 3),
        (["report", "mine"], "3", 3),
        (["compare", "mine"], "1,4-5", [1, 4, 5]),
        (["check", "mine"], "1,4-5", [1, 4, 5]),
        (["download"], "1,4-5", [1, 4, 5]),
        (["finetune", "mine", "--out", "m.safetensors"], "1,4-5", [1, 4, 5]),
    ],
)
def test_users_are_named_in_either_spelling(
    spelling: str, command: list[str], text: str, expected: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """The help shows one of them."""
    options = vars(build_parser().parse_args([*command, spelling, text]))
    assert (options.get("user") or options.get("users")) == expected
    unnamed = vars(build_parser().parse_args(command))
    assert {unnamed.get("user"), unnamed.get("users")} == {None}
    with pytest.raises(SystemExit):
        main([command[0], "--help"])
    documented = "--users N,N-N" if isinstance(expected, list) else "--user N"
    output = capsys.readouterr().out
    assert documented in output
    assert ("--user N " in output) != ("--users N,N-N" in output)


def test_several_users_where_one_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["predict", "mine", "--users", "1,2"])
    assert ended.value.code == 2
    assert "'1,2' is not the number of one user" in capsys.readouterr().err
