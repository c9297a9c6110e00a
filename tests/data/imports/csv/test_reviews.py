"""CSV of reviews, as fsrs-optimizer defines it."""

import bz2
import gzip
import hashlib
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rwkv.data.csv_text import is_text
from rwkv.data.days import DayClock
from rwkv.data.imports.csv.reviews import read_csv
from rwkv.data.imports.imported import ImportChoices, ImportedUser, review_columns
from rwkv.errors import InputError, RwkvError

HEADER = "card_id,review_time,review_rating"
DAY_MS = 86_400_000
START_MS = 1_700_000_000_000  # 14 November 2023, 22:13 UTC


def read(tmp_path: Path, *lines: str, choices: ImportChoices | None = None) -> ImportedUser:
    path = tmp_path / "revlog.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_csv(path, choices or ImportChoices())


def refusal(tmp_path: Path, *lines: str) -> str:
    with pytest.raises(RwkvError) as caught:
        read(tmp_path, *lines)
    assert caught.value.exit_code == 2
    assert "revlog.csv" in str(caught.value)
    return str(caught.value)


def test_all_columns_in_any_order(tmp_path: Path) -> None:
    user = read(
        tmp_path,
        "review_duration,review_state,deck,card_id,review_rating,review_time",
        f"61000,2,Latin,20,4,{START_MS + 3 * DAY_MS}",
        f"4000,0,Latin,20,3,{START_MS}",
        f",1,Latin,10,1,{START_MS + 1500}",
        f"2500.6,1,Latin,20,3,{START_MS + 60_000}",
        f"2500,3,Latin,20,0,{START_MS + 70_000}",
    )
    revlog = review_columns(user.reviews, user.clock, "published")
    assert {name: column.tolist() for name, column in revlog.items()} == {
        "card_id": [20, 10, 20, 20],
        "day_offset": [0, 0, 0, 3],
        "rating": [3, 1, 3, 4],
        "state": [0, 0, 1, 2],
        "duration": [4000, 0, 2501, 61000],
        "elapsed_days": [-1, -1, 0, 3],
        "elapsed_seconds": [-1, -1, 60, 3 * 86_400 - 60],
        "review_time": [START_MS, START_MS + 1500, START_MS + 60_000, START_MS + 3 * DAY_MS],
    }
    none = dict.fromkeys(("in_the_future", "doubled_rows", "negative_durations"), 0)
    assert user.counts == {"entries": 5, "impossible_ratings": 1} | none
    assert (user.kind, user.name, len(user.cards["card_id"])) == ("csv", "revlog", 0)
    assert user.sha256 == hashlib.sha256((tmp_path / "revlog.csv").read_bytes()).hexdigest()
    assert user.card_list.card_id.tolist() == [10, 20]


def test_without_states_a_card_learns_on_its_first_day(tmp_path: Path) -> None:
    times = (0, 600_000, DAY_MS, DAY_MS + 1000)
    lines = [f"7,{START_MS + time},3" for time in times] + [f"8,{START_MS + DAY_MS},3"]
    user = read(tmp_path, HEADER, *lines)
    assert user.reviews.state[user.reviews.card_id == 7].tolist() == [0, 1, 2, 2]
    assert user.reviews.state[user.reviews.card_id == 8].tolist() == [0]


def test_ids_may_be_text(tmp_path: Path) -> None:
    lines = [f"{name},{START_MS + time},3" for time, name in enumerate(("käse", "2", "käse", "0007"))]
    user = read(tmp_path, HEADER, *lines)
    assert user.reviews.card_id.tolist() == [1, 2, 1, 3]
    assert user.card_list.note.tolist() == ["käse", "2", "0007"]


def test_large_ids_stay_exact(tmp_path: Path) -> None:
    large = [2**63 - 1, 2**63 - 2, -(2**63)]
    user = read(tmp_path, HEADER, *(f"{card},{START_MS},3" for card in large))
    assert user.reviews.card_id.tolist() == large
    revlog = review_columns(user.reviews, user.clock, "published")
    assert revlog["elapsed_days"].tolist() == [-1, -1, -1]


