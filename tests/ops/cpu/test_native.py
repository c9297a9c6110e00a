"""The native library: a build that is older than the code is detected and not run."""

import logging
from types import SimpleNamespace

import pytest

from rwkv.native import library


def test_a_library_older_than_the_code_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(library, "native", lambda: SimpleNamespace(wkv_forward=None))
    with caplog.at_level(logging.WARNING, logger="rwkv"):
        assert not library.is_built.__wrapped__()
    assert "pip install" in caplog.text


def test_the_built_library_has_every_operator() -> None:
    if not library.is_built():
        pytest.skip("the native kernels were not built: no compiler")
    assert all(hasattr(library.native(), name) for name in library.OPERATORS)
