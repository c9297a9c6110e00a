"""Raw files are read back as written, or an error names the line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rwkv.errors import InputError
from rwkv.evaluation.results import read_raw, user_lines
from tests.evaluation.test_results import open_files, paths, predictions

LINE: dict[str, object] = {"user": 3, "size": 2, "p": [0.5, 0.25], "y": [1.0, 0.0], "review_th": [4, 9]}
CHANGES: tuple[dict[str, object], ...] = (
    {"size": 3},
    {"p": [0.5]},
    {"p": [0.5, 0.25, 0.1]},
    {"y": []},
    {"y": "high"},
    {"p": [[0.5], [0.25]]},
    {"p": [0.5, {}]},
    {"review_th": [4, 2**40]},
    {"review_th": 4},
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = {user: predictions(user, size=size) for user, size in ((30, 5), (4, 1))}
    files = open_files(tmp_path, raw=True)
    for user_predictions in written.values():
        files.append(user_lines(user_predictions, True))
    files.finish()
    for path, name in zip(paths(tmp_path, raw=True)[:2], ("p_ahead", "p_imm"), strict=True):
        read = read_raw(path)
        assert list(read) == [4, 30]
        for user, raw in read.items():
            assert [column.dtype for column in (raw.review_th, raw.p, raw.y)] == [np.int32, np.float32, np.float32]
            np.testing.assert_array_equal(raw.review_th, written[user].review_th)
            np.testing.assert_array_equal(raw.p, getattr(written[user], name))
            np.testing.assert_array_equal(raw.y, written[user].y)


def test_an_empty_file_has_no_users(tmp_path: Path) -> None:
    (tmp_path / "raw.jsonl").write_bytes(b"")
    assert read_raw(tmp_path / "raw.jsonl") == {}


@pytest.mark.parametrize(
    "line",
    [
        b'{"user": 3, "size": 2, "p": [0.5',
        b"\n",
        b"[1, 2]",
        b"7",
        b"\xff\xfe",
        *(json.dumps({key: value for key, value in LINE.items() if key != lost}).encode() for lost in LINE),
        *(json.dumps(LINE | changed).encode() for changed in CHANGES),
    ],
)
def test_a_line_without_predictions_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "raw.jsonl"
    path.write_bytes(json.dumps(LINE).encode() + b"\n" + line)
    with pytest.raises(InputError, match="does not hold single predictions") as caught:
        read_raw(path)
    assert f"{path}, line 2" in str(caught.value)


def test_a_result_file_holds_no_single_predictions(tmp_path: Path) -> None:
    files = open_files(tmp_path, raw=False)
    files.append(user_lines(predictions(1), True))
    with pytest.raises(InputError, match="does not hold single predictions"):
        read_raw(paths(tmp_path, raw=False)[0])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.jsonl"):
        read_raw(tmp_path / "absent.jsonl")


@pytest.mark.parametrize("name", ["p_ahead", "p_imm", "p_all"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_predictions_are_finite_if_all_are(name: str, value: float) -> None:
    finite = predictions(1)
    assert finite.is_finite
    broken = getattr(finite, name).copy()
    broken.flat[-1] = value
    assert not replace(finite, **{name: broken}).is_finite