def test_clock(tmp_path: Path) -> None:
    lines = (HEADER, f"1,{START_MS},3", f"1,{START_MS + 4 * 3_600_000},3")
    user = read(tmp_path, *lines)
    assert user.clock == DayClock("UTC", 4)
    assert "UTC" in user.notices[0]
    user = read(tmp_path, *lines, choices=ImportChoices(timezone="Asia/Tokyo", rollover_hour=9))
    assert (user.clock, user.notices) == (DayClock("Asia/Tokyo", 9), ())
    assert review_columns(user.reviews, user.clock, "published")["elapsed_days"].tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("",), ("is empty", "next: export")),
        ((HEADER,), ("no reviews", "0 rows")),
        ((HEADER, f"1,{START_MS},0"), ("no reviews", "1 row,")),
        (
            ("card_id,review_time", f"1,{START_MS}"),
            (
                "column is missing from the CSV file: review_rating",
                "got: card_id, review_time",
                "next: name the columns",
            ),
        ),
        (("a;b;c", "1;2;3"), ("column is missing from the CSV file: card_id",)),
        (("card_id,card_id,review_time,review_rating", f"1,1,{START_MS},3"), ("occurs twice: card_id",)),
        ((HEADER, f"1,{START_MS},3", f"1,{START_MS},good"), ("line 3, ", "column review_rating", "'good'")),
        ((HEADER, f"1,{START_MS},3", f"1,{START_MS},3,4"), ("more or fewer cells", "line 3", "3 cells", "got: 4")),
        ((HEADER, f"1,{START_MS},3", f"1,{START_MS}"), ("more or fewer cells", "line 3", "got: 2")),
        ((HEADER, "", f"1,{START_MS},3", f'1,{START_MS},3,"a",b'), ("more or fewer cells", "line 4", 'in "quotes"')),
        ((f'"{HEADER}', f"1,{START_MS},3"), ("A quote in the header is not closed", "next: close the quote")),
        (('card_id,"review_time,review_rating', f'1,{START_MS},"3"'), ("A quote in the header is not closed",)),
        (('"card_id,review_time,"review_rating"', f"1,{START_MS},3"), ("column is missing", "check its quotes")),
        ((f"{HEADER},deck", f'"1\n2",{START_MS},3,a'), ("card_id has a line break", "remove the line break")),
        ((HEADER, f"1,{START_MS},3.5"), ("line 2, ", "column review_rating", "'3.5'")),
        ((HEADER, f"1,{START_MS},"), ("review_rating is missing", "line 2, ")),
        ((HEADER, f",{START_MS},3"), ("card_id is missing", "line 2, ")),
        ((HEADER, "1,1700000000,3"), ("too early", "multiply by 1000", "line 2, ", "column review_time")),
        ((HEADER, "1,1700000000000000,3"), ("too late", "divide by 1000")),
        ((HEADER, "1,2023-11-14 22:13,3"), ("column review_time", "epoch milliseconds")),
        ((",".join(["x"] * 60_000), "1"), ("no header",)),
        ((HEADER, "1,1.70000E+12,3"), ("column review_time", "'1.70000E+12'", "spreadsheet")),
        ((HEADER, f"1,{2**63},3"), ("column review_time", str(2**63), "64 bits")),
        ((HEADER + ",review_state", f"1,{START_MS},3,7"), ("column review_state", "'7'", "0 to 4")),
    ],
)
def test_invalid_rows_are_refused(tmp_path: Path, lines: tuple[str, ...], words: tuple[str, ...]) -> None:
    output = refusal(tmp_path, *lines)
    for word in words:
        assert word in output


