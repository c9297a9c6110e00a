"""Optional packages: where one is missing, a sentence says what to install."""

import builtins
import json
import re
import tomllib
from pathlib import Path

import pytest

from rwkv.cli import main
from rwkv.extras import EXTRAS, missing_packages
from rwkv.runtime import run_command
from tests.benchmark.workspace import REPOSITORY
from tests.data.imports.anki.small import CREATED_S, write_collection_file

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
# The name on the package index, where it is not the module's.
PACKAGES = {"fsrs_rs_python": "fsrs-rs-python"}
REVIEWS = [(CREATED_S * 1000 + 3_600_000, 11, 3, 0)]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


@pytest.fixture
def without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Imports of a module fail as if it were not installed."""
    module, usual = request.param, builtins.__import__

    def import_(name: str, *rest: object, **named: object) -> object:
        if name.partition(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return usual(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", import_)
    return module


def test_every_extra_installs_its_packages() -> None:
    base = names(PROJECT["dependencies"])
    for module, extra in EXTRAS.items():
        package = PACKAGES.get(module, module)
        assert package not in base, module
        if module != "triton":  # a part of PyTorch's builds for GPUs
            assert package in names(OPTIONAL[extra]), module


def test_the_base_is_small() -> None:
    assert names(PROJECT["dependencies"]) == {"numpy", "zstandard", "tqdm", "shtab"}


def test_dev_includes_everything() -> None:
    (itself,) = (requirement for requirement in OPTIONAL["dev"] if requirement.startswith("rwkv-srs"))
    assert set(re.findall(r"\w+", itself.partition("[")[2])) == {"train", "compare", "anki"}


@pytest.mark.parametrize("module", EXTRAS)
def test_a_missing_package_is_a_sentence(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise ModuleNotFoundError(f"No module named '{module}.part'", name=f"{module}.part")

    assert run_command(command) == 2
    output = capsys.readouterr().err
    assert f'pip install "rwkv-srs[{EXTRAS[module]}]"' in output
    assert "Traceback" not in output


def test_other_missing_modules_are_defects() -> None:
    with pytest.raises(ModuleNotFoundError), missing_packages():
        raise ModuleNotFoundError("No module named 'rwkv.nothing'", name="rwkv.nothing")


@pytest.mark.parametrize("without", ["pyarrow"], indirect=True)
def test_an_import_without_pyarrow_says_what_to_install(
    without: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(__import__("sys").modules, "rwkv.data.arrow", raising=False)
    file = write_collection_file(tmp_path / "ada.anki2", REVIEWS)
    assert main(["import", str(file), "--out", str(tmp_path / "mine"), "--json"]) == 2
    output = capsys.readouterr()
    assert 'pip install "rwkv-srs[train]"' in output.err
    assert "rwkv-srs[train]" in json.loads(output.out)["error"]["next"]
