"""Reading the dataset: what is accepted, what is reported, and how bad input is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rwkv.data.revlogs import list_users, read_history
from rwkv.errors import HistoryError, InputError
from tests.helpers import (
    DECKS,
    USER,
    Columns,
    assert_refused,
    cards_of,
    random_revlog,
    read_written,
    revlog_columns,
    with_value,
    write_history,
    write_parquet,
)

REVIEWS = 40
REVLOG_COLUMNS = ("card_id", "day_offset", "rating", "state", "duration", "elapsed_days", "elapsed_seconds")


@pytest.fixture
def revlog() -> Columns:
    return random_revlog(1, REVIEWS, 8)


def revlog_file(root: Path, name: str = "data.parquet") -> Path:
    return root / "revlogs" / f"user_id={USER}" / name


def test_columns_come_back_as_recorded(tmp_path: Path, revlog: Columns) -> None:
    table = read_written(tmp_path, revlog, cards_of(revlog), DECKS)
    assert table.user == USER
    assert table.notices == ()
    assert table.review_th.tolist() == list(range(1, REVIEWS + 1))
    for ours, theirs in (
        (table.rating, "rating"),
        (table.state, "state"),
        (table.duration_ms, "duration"),
        (table.day_offset, "day_offset"),
        (table.elapsed_days, "elapsed_days"),
        (table.elapsed_s, "elapsed_seconds"),
    ):
        assert ours.tolist() == np.asarray(revlog[theirs]).tolist()
    first_seen = list(dict.fromkeys(np.asarray(revlog["card_id"]).tolist()))
    assert [first_seen[card] for card in table.card] == np.asarray(revlog["card_id"]).tolist()


# --- The dataset's folders


@pytest.mark.parametrize("make", [lambda root: None, lambda root: root.mkdir(), lambda root: root.write_text("")])
def test_a_missing_or_foreign_folder_is_refused(tmp_path: Path, make: Callable[[Path], object]) -> None:
    root = tmp_path / "nowhere"
    make(root)
    with pytest.raises(InputError, match="folders revlogs/user_id=N") as caught:
        list_users(root)
    assert str(root) in str(caught.value)


def test_a_dataset_without_users_is_refused(tmp_path: Path) -> None:
    (tmp_path / "revlogs" / "something").mkdir(parents=True)
    with pytest.raises(InputError, match="empty"):
        list_users(tmp_path)


def test_users_are_listed_in_numeric_order(tmp_path: Path, revlog: Columns) -> None:
    for user in (10, 9, 100, 1):
        write_history(tmp_path, user, revlog)
    (tmp_path / "revlogs" / "user_id=abc").mkdir()
    (tmp_path / "revlogs" / "README.md").write_text("")
    assert list_users(tmp_path) == [1, 9, 10, 100]


def test_an_unknown_user_is_refused(tmp_path: Path, revlog: Columns) -> None:
    write_history(tmp_path, 1, revlog)
    with pytest.raises(HistoryError, match="no revlog"):
        read_history(tmp_path, 2)


def test_a_user_folder_without_files_is_refused(tmp_path: Path) -> None:
    revlog_file(tmp_path).parent.mkdir(parents=True)
    with pytest.raises(HistoryError, match="no revlog"):
        read_history(tmp_path, USER)


def test_files_are_joined_in_the_order_of_their_names(tmp_path: Path, revlog: Columns) -> None:
    """Not in the order in which they were written."""
    expected = read_written(tmp_path / "whole", revlog)
    parts = {"part-2.parquet": slice(25, None), "part-0.parquet": slice(0, 10), "part-1.parquet": slice(10, 25)}
    for name, part in parts.items():
        path = revlog_file(tmp_path / "parts", name)
        write_parquet(path, {key: np.asarray(column)[part] for key, column in revlog.items()})
    (revlog_file(tmp_path / "parts").parent / "notes.txt").write_text("not a parquet file")
    table = read_history(tmp_path / "parts", USER)
    for name in ("review_th", "card", "rating", "duration_ms", "day_offset", "elapsed_s"):
        np.testing.assert_array_equal(getattr(table, name), getattr(expected, name))


def test_files_of_one_user_may_differ_in_types(tmp_path: Path, revlog: Columns) -> None:
    expected = read_written(tmp_path / "whole", revlog)
    for index, dtype in enumerate((np.int64, np.int32, np.float64, np.uint64)):
        part = {name: np.asarray(column)[10 * index :][:10] for name, column in revlog.items()}
        part["card_id"] = part["card_id"].astype(dtype)
        write_parquet(revlog_file(tmp_path / "parts", f"{index}.parquet"), part)
    np.testing.assert_array_equal(read_history(tmp_path / "parts", USER).card, expected.card)


def test_files_of_one_user_whose_types_do_not_fit_are_refused(tmp_path: Path, revlog: Columns) -> None:
    text = {**revlog, "rating": ["good"] * REVIEWS}
    write_parquet(revlog_file(tmp_path, "more.parquet"), text)
    assert_refused(tmp_path, revlog, "rating")


# --- Columns


@pytest.mark.parametrize("name", REVLOG_COLUMNS)
def test_a_missing_column_is_named(tmp_path: Path, revlog: Columns, name: str) -> None:
    assert_refused(tmp_path, {key: column for key, column in revlog.items() if key != name}, name, "data.parquet")


@pytest.mark.parametrize(("kind", "name"), [("cards", "note_id"), ("cards", "card_id"), ("decks", "preset_id")])
def test_a_missing_column_of_cards_or_decks_is_named(tmp_path: Path, revlog: Columns, kind: str, name: str) -> None:
    tables: dict[str, Columns] = {"cards": cards_of(revlog), "decks": DECKS}
    tables[kind] = {key: column for key, column in tables[kind].items() if key != name}
    assert_refused(tmp_path, revlog, name, kind, **tables)


def test_further_columns_are_ignored(tmp_path: Path, revlog: Columns) -> None:
    table = read_written(tmp_path, {"user_id": [USER] * REVIEWS, "note": ["x"] * REVIEWS, **revlog})
    assert len(table) == REVIEWS


@pytest.mark.parametrize("name", REVLOG_COLUMNS)
def test_nan_is_refused_and_named(tmp_path: Path, revlog: Columns, name: str) -> None:
    assert_refused(tmp_path, with_value(revlog, name, 11, np.nan), name, "row 12")


@pytest.mark.parametrize("name", REVLOG_COLUMNS)
def test_null_is_refused_and_named(tmp_path: Path, revlog: Columns, name: str) -> None:
    values = np.asarray(revlog[name]).tolist()
    values[5] = None
    assert_refused(tmp_path, {**revlog, name: pa.array(values, pa.int64())}, name, "row 6")


@pytest.mark.parametrize("value", [2.5, np.inf, -np.inf, 1e300])
def test_values_that_are_no_integers_are_refused(tmp_path: Path, revlog: Columns, value: float) -> None:
    assert_refused(tmp_path, with_value(revlog, "duration", 3, value), "duration")


def test_integers_beyond_int64_are_refused(tmp_path: Path, revlog: Columns) -> None:
    assert_refused(tmp_path, {**revlog, "duration": np.full(REVIEWS, 2**63, np.uint64)}, "duration")


@pytest.mark.parametrize("values", [["3"] * REVIEWS, [True] * REVIEWS, [[3]] * REVIEWS])
def test_columns_of_another_kind_are_refused(tmp_path: Path, revlog: Columns, values: list[object]) -> None:
    assert_refused(tmp_path, {**revlog, "rating": values}, "rating")


def test_a_column_that_occurs_twice_is_refused(tmp_path: Path, revlog: Columns) -> None:
    table = pa.table(dict(revlog))
    assert_refused(tmp_path, table.append_column("card_id", pa.array([1] * REVIEWS)), "data.parquet")


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8, np.int16, np.int32, np.uint8, np.uint64])
def test_any_number_type_with_integer_values_is_accepted(tmp_path: Path, dtype: type[np.generic]) -> None:
    """All columns as that type, with values that fit into the narrowest."""
    seconds = np.array([0, 0, 10, 30, 100])
    plain = revlog_columns([1, 2, 1, 1, 2], seconds, [1, 2, 3, 4, 3], [0, 1, 50, 99, 100])
    unsigned = np.issubdtype(dtype, np.unsignedinteger)
    if unsigned:
        plain["elapsed_days"], plain["elapsed_seconds"] = np.zeros(5, np.int64), np.arange(5)
    expected = read_written(tmp_path / "plain", plain)
    table = read_written(tmp_path / "typed", {name: np.asarray(column).astype(dtype) for name, column in plain.items()})
    for name in ("review_th", "card", "rating", "state", "duration_ms", "day_offset", "elapsed_days", "elapsed_s"):
        ours, theirs = getattr(table, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


@pytest.mark.parametrize(
    ("name", "value"),
    [("state", 128), ("state", -129), ("day_offset", 2**31), ("elapsed_days", 2**31)],
)
def test_values_out_of_range_are_refused(tmp_path: Path, revlog: Columns, name: str, value: int) -> None:
    assert_refused(tmp_path, with_value(revlog, name, REVIEWS - 1, value), name)


# --- Reviews


def test_other_ratings_are_dropped_reported_and_leave_gaps(tmp_path: Path) -> None:
    columns = revlog_columns([1, 2, 1, 2, 1, 2], np.arange(6) * 90_000, [3, 0, 1, 5, -1, 4])
    table = read_written(tmp_path, columns)
    assert table.review_th.tolist() == [1, 3, 6]
    assert table.rating.tolist() == [3, 1, 4]
    assert table.elapsed_s.tolist() == [-1, 180_000, 180_000]
    assert table.card.tolist() == [0, 0, 1]
    assert len(table.cards.note) == 2
    assert [notice for notice in table.notices if "3 reviews" in notice and "1..4" in notice]


def test_a_card_seen_only_in_dropped_rows_is_no_card(tmp_path: Path) -> None:
    table = read_written(tmp_path, revlog_columns([9, 5, 6], [0, 1, 2], [0, 3, 3]))
    assert table.card.tolist() == [0, 1]
    assert len(table.cards.note) == 2


@pytest.mark.parametrize("rating", [0, 5, -3, 2**40])
def test_a_history_without_usable_ratings_is_refused(tmp_path: Path, revlog: Columns, rating: int) -> None:
    assert_refused(tmp_path, {**revlog, "rating": np.full(REVIEWS, rating)}, "1 to 4")


def test_a_history_without_rows_is_refused(tmp_path: Path, revlog: Columns) -> None:
    assert_refused(tmp_path, pa.table(dict(revlog)).slice(0, 0))


def test_decreasing_days_are_refused_with_their_row(tmp_path: Path, revlog: Columns) -> None:
    columns = with_value(revlog, "day_offset", 0, 10_000)
    assert_refused(tmp_path, columns, "day_offset", "row 2")


def test_days_may_be_negative_and_begin_anywhere(tmp_path: Path, revlog: Columns) -> None:
    table = read_written(tmp_path, {**revlog, "day_offset": np.asarray(revlog["day_offset"]) - 500})
    assert table.day_offset[0] == np.asarray(revlog["day_offset"])[0] - 500


@pytest.mark.parametrize("name", ["elapsed_days", "elapsed_seconds"])
def test_elapsed_below_minus_one_is_taken_as_zero_and_reported(tmp_path: Path, revlog: Columns, name: str) -> None:
    columns = with_value(with_value(revlog, name, 4, -2), name, 9, -(2**40))
    table = read_written(tmp_path, columns)
    values = table.elapsed_days if name == "elapsed_days" else table.elapsed_s
    expected = np.asarray(revlog[name]).copy()
    expected[[4, 9]] = 0
    assert values.tolist() == expected.tolist()
    assert [notice for notice in table.notices if name in notice and notice.startswith("2 ")]


# --- Damaged files


@pytest.mark.parametrize("kind", ["revlogs", "cards", "decks"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files_are_refused_and_named(tmp_path: Path, revlog: Columns, kind: str, kept: float) -> None:
    write_history(tmp_path, USER, revlog, cards_of(revlog), DECKS)
    path = tmp_path / kind / f"user_id={USER}" / "data.parquet"
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(HistoryError, match="cannot be read") as caught:
        read_history(tmp_path, USER)
    assert str(path) in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = revlog_file(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text("card_id,rating\n1,3\n")
    with pytest.raises(HistoryError, match="cannot be read"):
        read_history(tmp_path, USER)


def test_damaged_files_never_end_in_another_error(tmp_path: Path, revlog: Columns) -> None:
    """Flipped bytes: either the history is refused or the damage cannot be seen."""
    write_history(tmp_path, USER, revlog)
    path = revlog_file(tmp_path)
    data = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    refusals = 0
    for _ in range(300):
        damaged = data.copy()
        damaged[rng.integers(0, len(data), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            read_history(tmp_path, USER)
        except HistoryError:
            refusals += 1
    assert refusals > 100
