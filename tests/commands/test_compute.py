"""The one line that says why a command is slower than it could be."""

import logging

import pytest
import torch

from rwkv.commands import compute
from rwkv.commands.compute import open_compute_device

LACKING = {"cpu": "the native CPU kernels were not built", "cuda": "there is no Triton"}


@pytest.mark.parametrize("name", LACKING)
@pytest.mark.parametrize("is_there", [False, True])
def test_missing_kernels_are_named_once(
    name: str, is_there: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compute, "open_device", lambda device, threads: torch.device(device))
    monkeypatch.setattr(compute, "is_built", lambda: is_there)
    monkeypatch.setattr("rwkv.ops.kernels.has_triton", lambda: is_there)
    with caplog.at_level(logging.INFO, "rwkv"):
        assert open_compute_device(name, threads=0) == torch.device(name)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (0 if is_there else 1)
    assert all(LACKING[name] in line and "install" in line for line in said)
