"""Where Triton's kernels can be compiled."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rwkv.ops import backend
from rwkv.ops.backend import has_triton


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv("CC", raising=False)
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(backend, "headers", lambda: tmp_path)
    has_triton.cache_clear()
    yield
    has_triton.cache_clear()


@pytest.mark.parametrize(
    ("installed", "compilers", "expected"),
    [(True, ["gcc"], True), (True, ["clang"], True), (True, [], False), (False, ["gcc"], False)],
)
def test_triton_needs_a_compiler(
    installed: bool, compilers: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(shutil, "which", lambda name: name if name in compilers else None)
    assert has_triton() is expected


def test_triton_needs_the_headers_of_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: object())
    monkeypatch.setenv("CC", "/opt/cc")
    (tmp_path / "Python.h").unlink()
    assert not has_triton()


def test_a_compiler_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: object())
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("CC", "/opt/cc")
    assert has_triton()
