"""Quotes in CSV that are missing or left over: no row is lost without a word."""

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rwkv.data.imports.csv.reviews import read_csv
from rwkv.data.imports.imported import ImportChoices
from rwkv.errors import InputError
from tests.data.imports.csv.test_reviews import HEADER, START_MS, read, refusal

QUOTED = f"{HEADER},deck"
ROW = f"1,{START_MS},3"


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ((f'{ROW},"Latin', f"{ROW},Greek", f"{ROW},Greek"), 2),  # the last column: as many cells as the header
        ((f"{ROW},Greek", "", f'{ROW},"Latin', f"{ROW},Greek"), 4),
        ((f"{ROW},Greek", f'1,{START_MS},"3,Latin', f"{ROW},Greek"), 3),  # too few cells
        ((f'{ROW},"two', 'lines"', f'{ROW},"Latin ""A""', f"{ROW},Greek", ""), 4),
        ((f'{ROW},"Latin',), 2),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_a_quote_that_is_not_closed(tmp_path: Path, lines: tuple[str, ...], line: int, ending: str) -> None:
    """It would take the rows after it into a cell."""
    (tmp_path / "revlog.csv").write_bytes(ending.join([QUOTED, *lines]).encode())
    with pytest.raises(InputError, match="A quote is not closed") as caught:
        read_csv(tmp_path / "revlog.csv", ImportChoices())
    assert f"revlog.csv, line {line}\n" in str(caught.value)
    assert "Latin" in str(caught.value)


@pytest.mark.parametrize(
    "last",
    [
        f'{ROW},"Latin"',
        f'{ROW},a "quote',
        f'{ROW},"two\nlines"',
        f'{ROW},"two\nlines " \t',
        f'{ROW},"a ""b"""',
        f"{ROW},",
    ],
)
def test_quotes_that_are_closed(tmp_path: Path, last: str) -> None:
    for end in ("", "\n", "\n\n"):
        (tmp_path / "revlog.csv").write_text(f'{QUOTED}\n2,{START_MS},4,"Greek"\n\n{last}{end}')
        assert read_csv(tmp_path / "revlog.csv", ImportChoices()).counts["entries"] == 2


def test_a_text_may_hold_the_next_one_in_quotes(tmp_path: Path) -> None:
    text = f'{QUOTED},note\n{ROW},"say ""two\nlines""","two\nlines"\n{ROW},,\n'
    (tmp_path / "revlog.csv").write_text(text)
    assert read_csv(tmp_path / "revlog.csv", ImportChoices()).counts["entries"] == 2


@pytest.mark.parametrize(
    ("lines", "line", "what"),
    [
        ((f'{ROW},"Latin', f"{ROW},Greek", f'{ROW},"Greek"'), 2, "not closed"),
        (
            (f"{ROW},a", f'{ROW},"two', 'lines"', f'{ROW},"Latin', f'{ROW},""', f'{ROW},"Greek"', f"{ROW},a"),
            5,
            "not closed",
        ),
        ((f'1,{START_MS},"3,Latin', f'1,{START_MS},"3",Latin'), 2, "not closed"),
        ((f'"1\n2",{START_MS},3,Latin',), 2, "column card_id has a line break"),
        ((f"{ROW},a", f'1,{START_MS},"3\n",Latin'), 3, "column review_rating has a line break"),
    ],
)
def test_a_quote_that_is_missing_in_the_middle(tmp_path: Path, lines: tuple[str, ...], line: int, what: str) -> None:
    """It would take the rows up to the next quote into a cell."""
    (tmp_path / "revlog.csv").write_text("\n".join([QUOTED, *lines]))
    with pytest.raises(InputError, match=what) as caught:
        read_csv(tmp_path / "revlog.csv", ImportChoices())
    assert f"revlog.csv, line {line}\n" in str(caught.value)


