"""Fixtures of the tests of loading."""

import sys

import pytest


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The errors that Python would print because nobody can catch them."""
    errors: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda given: errors.append(str(given.exc_value)))
    return errors