def test_rows_of_a_wrong_clock_are_left_out(tmp_path: Path) -> None:
    """Those after this moment, whatever their rating; and a file of nothing else has no reviews."""
    lines = [f"1,{START_MS},3", "1,4102444800000,3", "2,4102444800001,9", f"3,{START_MS + 1},9"]
    user = read(tmp_path, HEADER, *lines)
    assert user.reviews.time_ms.tolist() == [START_MS]
    assert (user.counts["in_the_future"], user.counts["impossible_ratings"]) == (2, 1)
    assert "before now" in refusal(tmp_path, HEADER, *lines[1:])


@pytest.mark.parametrize("text", ["inf", "-inf", "1e25", "-1e25", "1e999", "4,294,967,296", "12 s", "0x10"])
def test_durations_that_do_not_fit(tmp_path: Path, text: str) -> None:
    output = refusal(tmp_path, HEADER + ",review_duration", f"1,{START_MS},3,17", f'1,{START_MS + 1},3,"{text}"')
    for word in ("line 3, ", "column review_duration", text):
        assert word in output


@pytest.mark.parametrize("column", ["review_duration", "review_rating"])
def test_numbers_with_nuls_at_their_end(tmp_path: Path, column: str) -> None:
    """NumPy does not see them, and damaged disks write them."""
    cells = {"review_duration": "17", "review_rating": "3"}
    last = f"1,{START_MS + 2},3,17"
    row = ",".join((cells | {column: cells[column] + "\0\0"})[name] for name in ("review_rating", "review_duration"))
    output = refusal(tmp_path, HEADER + ",review_duration", f"1,{START_MS},3,17", f"1,{START_MS + 1},{row}", last)
    for word in ("line 3, ", f"column {column}", r"\x00"):
        assert word in output


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_a_comma_before_three_digits_is_refused_as_a_fraction(tmp_path: Path, separator: str) -> None:
    """But where semicolons part the cells: there people write fractions so."""
    rows = (HEADER + ",review_duration", f'1,{START_MS},3,"0,512"', f'1,{START_MS + 1},3,"61,512"')
    lines = [row.replace('"', "").replace(",", separator, 3) for row in rows]
    if separator == ";":
        assert read(tmp_path, *lines).reviews.duration_ms.tolist() == [1, 62]
        return
    lines = list(rows) if separator == "," else lines
    for word in ("line 3, ", "column review_duration", "'61,512'", "thousands"):
        assert word in refusal(tmp_path, *lines)


def test_durations_of_every_kind(tmp_path: Path) -> None:
    durations = ("4.5", "", "nan", "-7", "1e3", "4294967295", '"2,6"')
    lines = [f"1,{START_MS + i},3,{text}" for i, text in enumerate(durations)]
    user = read(tmp_path, HEADER + ",review_duration", *lines)
    assert user.reviews.duration_ms.tolist() == [4, 0, 0, 0, 1000, 2**32 - 1, 3]
    assert user.counts["negative_durations"] == 1


def test_duplicate_rows_are_read_once(tmp_path: Path) -> None:
    lines = [f"{card},{START_MS + 1000 * card},3,500" for card in range(1, 6)]
    user = read(tmp_path, HEADER + ",review_duration", *lines, *lines, f"2,{START_MS + 2000},3,501")
    assert user.reviews.card_id.tolist() == [1, 2, 2, 3, 4, 5]
    assert user.counts["doubled_rows"] == 5
    assert any("1 review with the same card and time as another one" in notice for notice in user.notices)


def zoned(*zones: str) -> tuple[str, ...]:
    lines = (f"1,{START_MS + i * 3_600_000},3,{zone}" for i, zone in enumerate(zones))
    return (HEADER + ",timezone,day_start", *lines)


def test_the_clock_of_the_columns(tmp_path: Path) -> None:
    user = read(tmp_path, *zoned("Asia/Tokyo,9", ",", "Asia/Tokyo,9.0"))
    assert (user.clock, user.notices) == (DayClock("Asia/Tokyo", 9), ())
    user = read(tmp_path, *zoned("Asia/Tokyo,9"), choices=ImportChoices(timezone="UTC-03:00"))
    assert (user.clock, user.notices) == (DayClock("UTC-03:00", 9), ())
    user = read(tmp_path, *zoned("Asia/Tokyo,", "Europe/Berlin,"))
    assert user.clock == DayClock("Europe/Berlin", 4)
    assert "using the latest, Europe/Berlin, for all days, instead of Asia/Tokyo" in user.notices[0]
    assert "`rollover_hour`" in user.notices[1]
    assert "`timezone`" not in user.notices[1]


