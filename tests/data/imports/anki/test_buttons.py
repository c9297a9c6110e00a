"""The meaning of the buttons: answers of the old scheduler, of the new one, and of people who changed between them."""

import csv
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rwkv.collection.import_collections import read_source
from rwkv.data.imports.anki.archive import opened
from rwkv.data.imports.anki.read import read_anki
from rwkv.data.imports.imported import ImportChoices, ImportedUser
from tests.data.imports.anki.small import CONFIG, CREATED_S, LongReview, write_archive, write_collection_file

DAY_MS = 86_400_000
OLD, NEW = "old", "new"
# What each scheduler records of one card: (rating as it was meant, button, kind, interval). The old one has no Hard.
SCENES = {
    OLD: ((1, 1, 0, -60), (3, 2, 0, -600), (3, 2, 0, 1), (2, 2, 1, 3), (1, 1, 1, -600), (3, 2, 2, 1), (3, 3, 1, 4)),
    NEW: (
        (1, 1, 0, -60),
        (2, 2, 0, -330),
        (3, 3, 0, -600),
        (3, 3, 0, 1),
        (1, 1, 1, -600),
        (2, 2, 2, -900),
        (3, 3, 2, 1),
    ),
}
EASY = {OLD: (4, 3, 0, 4), NEW: (4, 4, 0, 4)}


def history(schedulers: list[str]) -> tuple[list[LongReview], list[int]]:
    """(entries, their ratings as they were meant), with a scheduler a day and five cards."""
    reviews: list[LongReview] = []
    meant = []
    for day, scheduler in enumerate(schedulers):
        for card in range(5):
            scene = (EASY[scheduler],) if card == 4 else SCENES[scheduler]
            for place, (rating, button, kind, interval) in enumerate(scene):
                time_ms = CREATED_S * 1000 + day * DAY_MS + card * 600_000 + place * 60_000
                reviews.append((time_ms, 100 * day + card + 1, button, kind, interval))
                meant.append(rating)
    return reviews, meant


def imported(path: Path, grades: str = "auto") -> ImportedUser:
    with opened(path) as source:
        return read_anki(source, ImportChoices(grades=grades), by_anki=False)


def written(path: Path, reviews: list[LongReview], config: Mapping[str, Any] | None = None) -> Path:
    return write_collection_file(path, reviews, {**CONFIG, "schedVer": 1, **(config or {})})


@pytest.mark.parametrize("named", [1, None, 3, "x"])
@pytest.mark.parametrize(
    ("schedulers", "grades"),
    [
        ([OLD] * 6, "old scheduler, mapped"),
        ([NEW] * 6, "as recorded"),
        ([OLD] * 3 + [NEW] * 4, "old scheduler, mapped in part"),
        ([NEW] * 4 + [OLD] * 3, "old scheduler, mapped in part"),
        ([OLD] * 2 + [NEW] * 2 + [OLD] * 2 + [NEW] * 2, "old scheduler, mapped in part"),
        ([NEW] * 2 + [OLD] * 3 + [NEW] * 2, "old scheduler, mapped in part"),
    ],
)
def test_every_rating_is_mapped_to_its_meaning(
    tmp_path: Path, schedulers: list[str], grades: str, named: object
) -> None:
    reviews, meant = history(schedulers)
    user = imported(written(tmp_path / "a.anki2", reviews, {"schedVer": named}))
    assert user.reviews.rating.tolist() == meant
    assert user.grades == grades
    reason = user.notices[-1]
    assert "old scheduler" in reason
    assert "`grades`" in reason


@pytest.mark.parametrize(
    ("schedulers", "hour"), [([NEW, NEW, OLD, OLD], 4), ([OLD, OLD, NEW, NEW], 4), ([NEW, OLD], 9)]
)
def test_days_are_those_of_the_scheduler_in_use_last(tmp_path: Path, schedulers: list[str], hour: int) -> None:
    """The old one's begin at the hour of the collection's creation, unless Anki recorded another."""
    reviews, _ = history(schedulers)
    moved = hour - 4 if schedulers[-1] == OLD else 3
    config = {"schedVer": 1, "localOffset": 0}
    path = write_collection_file(tmp_path / "a.anki2", reviews, config, created_s=CREATED_S + 3600 * moved)
    assert imported(path).clock.rollover_hour == hour


def test_the_decision_and_its_evidence_are_reported(tmp_path: Path) -> None:
    reviews, _ = history([OLD] * 3 + [NEW] * 4)
    reason = imported(written(tmp_path / "a.anki2", reviews)).notices[-1]
    # 3 days of four cards with two such answers; 4 days of four cards with one step left, and of an Easy.
    # While learning four cards have 4 answers on a day of the old one, 6 on one of the new one, and a fifth has one.
    assert "from 2020-09-14 to 2020-09-16, where a 2 ended the learning 24 times" in reason
    assert "20 of 151 learning answers must be from the new one" in reason


