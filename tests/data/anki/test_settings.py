"""Schedulers, time zones and hours at which days begin, as collections record them; the bits of protobuf they need."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rwkv.data.anki.archive import opened
from rwkv.data.anki.database import plain_text
from rwkv.data.anki.protobuf import fields, float_list
from rwkv.data.anki.read import read_anki
from rwkv.data.days import DayClock, name_of_offset
from rwkv.data.imported import ImportChoices, ImportedUser
from rwkv.errors import InputError
from tests.data.anki.clients import Learner
from tests.data.anki.small import CONFIG, CREATED_S, write_archive, write_collection_file

REVIEWS = [(CREATED_S * 1000 + 3_600_000, 11, 3, 0)]


def imported(path: Path, choices: ImportChoices | None = None, by_anki: bool = False) -> ImportedUser:
    with opened(path) as source:
        return read_anki(source, choices or ImportChoices(), by_anki)


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


@pytest.mark.parametrize("by_anki", [False, True], ids=["tables", "anki"])
def test_the_old_schedulers_ratings_become_what_anki_makes_of_them(tmp_path: Path, by_anki: bool) -> None:
    """A collection as the old scheduler left it: there was no Hard while learning, and Good had number 2."""
    learner = Learner(tmp_path / "collection.anki2")
    deck = learner.add_notes("Default", [f"word {number}" for number in range(6)])
    for _ in range(4):
        learner.study(deck, [3, 1, 3, 4])
        learner.pass_time(1)
    today = [row[0] for row in learner.collection.db.all("SELECT ease FROM revlog ORDER BY id")]
    path = learner.close()
    execute(
        path,
        "UPDATE revlog SET ease = ease - 1 WHERE ease > 2 AND type IN (0, 2)",
        "UPDATE config SET val = X'31' WHERE key = 'schedVer'",
    )
    mapped = imported(path, by_anki=by_anki)
    assert mapped.grades == "old scheduler, mapped"
    assert mapped.counts["mapped_ratings"] > 5
    assert mapped.reviews.rating.tolist() == today
    raw = imported(path, ImportChoices(grades="raw"), by_anki)
    assert (raw.grades, raw.counts["mapped_ratings"]) == ("as recorded", 0)
    assert np.any(raw.reviews.rating != mapped.reviews.rating)

    learner = Learner(path)
    learner.collection.upgrade_to_v2_scheduler()
    upgraded = [row[0] for row in learner.collection.db.all("SELECT ease FROM revlog ORDER BY id")]
    learner.close()
    assert upgraded == today
    assert imported(path, by_anki=by_anki).grades == "as recorded"


@pytest.mark.parametrize(
    ("config", "clock"),
    [
        (CONFIG, ("UTC+00:00", 4)),
        (CONFIG | {"localOffset": -330, "rollover": 0}, ("UTC+05:30", 0)),
        (CONFIG | {"localOffset": 210, "rollover": 23}, ("UTC-03:30", 23)),
        # Anki records an offset only where it is not UTC, whatever it was when the collection was made.
        ({"schedVer": 2, "rollover": 4, "creationOffset": -60}, ("UTC+00:00", 4)),
        ({"schedVer": 2, "creationOffset": 0}, ("UTC+00:00", 4)),
        # The old scheduler's days begin at the hour of the collection's creation, 4:00 UTC here.
        ({"localOffset": -120}, ("UTC+02:00", 6)),
    ],
)
def test_clocks(tmp_path: Path, config: Mapping[str, Any], clock: tuple[str, int]) -> None:
    user = imported(write_collection_file(tmp_path / "a.anki2", REVIEWS, config))
    assert (user.clock, user.notices) == (DayClock(*clock), ())


def test_a_shared_deck_says_where_it_was_exported(tmp_path: Path) -> None:
    config = {"schedVer": 2, "creationOffset": -120}
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS, config)
    shared = write_archive(tmp_path / "a.apkg", {"collection.anki21": path.read_bytes()})
    assert imported(shared).clock == DayClock("UTC+02:00", 4)


def test_without_a_time_zone_that_of_this_computer_is_taken_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rwkv.data.anki.read._offset_here", lambda: -3 * 3600)
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS, {"schedVer": 2, "rollover": 5})
    user = imported(path)
    assert user.clock == DayClock("UTC-03:00", 5)
    assert "UTC-03:00" in user.notices[0]
    assert imported(path, ImportChoices(timezone="UTC")).notices == ()


def test_what_is_chosen_wins(tmp_path: Path) -> None:
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS)
    user = imported(path, ImportChoices(timezone="Europe/Berlin", rollover_hour=0))
    assert user.clock == DayClock("Europe/Berlin", 0)
    with pytest.raises(InputError, match="no such time zone"):
        imported(path, ImportChoices(timezone="Middle/Earth"))
    with pytest.raises(InputError, match="no such hour"):
        imported(path, ImportChoices(rollover_hour=24))


@pytest.mark.parametrize("offset_s", [0, 7200, -34_200, 45_900])
def test_days_are_those_of_ankis_fsrs(tmp_path: Path, offset_s: int) -> None:
    """Elapsed days count borders of 24 hours back from the next day, in the collection's zone all year."""
    rng = np.random.default_rng(offset_s % 97)
    gaps_s = rng.choice([40, 4000, 40_000, 90_000, 300_000], 200) + rng.integers(0, 40, 200)
    seconds = CREATED_S + 100_000 + np.cumsum(gaps_s)
    reviews = [(int(second) * 1000, 11, 3, int(number > 0)) for number, second in enumerate(seconds)]
    config = CONFIG | {"localOffset": -offset_s // 60, "rollover": 3}
    user = imported(write_collection_file(tmp_path / "a.anki2", reviews, config))
    assert user.clock.timezone == name_of_offset(offset_s)
    next_day_s = (seconds[-1] + offset_s - 3 * 3600) // 86_400 * 86_400 + 86_400 - offset_s + 3 * 3600
    at_border = (next_day_s - seconds) % 86_400 == 0
    assert not at_border.any()
    days_ago = (next_day_s - seconds) // 86_400
    np.testing.assert_array_equal(np.diff(user.clock.days(seconds)), -np.diff(days_ago))


def test_protobuf() -> None:
    message = (
        b"\x08\x96\x01" + b"\x12\x03abc" + b"\x08\x01" + b"\x1d\x00\x00\x80?" + b"\x1a\x04fff?" + b"\x21" + bytes(8)
    )
    found = fields(message, "here")
    assert found == {1: [150, 1], 2: [b"abc"], 3: [b"\x00\x00\x80?", b"fff?"], 4: [bytes(8)]}
    assert float_list(found, 3) == [1.0, 0.9]
    assert float_list(found, 9) == []
    for damaged in (b"\x08", b"\x08\xff", b"\x12\x05abc", b"\x0b", b"\x1d\x00", b"\xff" * 11):
        with pytest.raises(InputError, match="damaged"):
            fields(damaged, "here")


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("<div>der&nbsp;K&auml;se</div><br>", "der Käse"),
        ("a<br>b\n\t c", "a b c"),
        ("<style>.a { color: red }</style>x<!-- y -->", "x"),
        ("{{c1::Paris::city}} is in {{c2::France}}", "Paris is in France"),
        ("[sound:a b.mp3]<img src='x.png'>", ""),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("&lt;b&gt; is bold", "<b> is bold"),
        ("<b " + "x" * 5000, ""),
        ("x" * 81, "x" * 79 + "…"),
        ("x" * 80, "x" * 80),
    ],
)
def test_plain_text(field: str, text: str) -> None:
    assert plain_text(field) == text