@pytest.mark.parametrize(
    ("zone", "words"),
    [("Middle/Earth,4", ("timezone", "'Middle/Earth'")), ("UTC,24", ("day_start", "'24'")), ("UTC,x", ("day_start",))],
)
def test_invalid_clocks_are_refused(tmp_path: Path, zone: str, words: tuple[str, ...]) -> None:
    output = refusal(tmp_path, *zoned("UTC,4", zone))
    for word in ("line 3, ", *words):
        assert word in output


PACKED: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_text_of_every_kind(tmp_path: Path, encoding: str, separator: str, ending: str) -> None:
    """The name says nothing: contents decide."""
    rows = (("Prüfung", "Card_ID", " review_time ", "review_rating"), ("ja", "käse", str(START_MS), "3"))
    path = tmp_path / "REVLOG.xlsx"
    path.write_bytes(ending.join(map(separator.join, (*rows, ()))).encode(encoding))
    assert is_text(path)
    user = read_csv(path, ImportChoices(timezone="UTC", rollover_hour=4))
    assert (user.reviews.time_ms.tolist(), user.card_list.note.tolist()) == ([START_MS], ["käse"])
    guesses = ("encoding is unknown", "not UTF-8; assuming windows-1252", "separated by")
    assert {guess for guess in guesses if any(guess in notice for notice in user.notices)} == {
        *(guesses[:1] if encoding in ("utf-16-le", "utf-16-be") else ()),
        *(guesses[1:2] if encoding == "cp1252" else ()),
        *(guesses[2:] if separator in ";|" else ()),
    }


@pytest.mark.parametrize("packing", PACKED)
def test_compressed_text_is_read(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"my.log.CSV.{packing}"
    packed = PACKED[packing](f"{HEADER}\n7,{START_MS},3\n".encode())
    path.write_bytes(packed)
    user = read_csv(path, ImportChoices())
    assert (user.name, user.reviews.card_id.tolist()) == ("my.log", [7])
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match="damaged or truncated") as caught:
        read_csv(path, ImportChoices())
    assert str(path) in str(caught.value)


def test_a_separator_that_is_stated(tmp_path: Path) -> None:
    user = read(tmp_path, "sep=;", HEADER.replace(",", ";"), f'"a;b";{START_MS};3')
    assert user.card_list.note.tolist() == ["a;b"]


@pytest.mark.parametrize("content", [b"\xff\xfea\x00b", b"\xff\xfe\x00\xd8", b"card_id,\x00\xff\n"])
def test_content_that_is_not_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "revlog.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"not text|column is missing") as caught:
        read_csv(path, ImportChoices())
    assert str(path) in str(caught.value)


def test_elapsed_to_the_start_of_the_answer() -> None:
    """What --elapsed start means: without the time that the answer itself took, never below 0."""
    from rwkv.data.imports.imported import TimedReviews

    reviews = TimedReviews(
        card_id=np.array([1, 2, 1, 1]),
        time_ms=np.array([0, 5_000, 90_500, 91_000]) + START_MS,
        rating=np.array([1, 3, 3, 4]),
        state=np.array([0, 0, 1, 2]),
        duration_ms=np.array([9_000, 2_000, 30_000, 700]),
    )
    clock = DayClock("UTC", 4)
    published, start = (review_columns(reviews, clock, elapsed) for elapsed in ("published", "start"))
    assert published["elapsed_seconds"].tolist() == [-1, -1, 90, 0]
    assert start["elapsed_seconds"].tolist() == [-1, -1, 60, 0]
    for name in published.keys() - {"elapsed_seconds"}:
        np.testing.assert_array_equal(published[name], start[name])