def test_the_chosen_mapping_overrides_the_evidence(tmp_path: Path) -> None:
    reviews, _ = history([OLD] * 3 + [NEW] * 3)
    path = written(tmp_path / "a.anki2", reviews)
    buttons = np.array([review[2] for review in reviews])
    kinds = np.array([review[3] for review in reviews])
    raw, old = imported(path, "raw"), imported(path, "old")
    assert raw.reviews.rating.tolist() == buttons.tolist()
    is_mapped = np.isin(kinds, (0, 2)) & np.isin(buttons, (2, 3))
    assert old.reviews.rating.tolist() == np.where(is_mapped, buttons + 1, buttons).tolist()
    assert (raw.grades, old.grades) == ("as recorded", "old scheduler, mapped")
    assert [user.notices for user in (raw, old)] == [(), ()]
    # Anki maps all answers when a collection changes, so that one of the new scheduler is believed.
    assert imported(written(tmp_path / "b.anki2", reviews, {"schedVer": 2})).grades == "as recorded"
    assert imported(tmp_path / "b.anki2", "old").grades == "old scheduler, mapped"


@pytest.mark.parametrize(("member", "mapped"), [("collection.anki2", True), ("collection.anki21", False)])
def test_the_form_of_a_shared_deck_is_evidence(tmp_path: Path, member: str, mapped: bool) -> None:
    """Where its few answers tell nothing: all first steps are Good, and the last one is 3."""
    reviews = [(CREATED_S * 1000 + DAY_MS * day, day + 1, 3, 0, 1) for day in range(4)]
    content = written(tmp_path / "a.anki2", reviews).read_bytes()
    user = imported(write_archive(tmp_path / "a.apkg", {member: content}))
    assert user.reviews.rating.tolist() == [4 if mapped else 3] * 4
    assert ("collection.anki21" in user.notices[-1]) == (not mapped)


@pytest.mark.parametrize("scheduler", [OLD, NEW])
def test_a_table_without_settings_is_decided_by_its_answers(tmp_path: Path, scheduler: str) -> None:
    reviews, meant = history([scheduler] * 3)
    lines = [
        f"{time_ms},{card},0,{button},{interval},1,{2500 * (kind > 0)},5000,{kind}"
        for time_ms, card, button, kind, interval in reviews
    ]
    path = tmp_path / "revlog.csv"
    path.write_text("\n".join(["id,cid,usn,ease,ivl,lastIvl,factor,time,type", *lines]) + "\n")
    user = read_source(path, ImportChoices())
    assert user.reviews.rating.tolist() == meant
    assert len([notice for notice in user.notices if "`grades`" in notice]) == 1


@pytest.mark.parametrize("named", [1, 2, None])
def test_tables_with_settings_are_judged_as_the_collection(tmp_path: Path, named: int | None) -> None:
    """Where the answers tell nothing: all first steps are 3."""
    reviews = [(CREATED_S * 1000 + DAY_MS * day, day + 1, 3, 0, 1) for day in range(4)]
    path = written(tmp_path / "a.anki2", reviews, {"schedVer": named})
    folder = tmp_path / "tables"
    folder.mkdir()
    with closing(sqlite3.connect(path)) as database:
        for table in ("revlog", "cards", "notes", "col"):
            rows = database.execute(f"SELECT * FROM {table}")
            with (folder / f"{table}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([[column[0] for column in rows.description], *rows])
    collection, tables = imported(path), read_source(folder, ImportChoices())
    assert tables.reviews.rating.tolist() == collection.reviews.rating.tolist()
    assert (tables.grades, tables.clock) == (collection.grades, collection.clock)


def test_answers_are_stronger_than_the_form_of_a_shared_deck(tmp_path: Path) -> None:
    reviews, meant = history([OLD] * 3)
    content = written(tmp_path / "a.anki2", reviews).read_bytes()
    assert imported(write_archive(tmp_path / "a.apkg", {"collection.anki21": content})).reviews.rating.tolist() == meant


def test_hard_that_sometimes_ends_learning_does_not_change_the_scheduler(tmp_path: Path) -> None:
    """As with steps of days: one such Hard on each day, and ever more answers of 3 than of 2."""
    reviews, meant = history([NEW] * 8)
    for day in range(8):
        reviews.append((CREATED_S * 1000 + day * DAY_MS + 50_000_000, 100 * day + 1, 2, 2, 1))
    order = np.argsort([review[0] for review in reviews])
    user = imported(written(tmp_path / "a.anki2", [reviews[place] for place in order]))
    assert user.grades == "as recorded"
    assert user.counts["mapped_ratings"] == 0
    assert sorted(user.reviews.rating.tolist()) == sorted([*meant, *[2] * 8])


def test_answers_of_one_sitting_do_not_change_the_scheduler(tmp_path: Path) -> None:
    """Several such Hards in a row, as of somebody who finds steps of days hard, and nothing else on that day."""
    reviews, meant = history([NEW] * 8)
    day_ms = CREATED_S * 1000 + 4 * DAY_MS
    inserted = [(day_ms + 50_000_000 + 1000 * card, 400 + card, 2, 2, 1) for card in range(1, 5)]
    # The proofs around them are of the same day.
    inserted.append((day_ms + 50_100_000, 401, 3, 2, -600))
    every = sorted([*reviews, *inserted])
    user = imported(written(tmp_path / "a.anki2", every))
    assert user.counts["mapped_ratings"] == 0
    assert len(user.reviews.rating) == len(meant) + len(inserted)


def test_entries_of_the_far_future_do_not_matter(tmp_path: Path) -> None:
    """An entry of the far future is dropped, not read as a date."""
    reviews, meant = history([NEW] * 2 + [OLD] * 2)
    user = imported(written(tmp_path / "a.anki2", [*reviews, (2**62, 301, 2, 0, 1)]))
    assert user.reviews.rating.tolist() == meant
    assert user.grades == "old scheduler, mapped in part"
