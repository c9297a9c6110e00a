"""Fixtures of the tests of pages."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser import OpenPage, browser
from tests.report.page.report_files import written

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """A browser that a module's tests open pages in."""
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def report(chromium: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenPage]:
    """One page for the tests that leave it as they found it."""
    page = OpenPage(chromium, written(tmp_path_factory.mktemp("report")))
    yield page
    assert page.complaints == []
    page.close()
