"""The workspace of a test."""

from pathlib import Path

import pytest

from tests.commands.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)
