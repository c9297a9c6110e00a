"""The page of a report: one HTML file with style, scripts and data, which loads nothing else."""

import base64
import gzip
import json
from functools import cache
from html import escape
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from rwkv.report.page.data import ReportData

_STYLES = ("style.css", "sections.css", "overview.css")

# In the order of execution.
_PROGRAMS = (
    "plotly-basic.min.js",
    "data.js",
    "theme.js",
    "charts.js",
    "cards.js",
    "card.js",
    "overview.js",
    "map_layout.js",
    "map.js",
    "map_choice.js",
    "ahead.js",
    "past.js",
    "habits.js",
    "decks.js",
    "curves.js",
    "filters.js",
    "calibration.js",
    "losses.js",
    "table.js",
    "training.js",
    "main.js",
)
_ALIGNMENT = 8


def report_html(data: ReportData) -> bytes:
    """The whole page in UTF-8. It shows a message if JavaScript is off."""
    packed = base64.b64encode(gzip.compress(pack(data), 6, mtime=0)).decode()
    parts = {
        "title": escape(data.facts["title"]),
        "style": "".join(map(_part, _STYLES)),
        "data": packed,
        "programs": "\n".join(f"<script>{_part(name)}</script>" for name in _PROGRAMS),
    }
    page = _part("page.html")
    for name, text in parts.items():
        page = page.replace(f"<!--{name}-->", text)
    return page.encode()


def pack(data: ReportData) -> bytes:
    """Serialise the data: length of the header (uint32), the header as JSON, then the arrays, each 8-byte aligned.

    The header holds the facts, and for each array its dtype, its offset after the header and its length. All numbers
    are little endian, as browsers read them.
    """
    places, parts, offset = {}, [], 0
    for name, array in data.arrays.items():
        content = _little_endian(array)
        places[name] = [content.dtype.str[1:], offset, len(content)]
        parts.append(_padded(content.tobytes()))
        offset += len(parts[-1])
    header = json.dumps({"facts": data.facts, "arrays": places}, allow_nan=False, separators=(",", ":")).encode()
    header += b" " * (-(4 + len(header)) % _ALIGNMENT)  # align the arrays
    return b"".join([np.uint32(len(header)).astype("<u4").tobytes(), header, *parts])


def _little_endian(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))


def _padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % _ALIGNMENT)


@cache
def _part(name: str) -> str:
    """A file of the page. A script must not contain its own end tag."""
    text = (files("rwkv.report.page") / "browser" / name).read_text("utf-8")
    return text.replace("</script", "<\\/script") if name.endswith(".js") else text
