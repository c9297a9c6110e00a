"""The native kernels: a build that is older than the code is detected and not run."""

import logging
from types import SimpleNamespace

import pytest

from rwkv.ops.cpu import native


def test_kernels_older_than_the_code_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(native.importlib, "import_module", lambda name: None)
    monkeypatch.setattr(native.torch.ops, "rwkv", SimpleNamespace(wkv_forward=None))
    with caplog.at_level(logging.WARNING, logger="rwkv"):
        assert not native.is_built.__wrapped__()
    assert "pip install" in caplog.text


def test_what_is_built_has_every_operator_that_the_code_calls() -> None:
    if not native.is_built():
        pytest.skip("the native kernels were not built: no compiler")
    assert all(hasattr(native.native(), name) for name in native._OPS)