@pytest.mark.parametrize(
    "row",
    [
        f'"","17,", ",{START_MS},3',
        f',"17,"a,b",{START_MS},3',
        f'a ,",17," b",{START_MS},3',
        f'"a,17,"b,18,c",{START_MS},3',  # a whole id lies in the text
        f'",,17,",a,b"" b1",{START_MS},3',  # the next text begins with a comma
        f'"1,aa,17,",11,11",{START_MS},3',
        f'"a"",17,",b,18",{START_MS},3',
    ],
)
def test_a_quote_that_is_missing_within_a_row(tmp_path: Path, row: str) -> None:
    """A comma of the next text takes its place, so there are as many cells as before, but another id."""
    header = "deck,card_id,note,review_time,review_rating"
    output = refusal(tmp_path, header, f"a,1,b,{START_MS},3", row)
    assert "A quote is not closed" in output
    assert "revlog.csv, line 3\n" in output


def written_table(folder: Path, header: str, rows: list[list[object]], is_all_quoted: bool) -> Path:
    path = folder / "revlog.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL if is_all_quoted else csv.QUOTE_MINIMAL)
        writer.writerows([header.split(","), *rows])
    return path


def lost_quote(path: Path, data: st.DataObject) -> bool:
    """Remove a quote below the header of a table; False if there is none."""
    written = path.read_text()
    start = written.index("\n")
    quotes = [place for place, letter in enumerate(written) if letter == '"' and place > start]
    if quotes:
        place = data.draw(st.sampled_from(quotes))
        path.write_text(written[:place] + written[place + 1 :])
    return bool(quotes)


WITH_NUMBERS = st.text(st.sampled_from('17 ,,"a\n'), max_size=8)


@given(st.lists(st.tuples(WITH_NUMBERS, WITH_NUMBERS), min_size=1, max_size=3), st.booleans(), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_ids_are_changed_by_a_missing_quote(
    tmp_path: Path, texts: list[tuple[str, str]], is_all_quoted: bool, data: st.DataObject
) -> None:
    """Of a column between texts, whose own numbers could take its place."""
    header = "deck,card_id,note,review_time,review_rating"
    rows = [[deck, 23, note, START_MS + n, 3] for n, (deck, note) in enumerate(texts)]
    path = written_table(tmp_path, header, rows, is_all_quoted)
    assert read_csv(path, ImportChoices()).reviews.card_id.tolist() == len(texts) * [23]
    if not lost_quote(path, data):
        return
    try:
        user = read_csv(path, ImportChoices())
    except InputError:
        return  # it is noticed
    assert user.reviews.card_id.tolist() == len(texts) * [23]


def test_a_text_beside_one_with_a_comma_may_have_a_quote(tmp_path: Path) -> None:
    user = read(tmp_path, f"{QUOTED},note", f'{ROW},"a, b",5" disc', f'{ROW},"a, b",say "c"', f'{ROW},ab,disc 5"')
    assert user.counts["entries"] == 3


def test_an_id_in_quotes_may_have_commas(tmp_path: Path) -> None:
    user = read(tmp_path, QUOTED, f'"käse, weiß",{START_MS},3,""', f'"a,b" ,{START_MS},3,"c, ""d"""')
    assert user.card_list.note.tolist() == ["käse, weiß", "a,b"]


def test_a_quote_that_is_missing_before_a_text_with_a_comma(tmp_path: Path) -> None:
    """Two rows become one with as many cells as the header; a quote is left over in its last cell."""
    (tmp_path / "revlog.csv").write_text(f'{QUOTED},note\n{ROW},"Latin,\n{ROW},,", old"\n{ROW},,\n')
    with pytest.raises(InputError, match="not closed") as caught:
        read_csv(tmp_path / "revlog.csv", ImportChoices())
    assert "revlog.csv, line 2\n" in str(caught.value)


TEXTS = st.text(st.sampled_from('ab ,"\n'), max_size=6)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=2, max_size=6), st.booleans(), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_rows_are_lost_by_a_missing_quote(
    tmp_path: Path, texts: list[tuple[str, str]], is_all_quoted: bool, data: st.DataObject
) -> None:
    """And none are refused while all quotes are there."""
    rows = [[number, START_MS + number, 3, *pair] for number, pair in enumerate(texts)]
    path = written_table(tmp_path, f"{QUOTED},note", rows, is_all_quoted)
    assert read_csv(path, ImportChoices()).counts["entries"] == len(texts)
    if not lost_quote(path, data):
        return
    try:
        assert read_csv(path, ImportChoices()).counts["entries"] == len(texts)
    except InputError:
        return  # it is noticed


