"""CSV of reviews, as fsrs-optimizer defines it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from rwkv.data.days import DayClock
from rwkv.data.imported import ImportChoices, ImportedUser
from rwkv.data.review_columns import review_columns
from rwkv.data.reviews_csv import read_csv
from rwkv.errors import RwkvError

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
    assert user.counts == {"entries": 5, "impossible_ratings": 1}
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
        (("",), ("cannot be read",)),
        ((HEADER,), ("no reviews", "0 rows")),
        ((HEADER, f"1,{START_MS},0"), ("no reviews", "1 rows")),
        (("card_id,review_time", f"1,{START_MS}"), ("lacks a column: review_rating",)),
        ((HEADER.replace(",", ";"), f"1;{START_MS};3"), ("lacks a column: card_id",)),
        (("card_id,card_id,review_time,review_rating", f"1,1,{START_MS},3"), ("lacks a column: card_id",)),
        ((HEADER, f"1,{START_MS},good"), ("cannot be read", "good")),
        ((HEADER, f"1,{START_MS},3,4"), ("cannot be read",)),
        ((HEADER, f"1,{START_MS},3.5"), ("review_rating", "not integers")),
        ((HEADER, f"1,{START_MS},"), ("review_rating", "missing", "row 1")),
        ((HEADER, f",{START_MS},3"), ("card_id", "missing", "row 1")),
        ((HEADER, "1,1700000000,3"), ("too early", "multiply by 1000")),
        ((HEADER, "1,1700000000000000,3"), ("too late", "divide by 1000")),
        ((HEADER + ",review_state", f"1,{START_MS},3,7"), ("review_state", "7")),
    ],
)
def test_refusals(tmp_path: Path, lines: tuple[str, ...], words: tuple[str, ...]) -> None:
    said = refusal(tmp_path, *lines)
    for word in words:
        assert word in said


def test_text_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "revlog.csv"
    path.write_bytes(f"{HEADER}\nk\xe4se,{START_MS},3\n".encode("latin-1"))
    with pytest.raises(RwkvError, match="cannot be read"):
        read_csv(path, ImportChoices())


def test_elapsed_to_the_start_of_the_answer() -> None:
    """What --elapsed start means: without the time that the answer itself took, never below 0."""
    from rwkv.data.review_columns import TimedReviews

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
