"""The file of a report: it is complete, loads nothing from outside, and escapes names."""

import base64
import gzip
import json
import re

import numpy as np

from bench.report_contents import made_up_content
from rwkv.report.page.data import ReportData, report_data
from rwkv.report.page.html import pack, report_html

DATA = report_data(made_up_content(cards=50, reviews=200))


def unpack(packed: bytes) -> ReportData:
    length = int(np.frombuffer(packed[:4], "<u4")[0])
    header = json.loads(packed[4 : 4 + length])
    assert (4 + length) % 8 == 0
    arrays = {
        name: np.frombuffer(packed, "<" + kind, count, 4 + length + offset)
        for name, (kind, offset, count) in header["arrays"].items()
    }
    assert all(offset % 8 == 0 for _, offset, _ in header["arrays"].values())
    return ReportData(header["facts"], arrays)


def data_of(page: str) -> ReportData:
    result = re.search(r'<script type="application/octet-stream" id="data">([^<]*)</script>', page)
    assert result is not None
    return unpack(gzip.decompress(base64.b64decode(result[1])))


def test_the_page_holds_the_data() -> None:
    result = data_of(report_html(DATA).decode())
    assert result.facts == json.loads(json.dumps(DATA.facts))
    assert result.arrays.keys() == DATA.arrays.keys()
    for name, array in DATA.arrays.items():
        assert result.arrays[name].dtype == array.dtype
        assert np.array_equal(result.arrays[name], array, equal_nan=array.dtype.kind == "f")


def test_the_same_data_gives_the_same_file() -> None:
    assert report_html(DATA) == report_html(DATA)


def test_arrays_are_little_endian_whatever_they_were() -> None:
    big = np.array([1, 2, 3], ">u4")
    assert unpack(pack(ReportData(DATA.facts, {"a": big}))).arrays["a"].tolist() == [1, 2, 3]


def test_nothing_is_fetched() -> None:
    page = report_html(DATA).decode()
    assert "default-src 'none'" in page
    assert not re.search(
        r"<(script|link|img|iframe)[^>]*\s(src|href)=", re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    )


def test_every_part_is_filled_in() -> None:
    page = report_html(DATA).decode()
    assert not re.search(r"<!--(title|style|data|programs)-->", page)


def test_a_title_is_escaped() -> None:
    page = report_html(ReportData(DATA.facts | {"title": "</title><script>alert(1)</script>"}, {})).decode()
    assert "<script>alert(1)" not in page
    assert "<title>&lt;/title&gt;&lt;script&gt;" in page
