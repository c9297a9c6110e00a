"""The documentation's examples: Python runs as shown, and commands accept the shown arguments."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

import rwkv
from rwkv.command_line.parser import build_parser
from rwkv.config import Config, EvaluateConfig, FindKeysConfig, ProcessDataConfig, RecurrentConfig, TrainConfig
from tests.benchmark.workspace import REPOSITORY
from tests.collection.people import make_person
from tests.test_config import COMMANDS, SHIPPED

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
SPEC = REPOSITORY / "docs" / "spec"
SPEC_PAGES = sorted(SPEC.glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The lines of shell blocks that call `rwkv`."""
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line.startswith("rwkv ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_accept_the_documented_arguments(page: Path) -> None:
    for line in commands(page):
        build_parser().parse_args(shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize("page", PAGES + SPEC_PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_files_named_in_the_docs_exist(page: Path) -> None:
    """Links, pictures, and paths of the repository in backquotes."""
    text = page.read_text()
    linked = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r'src="([^":]+)"', text)
    named = re.findall(r"`([\w.-]+/[\w./-]+\.(?:py|cpp|md|toml))`", text)
    assert [path for path in linked if not (page.parent / path).exists()] == []
    folders = REPOSITORY, REPOSITORY / "rwkv"
    assert [path for path in named if not any((folder / path).exists() for folder in folders)] == []


def test_the_readme_links_every_page() -> None:
    text = PAGES[0].read_text()
    assert all(f"](docs/{page.name})" in text for page in PAGES[1:])
    assert "docs/report.png" in text
    assert "](docs/spec/README.md)" in text
    parts = (SPEC / "README.md").read_text()
    assert all(f"]({page.name})" in parts for page in SPEC_PAGES if page.name != "README.md")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_specification_lists_the_keys_of_every_published_file(command: type[Config]) -> None:
    files = [name for name, (owner, _) in SHIPPED.items() if owner is command]
    rows = [row.split("|") for row in (SPEC / "8-commands.md").read_text().splitlines() if f"| {files[0]}" in row]
    (listed,) = (set(re.findall(r"[A-Z_]{3,}", row[3])) for row in rows)
    published = {key for name in files for key in SHIPPED[name][1]}
    assert published <= listed <= {field.name.upper() for field in fields(command)}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_explains_every_key_of_ours(command: type[Config]) -> None:
    """Those that are in no published file, nor accepted for the sake of one (spec 2)."""
    published = {"SHORT", "SECS", "LMDB_MAX_READERS", "LABEL_FILTER_KEY_PREFIX"}
    published |= {key for other, table in SHIPPED.values() if other is command for key in table}
    rows = [line.split("|")[1:3] for line in PAGES[0].read_text().splitlines() if line.startswith("| `")]
    name = {FindKeysConfig: "keys", ProcessDataConfig: "data_processing", TrainConfig: "train_rwkv"} | {
        EvaluateConfig: "get_result",
        RecurrentConfig: "run_as_rnn",
    }
    explained = {key for keys, commands in rows if name[command] in commands for key in re.findall(r"`(\w+)`", keys)}
    assert {field.name.upper() for field in fields(command)} - published - explained == set()


@pytest.mark.parametrize("name", rwkv.__all__)
def test_public_names_exist_and_are_documented(name: str) -> None:
    """They are imported only when they are asked for."""
    assert getattr(rwkv, name).__doc__


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_person(tmp_path / "mine", reviews=30)
    monkeypatch.chdir(tmp_path)
    (program,) = blocks(REPOSITORY / "README.md", "python")
    names: dict[str, object] = {}
    exec(compile(program, "README.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert {"cards", "predictions", "curve"} <= names.keys()
    statements = [line for line in program.splitlines() if line and not line.startswith(("from", "import"))]
    assert len(statements) <= 10


def test_files_that_comments_and_the_makefile_name_exist() -> None:
    sources = [path for ending in ("py", "h", "cpp") for path in (REPOSITORY / "rwkv").rglob(f"*.{ending}")]
    for source in [*sources, REPOSITORY / "Makefile", REPOSITORY / "setup.py"]:
        for name in re.findall(r"\b(?:rwkv|tests)/[\w/]+\.(?:py|h|cpp)\b", source.read_text()):
            assert (REPOSITORY / name).is_file(), f"{source.relative_to(REPOSITORY)} names {name}"
