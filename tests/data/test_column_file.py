"""Packed files of columns: what was written is read back, and damage is an error."""

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv.data.tables import PACKED, PARQUET, Column, flags, integers, numbers, read_columns, read_file, reals, texts
from rwkv.data.tables import write_columns as write
from rwkv.errors import HistoryError

ROWS = 3
INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=ROWS, max_size=ROWS)
REALS = st.lists(st.floats(allow_infinity=False), min_size=ROWS, max_size=ROWS)
FLAGS = st.lists(st.booleans(), min_size=ROWS, max_size=ROWS)
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=ROWS, max_size=ROWS)


def columns_of(whole: list[int], real: list[float], flag: list[bool], text: list[str]) -> dict[str, npt.NDArray[Any]]:
    return {
        "whole": np.array(whole, np.int64),
        "real": np.array(real, np.float64),
        "flag": np.array(flag, bool),
        "text": np.array([*text, None], object)[:-1],
        "partly": np.ma.MaskedArray(np.array(whole, np.int64), flag),
    }


def values_of(columns: dict[str, Column]) -> list[npt.NDArray[Any]]:
    readers = {"whole": integers, "real": reals, "flag": flags, "text": texts}
    return [read(columns[name], name, "") for name, read in readers.items()] + [
        *numbers(columns["partly"], "partly", "")
    ]


@pytest.mark.parametrize("ending", [PACKED, PARQUET])
@given(INTEGERS, REALS, FLAGS, TEXTS)
def test_columns_are_read_back(
    ending: str, whole: list[int], real: list[float], flag: list[bool], text: list[str]
) -> None:
    columns = columns_of(whole, real, flag, text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{ending}"
        write(path, columns)
        ours = values_of(read_file(path, "here", (*columns,)))
    expected = [columns["whole"], columns["real"], columns["flag"], columns["text"]]
    for values, wanted in zip(ours, [*expected, np.where(flag, 0, columns["whole"]), np.array(flag)], strict=True):
        assert values.dtype == wanted.dtype
        np.testing.assert_array_equal(values, wanted)


@given(st.data())
def test_damage_is_never_a_wrong_number(data: st.DataObject) -> None:
    """One changed byte anywhere, or a missing end. A changed bit of the frame may leave its contents as they are."""
    columns = columns_of([1, 2, 3], [0.5, 1, 2], [True, False, True], ["a", "", "漢"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{PACKED}"
        write(path, columns)
        intact = values_of(read_file(path, "here", (*columns,)))
        stored = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(stored) - 1))
        if data.draw(st.booleans()):
            stored[place] ^= data.draw(st.integers(1, 255))
        else:
            del stored[place:]
        path.write_bytes(stored)
        with suppress(HistoryError):
            for values, expected in zip(values_of(read_file(path, "here", (*columns,))), intact, strict=True):
                np.testing.assert_array_equal(values, expected)


def test_a_cut_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / f"data{PACKED}"
    write(path, {"a": np.arange(1000)})
    stored = path.read_bytes()
    for length in (0, 1, len(stored) // 2, len(stored) - 5):
        path.write_bytes(stored[:length])
        with pytest.raises(HistoryError, match="damaged"):
            read_file(path, "here", ("a",))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write(tmp_path / f"data{PACKED}", {"a": np.arange(2)})
    with pytest.raises(HistoryError, match="A column is missing: b") as caught:
        read_file(tmp_path / f"data{PACKED}", "here", ("a", "b"), ("c",))
    assert caught.value.details == {"where": "here", "got": "a"}


def test_files_of_a_table_are_joined(tmp_path: Path) -> None:
    folder = tmp_path / "cards" / "user_id=1"
    write(folder / f"1{PACKED}", {"a": np.array([1, 2])})
    write(folder / f"2{PARQUET}", {"a": np.array([0.5])})
    columns = read_columns(tmp_path, "cards", 1, ("a",))
    assert columns is not None
    np.testing.assert_array_equal(reals(columns["a"], "a", ""), [1, 2, 0.5])
    write(folder / f"3{PACKED}", {"a": np.array(["x"], object)})
    with pytest.raises(HistoryError, match="several types"):
        read_columns(tmp_path, "cards", 1, ("a",))
