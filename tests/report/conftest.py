"""Fixtures of the tests of reports."""

import pytest

from rwkv.report import workload


@pytest.fixture
def few_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that plays few days."""
    monkeypatch.setattr(workload, "WORKLOAD_RETENTIONS", (0.7, 0.9))
    monkeypatch.setattr(workload, "WORKLOAD_DAYS", 3)
