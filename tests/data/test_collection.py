"""The folder of an imported collection: written and read, with its days and the ends of its reviews."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rwkv.data.collection import (
    CardList,
    Collection,
    CollectionInfo,
    day_of,
    list_collections,
    read_collection,
    review_times,
    write_collection,
)
from rwkv.data.revlogs import write_tables
from rwkv.errors import HistoryError, InputError
from tests.helpers import random_revlog, write_history

INFO = CollectionInfo(
    source="Ada's cards.colpkg",
    sha256="0" * 64,
    kind="colpkg",
    name="Ada's cards",
    day_start_s=1_700_013_600,  # 15 November 2023, 04:00 in UTC+02:00
    rollover_hour=4,
    timezone="UTC+02:00",
    elapsed="published",
    grades="as recorded",
    has_fsrs=True,
    fsrs_params={"Default": [0.2, 1.5]},
    counts={"reviews": 3},
    imported_at="2026-01-02T03:04:05+00:00",
)
CARDS = CardList(
    card_id=np.array([1_500_000_000_000, 1_500_000_000_001]),
    note_id=np.array([1_400_000_000_000, 1_400_000_000_000]),
    deck_id=np.array([1, 2]),
    note=np.array(["der Käse", ""], object),
    deck=np.array(["Deutsch::Essen", "Default"], object),
    preset=np.array(["Default", "Hard ones"], object),
    due_day=np.array([-3, np.nan]),
    interval_days=np.array([12, 0]),
    is_new=np.array([False, True]),
    is_suspended=np.array([True, False]),
    desired_retention=np.array([0.9, 0.85]),
    tags=np.array([" essen käse::hart ", ""], object),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for user in (10, 2, 3):
        write_collection(tmp_path, Collection(user, INFO, CARDS))
    for user in (10, 2):  # the import of 3 was killed
        write_history(tmp_path, user, random_revlog(1, 20, 2))
    assert list_collections(tmp_path) == [2, 10]
    read = read_collection(tmp_path, 10)
    assert (read.user, read.info) == (10, INFO)
    for field in dataclasses.fields(CardList):
        ours, expected = getattr(read.cards, field.name), getattr(CARDS, field.name)
        assert ours.dtype == expected.dtype, field.name
        np.testing.assert_array_equal(ours, expected, err_msg=field.name)


def test_a_collection_without_cards(tmp_path: Path) -> None:
    """All of them were deleted; their reviews may still be there."""
    none = CardList(**{field.name: getattr(CARDS, field.name)[:0] for field in dataclasses.fields(CardList)})
    write_collection(tmp_path, Collection(1, INFO, none))
    assert len(read_collection(tmp_path, 1).cards) == 0


def test_a_plain_dataset_has_no_collections(tmp_path: Path) -> None:
    assert list_collections(tmp_path) == []
    with pytest.raises(HistoryError, match="has no collection"):
        read_collection(tmp_path, 1)


def test_other_versions_and_damage_are_refused(tmp_path: Path) -> None:
    write_collection(tmp_path, Collection(1, INFO, CARDS))
    path = tmp_path / "collection" / "user_id=1" / "info.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps(stated | {"format_version": 99}))
    with pytest.raises(InputError, match="another version"):
        read_collection(tmp_path, 1)
    for damaged in ("{", json.dumps({"format_version": 1}), json.dumps([1]), "[" * 100_000, "\udcff"):
        path.write_text(damaged, errors="surrogateescape")
        with pytest.raises(HistoryError, match="cannot be read"):
            read_collection(tmp_path, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source", None),
        ("name", ["Ada"]),
        ("day_start_s", "yesterday"),
        ("day_start_s", 1.5),
        ("day_start_s", True),
        ("day_start_s", 10**30),
        ("last_review_s", -(10**13)),
        ("rollover_hour", "4"),
        ("rollover_hour", 24),
        ("timezone", "Middle/Earth"),
        ("timezone", 2),
        ("has_fsrs", "yes"),
        ("fsrs_params", {"Default": 0.2}),
        ("fsrs_params", {"Default": ["0.2"]}),
        ("counts", [3]),
        ("counts", {"reviews": "3"}),
    ],
)
def test_facts_of_another_kind_are_refused(tmp_path: Path, name: str, value: object) -> None:
    write_collection(tmp_path, Collection(1, INFO, CARDS))
    path = tmp_path / "collection" / "user_id=1" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(HistoryError, match="cannot be read") as caught:
        read_collection(tmp_path, 1)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("card_id", ["a", "b"]),
        ("card_id", [2, 1]),
        ("card_id", [1, 1]),
        ("note", [1, 2]),
        ("deck", [None, "A"]),
        ("deck", [b"\xff", b"A"]),
        ("tags", [["a"], ["b"]]),
        ("due_day", ["today", "tomorrow"]),
        ("due_day", [np.inf, 1.0]),
        ("interval_days", [1.5, 2.0]),
        ("is_new", [2, 3]),
        ("is_suspended", [None, True]),
        ("desired_retention", [95.0, 0.9]),
        ("desired_retention", [1.0, 0.9]),
        ("desired_retention", [np.nan, 0.9]),
        ("desired_retention", ["0.9", "0.9"]),
    ],
)
def test_columns_of_another_kind_are_refused(tmp_path: Path, name: str, values: list[object]) -> None:
    write_collection(tmp_path, Collection(1, INFO, CARDS))
    path = tmp_path / "collection" / "user_id=1" / "cards.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(name), name, pa.array(values)), path)
    with pytest.raises(HistoryError) as caught:
        read_collection(tmp_path, 1)
    assert str(path) in str(caught.value)
    assert name in str(caught.value)


def test_days_begin_at_the_rollover_hour() -> None:
    assert [day_of(INFO, INFO.day_start_s + seconds) for seconds in (-1, 0, 86_399, 86_400)] == [-1, 0, 0, 1]


def test_when_reviews_ended(tmp_path: Path) -> None:
    revlog = {"card_id": np.array([5, 9, 5, -1]), "review_time": np.array([10, 20, 30, 40])}
    write_tables(tmp_path, 1, revlog, {"card_id": np.array([5])}, {"deck_id": np.array([1])})
    assert review_times(tmp_path, 1).tolist() == [10, 20, 30, 40]
    with pytest.raises(HistoryError, match="no revlog"):
        review_times(tmp_path, 2)
    revlog["review_time"][3] = 2**62
    write_tables(tmp_path, 3, revlog, {"card_id": np.array([5])}, {"deck_id": np.array([1])})
    with pytest.raises(HistoryError, match="out of range"):
        review_times(tmp_path, 3)
