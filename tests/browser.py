"""A headless Chromium for tests of pages; they are skipped where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Without these it looks for its maker's servers at every start; --no-sandbox is for root.
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def browser() -> "Iterator[Browser]":
    """A browser, or a skipped test."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield chromium
        chromium.close()


class OpenPage:
    """A page in a browser of its own context, drawn to the end, with all it complained of and asked for."""

    def __init__(
        self,
        chromium: "Browser",
        path: Path,
        width: int = 1200,
        height: int = 900,
        scheme: Literal["light", "dark"] = "light",
    ) -> None:
        self.context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda _: self.complaints.append("a dialog"))
        self.page.on("dialog", lambda dialog: dialog.dismiss())
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.wait_until_drawn()

    def wait_until_drawn(self) -> None:
        """Until the last section is drawn."""
        self.page.wait_for_selector("html[data-drawn]", timeout=30_000)

    def run(self, script: str, argument: object = None) -> Any:
        """What a script in the page gives."""
        return self.page.evaluate(script, argument)

    def visible(self, selector: str) -> list[str]:
        """The ids of those of the elements that are seen."""
        script = "selector => [...document.querySelectorAll(selector)].filter(e => e.offsetParent).map(e => e.id)"
        return list(self.run(script, selector))

    def texts(self, selector: str) -> list[str]:
        """The texts of the elements."""
        return [text.strip() for text in self.page.locator(selector).all_text_contents()]

    def table(self, name: str) -> dict[str, list[str]]:
        """The cells of each line of a table, by the first of them."""
        script = "lines => lines.map(line => [...line.cells].map(cell => cell.innerText.trim()))"
        lines = self.page.locator(f"#{name} tbody tr").evaluate_all(script)
        return {first: rest for first, *rest in lines}

    def close(self) -> None:
        """Leave the page."""
        self.context.close()
