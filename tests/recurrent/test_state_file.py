"""The file of states: it reads what was put last, reuses freed space, and reports errors."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv.errors import StoreError
from rwkv.recurrent.state_store import StateFile

KEYS = st.tuples(st.sampled_from(["card_id", "curve"]), st.integers(0, 6))


@given(puts=st.lists(st.dictionaries(KEYS, st.tuples(st.integers(0, 255), st.integers(0, 2000)), max_size=4)))
def test_a_state_file_is_a_dictionary(puts: list[dict[tuple[str, int], tuple[int, int]]]) -> None:
    file = StateFile(None)
    expected: dict[tuple[str, int], bytes] = {}
    for items in puts:
        data = {key: bytes([value]) * size for key, (value, size) in items.items()}
        file.put(data)
        expected |= data
    assert {key: file.get(key) for key, _ in file} == expected
    assert dict(file) == {key: len(data) for key, data in expected.items()}
    assert file.get(("card_id", 99)) is None
    assert file.get(("none", 0)) is None
    file.close()


def test_space_is_reused(tmp_path: Path) -> None:
    """After a hundred writes of varying sizes, the file has at most twice the size of its largest contents."""
    file = StateFile(tmp_path / "states")
    for turn in range(100):
        file.put({("card_id", number): bytes(600 * (1 + (number + turn) % 5)) for number in range(10)})
    assert file._end <= 2 * 10 * 5 * 1024
    assert list((tmp_path / "states").iterdir()) == [], "the file has no name, so no kill leaves it"
    file.close()


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    file = StateFile(tmp_path)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match="No space left"):
        file.put({("card_id", 0): b"1"})
    file.close()


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        StateFile(tmp_path / "file" / "states")
