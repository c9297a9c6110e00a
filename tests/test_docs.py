"""What the documentation shows can be run: Python as it stands, commands as far as their arguments."""

import re
import shlex
from pathlib import Path

import pytest

import rwkv
from rwkv.cli import build_parser
from rwkv.commands.chosen_model import demo_model
from rwkv.model.checkpoint import write_weights
from rwkv.model.spec import PUBLISHED
from tests.commands.people import SCALE, make_person
from tests.commands.workspace import REPOSITORY
from tests.networks import recipe_network

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
KNOWN = set(build_parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr,arg-type]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The lines of shell blocks that call a command that is there."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("rwkv ") and line.split()[1] in KNOWN]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_arguments_that_are_shown(page: Path) -> None:
    for line in commands(page):
        build_parser().parse_args(shlex.split(line, comments=True)[1:])


def test_the_page_on_scheduling_shows_commands() -> None:
    assert len(commands(REPOSITORY / "docs" / "scheduling.md")) >= 6


@pytest.mark.parametrize("name", rwkv.__all__)
def test_public_names_are_there_and_explained(name: str) -> None:
    """They are imported only when they are asked for."""
    assert getattr(rwkv, name).__doc__


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_person(tmp_path / "mine", reviews=30)
    (tmp_path / "rwkv-demo").mkdir()
    write_weights(demo_model(tmp_path / "rwkv-demo"), recipe_network(PUBLISHED, SCALE).state_dict())
    monkeypatch.chdir(tmp_path)
    (program,) = blocks(REPOSITORY / "README.md", "python")
    names: dict[str, object] = {}
    exec(compile(program, "README.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert {"cards", "said", "curve"} <= names.keys()
    statements = [line for line in program.splitlines() if line and not line.startswith(("from", "import"))]
    assert len(statements) <= 10
