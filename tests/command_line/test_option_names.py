"""Parameters in messages of the layers below become options of the command."""

import argparse
import ast
import re
from pathlib import Path
from typing import TypeGuard

import pytest

import rwkv
from rwkv.cli import main
from rwkv.command_line.option_names import named_options, option_names, renamed
from rwkv.command_line.options import add_when
from rwkv.errors import HistoryError
from rwkv.runtime import log

ROOT = Path(rwkv.__file__).parent
NAMES = {"least_days": "--least-days", "folder": "COLLECTION"}


def test_options_and_arguments_by_parameter() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", metavar="COLLECTION")
    parser.add_argument("-l", "--least-days")
    add_when(parser)
    names = option_names(parser)
    assert NAMES.items() <= names.items()
    assert names["user"] == "--user"  # also spelled --users, which the help does not show


def test_only_parameters_of_the_command_are_renamed() -> None:
    text = "`least_days` of `folder`, least_days, `rwkv info`, `other`"
    assert renamed(text, NAMES) == "--least-days of COLLECTION, least_days, `rwkv info`, `other`"


def test_errors_and_the_log_are_renamed_in_the_block(caplog: pytest.LogCaptureFixture) -> None:
    error = HistoryError("`folder` is bad.", where="`least_days`", got="`folder`", hint="omit `least_days`")

    def fail() -> None:
        log.info("%s of %s", "`least_days`", "`folder`")
        raise error

    with caplog.at_level("INFO", logger="rwkv"):
        with pytest.raises(HistoryError) as caught, named_options(NAMES):
            fail()
        log.info("see `folder`")
    assert str(caught.value) == "COLLECTION is bad.\n  where: --least-days\n  got: `folder`\n  next: omit --least-days"
    assert caplog.messages == ["--least-days of COLLECTION", "see `folder`"]


def test_a_notice_names_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "reviews.csv"
    source.write_text("card_id,review_time,review_rating\n7,1700000000000,3\n")
    assert main(["predict", str(source)]) == 0
    assert "(see --timezone and --rollover)" in capsys.readouterr().err


# Those that know the command line: its room, entries with options of their own, --set; and the demo, which lists
# commands.
ENTRIES = ("find_equalize_test_reviews.py", "get_result.py", "run_as_rnn.py", "config_file.py", "benchmark/demo.py")
ABOVE = {*(ROOT / "command_line").glob("*.py"), *(ROOT / name for name in ENTRIES)}
_OPTION = re.compile(r"(?<![\w-])--[a-z]")


def options_in(source: str) -> list[str]:
    """Texts with an option that is not part of a whole command in backticks, except docstrings."""
    tree = ast.parse(source)
    kinds = (ast.Module, ast.FunctionDef, ast.ClassDef)
    docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, kinds)}
    whole = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {part for node in whole for part in node.values}
    texts = [
        "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values) for node in whole
    ]
    texts += [str(node.value) for node in ast.walk(tree) if _is_text(node) and node not in parts]
    return [text for text in texts if text not in docstrings and _OPTION.search(re.sub("`[^`]*`", "", text))]


def _is_text(node: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@pytest.mark.parametrize("path", sorted({*ROOT.rglob("*.py")} - ABOVE), ids=lambda path: str(path.relative_to(ROOT)))
def test_lower_layers_name_no_options(path: Path) -> None:
    assert options_in(path.read_text()) == []


def test_options_are_detected() -> None:
    assert options_in('"""--x"""\nf"omit --name {x}"\nf"`rwkv predict {x} --user 1`"') == ["omit --name {}"]
    assert options_in('print("`rwkv predict --user 1`, see --y")') == ["`rwkv predict --user 1`, see --y"]