@pytest.mark.parametrize("name", ['1"2', '"1""2"', 'k"se', '1"', '"a;""b"""'])
def test_an_id_has_no_quotes(tmp_path: Path, name: str) -> None:
    """It would be another card."""
    output = refusal(tmp_path, QUOTED, f'{ROW},"two', 'lines"', f"{name},{START_MS},3,Latin", f"{ROW},Greek")
    for words in ("line 4, column card_id", "without quotes", "next: remove the quote"):
        assert words in output


@pytest.mark.parametrize(
    ("lines", "first", "last"),
    [
        ((f"{ROW},a", f'{ROW},"Latin', f"{ROW},Greek", f'{ROW},Greek"', f"{ROW},a"), 3, 5),
        ((f'{ROW},"two', 'lines"', f'{ROW},"Latin', f'{ROW},Greek"'), 4, 5),
        ((f'{ROW},"Latin', f'{ROW},"'), 2, 3),
        ((f'{ROW},"Latin', f"{ROW},", 'a"'), 2, 4),
        ((f'{ROW},"Latin', f'{ROW},a,b"'), 2, 3),  # of which one has another comma
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_two_quotes_that_are_left_over(
    tmp_path: Path, lines: tuple[str, ...], first: int, last: int, ending: str
) -> None:
    """They make one text of the rows between them, with as many cells as the header."""
    (tmp_path / "revlog.csv").write_bytes(ending.join([QUOTED, *lines]).encode())
    with pytest.raises(InputError, match="takes whole rows into one cell") as caught:
        read_csv(tmp_path / "revlog.csv", ImportChoices())
    assert f"revlog.csv, lines {first} to {last}\n" in str(caught.value)


def test_quotes_that_are_left_over_in_a_first_column(tmp_path: Path) -> None:
    output = refusal(tmp_path, f"deck,{HEADER}", f'"Latin,{ROW}', f'Greek",{ROW}', f"Greek,{ROW}")
    assert "revlog.csv, lines 2 to 3\n" in output


def test_a_text_of_several_lines_may_have_commas_and_numbers(tmp_path: Path) -> None:
    user = read(tmp_path, QUOTED, f'{ROW},"1, 2, 3, 4', "1,2,3,4", f'{START_MS}, 5 of 6"', f"2,{START_MS},3,a")
    assert user.counts["entries"] == 2


@given(st.lists(st.tuples(*2 * [st.text(st.sampled_from("ab "), max_size=3)]), min_size=2, max_size=6), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_rows_are_lost_or_changed_by_two_quotes(
    tmp_path: Path, texts: list[tuple[str, str]], data: st.DataObject
) -> None:
    """Wherever they are left over in a table without any, in ids and numbers too."""
    path = tmp_path / "revlog.csv"
    header, *rows = [f"{QUOTED},note", *(f"{n + 1},{START_MS + n},3,{','.join(pair)}" for n, pair in enumerate(texts))]
    table = "\n".join(rows)
    first, second = sorted(data.draw(st.lists(st.integers(0, len(table)), min_size=2, max_size=2)))
    path.write_text(f'{header}\n{table[:first]}"{table[first:second]}"{table[second:]}\n')
    try:
        user = read_csv(path, ImportChoices())
    except InputError:
        return
    assert user.reviews.card_id.tolist() == list(range(1, len(texts) + 1))
    assert user.reviews.time_ms.tolist() == [START_MS + n for n in range(len(texts))]
