"""Where Triton's kernels can be compiled."""

import shutil
from collections.abc import Iterator

import pytest

from rwkv.ops import kernels
from rwkv.ops.kernels import has_triton


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CC", raising=False)
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
    monkeypatch.setattr(kernels, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(shutil, "which", lambda name: name if name in compilers else None)
    assert has_triton() is expected


def test_a_compiler_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "find_spec", lambda name: object())
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("CC", "/opt/cc")
    assert has_triton()
