"""Optional packages: where one is missing, a sentence says what to install."""

import re
import tomllib

import pytest

from rwkv.extras import EXTRAS, missing_packages
from rwkv.runtime import run_command
from tests.benchmark.workspace import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
# The name on the package index, where it is not the module's.
PACKAGES = {"fsrs_rs_python": "fsrs-rs-python", "huggingface_hub": "huggingface-hub"}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


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
    assert set(re.findall(r"\w+", itself.partition("[")[2])) == {"train", "compare", "anki", "ray"}


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
