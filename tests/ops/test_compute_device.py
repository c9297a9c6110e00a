"""The warning that says why a command is slower than possible."""

import logging

import pytest
import torch

from rwkv.ops import backend
from rwkv.ops.backend import compute_dtype, open_compute_device

LACKING = {
    "cpu": "the native CPU kernels are not built",
    "cuda": "Triton, a C compiler or Python's headers are missing",
}


@pytest.mark.parametrize("name", LACKING)
@pytest.mark.parametrize("is_there", [False, True])
def test_missing_kernels_are_named_once(
    name: str, is_there: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backend, "open_device", lambda device, threads, key: torch.device(device))
    monkeypatch.setattr(backend, "is_built", lambda: is_there)
    monkeypatch.setattr("rwkv.ops.backend.has_triton", lambda: is_there)
    with caplog.at_level(logging.INFO, "rwkv"):
        assert open_compute_device(name, threads=0) == torch.device(name)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (0 if is_there else 1)
    assert all(LACKING[name] in line and "install" in line for line in messages)


@pytest.mark.parametrize(
    ("dtype", "device", "expected"),
    [
        ("bfloat16", "cpu", torch.float32),
        ("float32", "cpu", torch.float32),
        ("bfloat16", "cuda", torch.bfloat16),
        ("float32", "cuda:1", torch.float32),
    ],
)
def test_a_cpu_computes_in_float32(dtype: str, device: str, expected: torch.dtype) -> None:
    assert compute_dtype(dtype, torch.device(device)) == expected


@pytest.mark.parametrize(("dtype", "lines"), [("bfloat16", 1), ("float32", 0)])
def test_another_dtype_than_the_configured_one_is_reported(
    dtype: str, lines: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backend, "is_built", lambda: True)
    with caplog.at_level(logging.INFO, "rwkv"):
        open_compute_device("cpu", 0, dtype)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == lines
    assert all("bfloat16" in line and "computes in float32" in line for line in messages)
