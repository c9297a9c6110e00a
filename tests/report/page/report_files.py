"""Reports to open: a made-up learner's, as a file."""

from pathlib import Path

from bench.report_contents import made_up_content
from rwkv.report.content import ReportContent
from rwkv.report.page.data import report_data
from rwkv.report.page.html import report_html

CONTENT = made_up_content(cards=800, reviews=6000)


def written(folder: Path, content: ReportContent = CONTENT) -> Path:
    """The page of a content."""
    path = folder / "report.html"
    path.write_bytes(report_html(report_data(content)))
    return path
