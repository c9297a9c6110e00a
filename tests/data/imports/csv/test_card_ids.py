"""Ids of cards in CSV: read exactly, reported where they may be damaged, refused where they are."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv.data.imports.csv.card_ids import first_damaged, numbered
from tests.data.imports.csv.test_reviews import HEADER, START_MS, read, refusal


@pytest.mark.parametrize(
    ("ids", "row"),
    [
        (("17", "1.70000E+12"), 2),
        (("1,7E+12", "x"), 1),
        (("3", "4", "1e5"), 3),
        (("3", "160.5"), 2),
        (("3", "1,600,000,000,000"), 2),
        (("1.600.000.000.001", "3"), 1),
        (("3", "inf"), 2),
        (("3", "NaN"), 2),
        (("käse", "########"), 2),
        (("käse", "#N/A"), 2),
        ((f"{2**53 + 2}.0", "3"), 1),
    ],
)
def test_damaged_ids(tmp_path: Path, ids: tuple[str, ...], row: int) -> None:
    output = refusal(tmp_path, HEADER, *(f'"{name}",{START_MS + i},3' for i, name in enumerate(ids)))
    for word in (f"line {row + 1}, column card_id", ids[row - 1]):
        assert word in output


@pytest.mark.parametrize(
    ("ids", "numbers", "names"),
    [
        (("160", "160.0", " 160 ", "+7", "7."), [160, 160, 160, 7, 7], None),
        (("1600000000000.0", "1600000007919.0"), [1_600_000_000_000, 1_600_000_007_919], None),
        ((f"{2**63}", f"{2**63}.", f"{2**64}"), None, None),
        ((f"{2**63}", "1.0", "1"), [1, 2, 2], [str(2**63), "1"]),
        (("NA", "null", "a1e5", "12e4"), [1, 2, 3, 4], ["NA", "null", "a1e5", "12e4"]),
    ],
)
def test_ids_of_several_forms(
    tmp_path: Path, ids: tuple[str, ...], numbers: list[int] | None, names: list[str] | None
) -> None:
    lines = [HEADER, *(f"{name},{START_MS + i},3" for i, name in enumerate(ids))]
    if numbers is None:
        refusal(tmp_path, *lines)
        return
    user = read(tmp_path, *lines)
    assert user.reviews.card_id.tolist() == numbers
    assert any("two ways" in notice for notice in user.notices) == (len(set(numbers)) < len(numbers))
    if names is not None:
        assert user.card_list.note.tolist() == names


@pytest.mark.parametrize(
    ("ids", "is_told"),
    [
        (("9007199254740990", "9007199254740980", "1234567890123450000", "17"), True),
        (("9007199254740990", "9007199254740980", "1234567890123450007"), False),
        (("9007199254740990", "9007199254740980"), False),
        (("160000000000000", "170000000000000", "180000000000000"), False),
    ],
)
def test_long_ids_ending_in_zeros_are_reported(tmp_path: Path, ids: tuple[str, ...], is_told: bool) -> None:
    user = read(tmp_path, HEADER, *(f"{name},{START_MS + i},3" for i, name in enumerate(ids)))
    assert user.reviews.card_id.tolist() == list(map(int, ids))
    assert any("probably rounded by a spreadsheet" in notice for notice in user.notices) == is_told


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.data())
def test_whole_numbers_are_read_back_exactly(ids: list[int], data: st.DataObject) -> None:
    forms = ("{}", "{}.0") if max(map(abs, ids)) <= 2**53 else ("{}",)
    written = [data.draw(st.sampled_from(forms)).format(number) for number in ids]
    assert first_damaged(written) is None
    assert numbered(written) == (ids, None)


@pytest.mark.parametrize(
    ("ids", "notice"),
    [
        (("17", "18", "a"), "1 of 3 card ids is no integer, such as 'a'; all are treated as text"),
        (("17", "18.0"), None),
        (("käse", "apple"), None),
    ],
)
def test_texts_among_integers_are_told(tmp_path: Path, ids: tuple[str, ...], notice: str | None) -> None:
    """A quote that is missing may have moved another column's text there."""
    user = read(tmp_path, HEADER, *(f"{name},{START_MS + i},3" for i, name in enumerate(ids)))
    assert [text for text in user.notices if "integer" in text] == ([notice] if notice else [])
