"""The choice of a backend, and the conditions under which Triton's kernels can be compiled."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rwkv.model.network import Network
from rwkv.model.spec import PUBLISHED
from rwkv.ops import backend
from rwkv.ops.backend import Backend, Kernels, choose_backend, has_triton, kernels_for, plain_ops
from tests.ops.groups import needs_native


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


def test_the_environment_may_name_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: object())
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("CC", "/opt/cc")
    assert has_triton()


CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with Triton."""
    monkeypatch.setattr(backend, "has_triton", lambda: True)
    backend._chosen.cache_clear()
    yield
    backend._chosen.cache_clear()


@pytest.mark.usefixtures("triton")
@pytest.mark.parametrize(
    ("dtype", "channels", "head_width", "expected"),
    [
        (torch.bfloat16, 128, 32, Kernels.TRITON),
        (torch.float32, 32, 32, Kernels.TRITON),
        (torch.bfloat16, 16, 16, Kernels.TRITON),
        (torch.bfloat16, 96, 32, Kernels.TRITON),
        (torch.float32, 128, 8, Kernels.PLAIN),
        (torch.float64, 128, 32, Kernels.PLAIN),
    ],
)
def test_sizes_without_gpu_kernels_run_in_the_plain_form_with_a_notice(
    dtype: torch.dtype, channels: int, head_width: int, expected: Kernels, caplog: pytest.LogCaptureFixture
) -> None:
    """float64, which no kernel supports, gives no notice."""
    for _ in range(2):
        assert choose_backend(GPU, dtype, channels, head_width) == Backend(GPU, expected, dtype)
    notices = [record.getMessage() for record in caplog.records]
    assert len(notices) == (expected is Kernels.PLAIN and dtype != torch.float64)
    assert all(f"not {channels} channels in heads of {head_width}" in notice for notice in notices)


@needs_native
def test_cpu_kernels_support_any_width(caplog: pytest.LogCaptureFixture) -> None:
    backend._chosen.cache_clear()
    for channels, head_width in ((128, 32), (96, 32), (160, 32), (48, 16)):
        assert choose_backend(CPU, torch.float32, channels, head_width).kernels is Kernels.NATIVE
    assert not caplog.records
    assert choose_backend(CPU, torch.float32, 48, 24).kernels is Kernels.PLAIN
    assert "not 48 channels in heads of 24" in caplog.text
    assert choose_backend(CPU, torch.bfloat16, 128, 32).kernels is Kernels.PLAIN


@needs_native
def test_kernels_of_a_single_op() -> None:
    x = torch.zeros(2)
    assert kernels_for(x) is Kernels.NATIVE
    assert kernels_for(x, x.double()) is Kernels.PLAIN
    assert kernels_for(x, head_width=24) is Kernels.PLAIN


def test_plain_ops_use_no_kernels() -> None:
    with torch.device("meta"):
        network = Network(PUBLISHED)
    with plain_ops():
        assert network.backend.kernels is Kernels.PLAIN
        assert choose_backend(CPU, torch.float32, 128, 32).kernels is Kernels.PLAIN
        with plain_ops():
            pass
        assert kernels_for(torch.zeros(1)) is Kernels.PLAIN
