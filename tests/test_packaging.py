"""What a wheel and an sdist contain, by their configuration: building one takes minutes."""

import os
import shutil
import subprocess
import tomllib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from setuptools import Distribution, find_packages
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

import rwkv
from tests.benchmark.workspace import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
PACKAGE = REPOSITORY / "rwkv"
# What the package reads beside its modules, and what only a build reads.
READ, BUILT = {".toml", ".pyi", ".typed", ".js", ".css", ".html", ".json", ".safetensors"}, {".cpp", ".h", ".c"}


def files(endings: set[str]) -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*") if path.suffix in endings or f".{path.name}" in endings)


def test_a_wheel_has_every_file_that_the_package_reads() -> None:
    included = {path for pattern in SETUPTOOLS["package-data"]["rwkv"] for path in PACKAGE.glob(pattern)}
    assert len(files(READ)) > 30
    assert [path for path in files(READ) if path not in included] == []


def test_a_wheel_has_every_module() -> None:
    packages = set(find_packages(str(REPOSITORY), include=SETUPTOOLS["packages"]["find"]["include"]))
    folders = {".".join(path.parent.relative_to(REPOSITORY).parts) for path in PACKAGE.rglob("*.py")}
    assert folders <= packages
    assert SETUPTOOLS["include-package-data"] is False  # no C++ in a wheel


def test_an_sdist_has_what_a_build_reads() -> None:
    grafted = [line.split()[1] for line in (REPOSITORY / "MANIFEST.in").read_text().splitlines() if "graft" in line]
    assert files(BUILT)
    for path in files(BUILT):
        assert any(path.is_relative_to(REPOSITORY / folder) for folder in grafted), path


def test_the_version_is_stated_once() -> None:
    assert PROJECT["project"]["version"] == rwkv.__version__


def setup_options(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    options: dict[str, Any] = {}
    monkeypatch.setattr("setuptools.setup", lambda **named: options.update(named))
    exec(compile((REPOSITORY / "setup.py").read_text(), "setup.py", "exec"), {})
    return options


def test_one_build_serves_all_later_versions_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    monkeypatch.chdir(REPOSITORY)
    options = setup_options(monkeypatch)
    assert options["options"] == {"bdist_wheel": {"py_limited_api": f"cp{oldest.replace('.', '')}"}}
    (extension,) = options["ext_modules"]
    assert extension.py_limited_api


@pytest.mark.parametrize("required", [True, False])
def test_kernels_that_do_not_compile(
    required: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They end `make install`, which would otherwise keep an earlier build; other installations go on without them."""

    def fail(build: build_ext) -> None:
        raise CompileError("a syntax error")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build_ext, "run", fail)
    for name in ("RWKV_SANITIZE", "RWKV_MANYLINUX", "RWKV_REQUIRE_KERNELS"):
        monkeypatch.delenv(name, raising=False)
    if required:
        monkeypatch.setenv("RWKV_REQUIRE_KERNELS", "1")
    build = setup_options(monkeypatch)["cmdclass"]["build_ext"](Distribution())
    with pytest.raises(CompileError) if required else nullcontext():
        build.run()
    assert ("without native kernels" in capsys.readouterr().err) != required


def test_make_install_requires_the_kernels() -> None:
    recipe = (REPOSITORY / "Makefile").read_text().split(".venv/installed:")[1].split("\n\n")[0]
    assert "RWKV_REQUIRE_KERNELS=1 $(BIN)/pip install" in recipe


@pytest.mark.parametrize("fails", [False, True])
def test_make_install_announces_its_steps(fails: bool, tmp_path: Path) -> None:
    """In one line before each, with about how long it takes; what pip prints about a failure stays."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "setup.py"):
        shutil.copy(REPOSITORY / name, tmp_path)
    pip, python = tmp_path / ".venv" / "bin" / "pip", tmp_path / "python"
    pip.parent.mkdir(parents=True)
    for program, text in ((python, "exit 0"), (pip, f"echo pip: $5 >&2; exit {int(fails)}")):
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    command = ["make", "--silent", "install", f"PYTHON={python}"]
    done = subprocess.run(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    steps = [line for line in done.stdout.splitlines() if " of 3: " in line]
    assert [step[0] for step in steps] == (["1", "2"] if fails else ["1", "2", "3"])
    assert all("usually in " in step for step in steps)
    lines = done.stdout.splitlines()
    assert lines[lines.index(steps[1]) + 1] == "pip: torch"
    assert (done.returncode != 0) == fails


@pytest.mark.parametrize("in_terminal", [False, True])
def test_make_install_shows_pips_progress_only_in_a_terminal(in_terminal: bool) -> None:
    """A log of it would have hundreds of lines."""
    command, ends = ["make", "--dry-run", "--always-make", "install"], os.openpty()
    try:
        errors = ends[1] if in_terminal else subprocess.DEVNULL
        done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=errors, text=True, check=True)
    finally:
        for end in ends:
            os.close(end)
    calls = [line for line in done.stdout.splitlines() if "pip install" in line]
    assert ["--quiet" in call for call in calls] == 2 * [not in_terminal]
