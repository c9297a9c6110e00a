"""The time until a report is drawn: the page of an invented collection, opened in a headless Chromium.

python -m bench.report_page [--cards 100000] [--reviews 500000] [--repeats 5]
python -m bench.report_page --picture docs/report.png
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import print_json, timed
from bench.report_contents import made_up_content
from rwkv.report.page.data import report_data
from rwkv.report.page.html import report_html
from tests.browser import OpenPage, browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_MOST_SECONDS = 2.0
_PICTURE_HEIGHT = 1420


def main() -> None:
    """Write the report, open it several times and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cards", type=int, default=100_000)
    parser.add_argument("--reviews", type=int, default=500_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--picture", type=Path, help="save a picture of the page with fewer cards at this path and stop"
    )
    options = parser.parse_args()
    if options.picture is not None:
        _photograph(options.picture)
        return
    content = made_up_content(options.cards, options.reviews)
    html = report_html(report_data(content))
    figures: dict[str, object] = {
        "cards": options.cards,
        "reviews": options.reviews,
        "file_mb": len(html) / 1e6,
        "writing_s": timed(lambda: report_html(report_data(content)), 3)["median_s"],
    }
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        path = Path(folder) / "report.html"
        path.write_bytes(html)
        opened = [_open(chromium, path) for _ in range(options.repeats)]
    for name in opened[0]:
        figures[name] = statistics.median(times[name] for times in opened)
    figures["within_two_seconds"] = all(times["drawn_s"] < _MOST_SECONDS for times in opened)
    print_json("report_page", figures)


def _photograph(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        report = Path(folder) / "report.html"
        report.write_bytes(report_html(report_data(made_up_content(2500, 60_000))))
        page = OpenPage(chromium, report, width=1000, height=_PICTURE_HEIGHT)
        path.parent.mkdir(parents=True, exist_ok=True)
        page.page.screenshot(path=path)
        page.close()


def _open(chromium: "Browser", path: Path) -> dict[str, float]:
    """Seconds from opening to the first paint, the first screen and the whole page; and seconds of a filter and a
    search.
    """
    page = OpenPage(chromium, path)
    if page.complaints:
        raise RuntimeError(f"the page reports errors: {page.complaints}")
    painted = page.run("() => performance.getEntriesByName('first-contentful-paint')[0].startTime")
    filtered = page.run(_TIMED, ["#filter-deck", "Kanji", "change"])
    searched = page.run(_TIMED, ["#curve-search", "ulnaris", "input"])
    first_screen, drawn = (page.run(_MARKED, name) for name in ("drawMap", "all"))
    page.close()
    return {
        "first_paint_s": painted / 1000,
        "first_screen_s": first_screen / 1000,
        "drawn_s": drawn / 1000,
        "filter_s": filtered / 1000,
        "search_s": searched / 1000,
    }


_MARKED = "name => performance.getEntriesByName(name)[0].startTime"

_TIMED = """([selector, value, event]) => {
  const start = performance.now(), input = document.querySelector(selector);
  input.value = value;
  input.dispatchEvent(new Event(event));
  return performance.now() - start;
}"""


if __name__ == "__main__":
    main()
