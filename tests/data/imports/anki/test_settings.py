"""Schedulers, time zones and rollover hours as collections record them, and the protobuf that they need."""

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from anki.collection import Collection

from rwkv.data.days import DayClock, name_of_offset
from rwkv.data.imports.anki.archive import opened
from rwkv.data.imports.anki.protobuf import fields, float_list
from rwkv.data.imports.anki.read import read_anki
from rwkv.data.imports.imported import ImportChoices, ImportedUser
from rwkv.errors import InputError
from tests.data.imports.anki.clients import Learner
from tests.data.imports.anki.small import CONFIG, CREATED_S, write_archive, write_collection_file

REVIEWS = [(CREATED_S * 1000 + 3_600_000, 11, 3, 0)]


def imported(path: Path, choices: ImportChoices | None = None, by_anki: bool = False) -> ImportedUser:
    with opened(path) as source:
        return read_anki(source, choices or ImportChoices(), by_anki)


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


@pytest.mark.parametrize("by_anki", [False, True], ids=["tables", "anki"])
def test_the_old_schedulers_ratings_are_mapped_as_in_anki(tmp_path: Path, by_anki: bool) -> None:
    """A collection as the old scheduler left it: there was no Hard while learning, and Good had number 2."""
    learner = Learner(tmp_path / "collection.anki2")
    deck = learner.add_notes("Default", [f"word {number}" for number in range(6)])
    for _ in range(4):
        learner.study(deck, [3, 1, 3, 4])
        learner.pass_time(1)
    today = [row[0] for row in learner.database.all("SELECT ease FROM revlog ORDER BY id")]
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
    upgraded = [row[0] for row in learner.database.all("SELECT ease FROM revlog ORDER BY id")]
    learner.close()
    assert upgraded == today
    assert imported(path, by_anki=by_anki).grades == "as recorded"


@pytest.mark.parametrize(
    ("config", "clock"),
    [
        (CONFIG, ("UTC+00:00", 4)),
        (CONFIG | {"localOffset": -330, "rollover": 0}, ("UTC+05:30", 0)),
        (CONFIG | {"localOffset": 210, "rollover": 23}, ("UTC-03:30", 23)),
        ({"schedVer": 2, "creationOffset": 0}, ("UTC+00:00", 4)),
    ],
)
def test_clocks(tmp_path: Path, config: Mapping[str, Any], clock: tuple[str, int]) -> None:
    user = imported(write_collection_file(tmp_path / "a.anki2", REVIEWS, config))
    assert (user.clock, user.notices) == (DayClock(*clock), ())


def test_a_guess_is_reported(tmp_path: Path) -> None:
    """Anki records an offset only where it is not UTC; that the collection was made elsewhere makes one doubt."""
    config = {"schedVer": 2, "rollover": 4, "creationOffset": -60}
    user = imported(write_collection_file(tmp_path / "a.anki2", REVIEWS, config))
    assert user.clock == DayClock("UTC+00:00", 4)
    assert "UTC is a guess" in user.notices[0]
    assert "UTC+01:00" in user.notices[0]


@pytest.mark.parametrize(
    ("created_s", "offset_s", "clock"),
    [
        # The old scheduler's days begin at the hour of the collection's creation: 4:00 and 6:00 here.
        (CREATED_S, 0, ("UTC+00:00", 4)),
        (CREATED_S, 7200, ("UTC+02:00", 6)),
        # Made in India, where it was 4:00, and seen from elsewhere: at half past. No zone of its own: India.
        (CREATED_S - 19_800, 3600, ("UTC+00:30", 23)),
        (CREATED_S - 19_800, None, ("UTC+05:30", 4)),
    ],
)
def test_days_of_the_old_scheduler(
    tmp_path: Path, created_s: int, offset_s: int | None, clock: tuple[str, int]
) -> None:
    config = {} if offset_s is None else {"localOffset": -offset_s // 60}
    user = imported(write_collection_file(tmp_path / "a.anki2", REVIEWS, config, created_s))
    assert user.clock == DayClock(*clock)
    # Whatever the zone is called, its days begin when the collection was created, and 24 hours later.
    assert (user.clock.day_start_s(REVIEWS[0][0] // 1000) - created_s) % 86_400 == 0
    chosen = imported(tmp_path / "a.anki2", ImportChoices(timezone="Asia/Tokyo", rollover_hour=2))
    assert chosen.clock == DayClock("Asia/Tokyo", 2)


@pytest.mark.parametrize("name", ["a.apkg", "a.apkg.1", "a.zip", "A.APKG", "a"])
def test_the_time_zone_of_a_shared_decks_export(tmp_path: Path, name: str) -> None:
    """Whatever it is called; where the name does not tell, that is told."""
    config = {"schedVer": 2, "creationOffset": -120}
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS, config)
    shared = imported(write_archive(tmp_path / name, {"collection.anki21": path.read_bytes()}))
    assert (shared.clock, shared.kind) == (DayClock("UTC+02:00", 4), "apkg")
    assert bool(shared.notices) == ("apkg" not in name.lower())


@pytest.mark.parametrize("name", ["a.colpkg", "a.colpkg.zip", "a.zip", "a"])
def test_the_time_zone_of_a_whole_collection(tmp_path: Path, name: str) -> None:
    config = {"schedVer": 2, "creationOffset": -120, "localOffset": 300}
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS, config)
    whole = imported(write_archive(tmp_path / name, {"collection.anki21": path.read_bytes()}))
    assert (whole.clock, whole.kind) == (DayClock("UTC-05:00", 4), "colpkg")


@pytest.mark.parametrize("name", ["collection.anki21", "collection.anki21b"])
def test_an_archive_that_was_unpacked(tmp_path: Path, name: str) -> None:
    """Beside the collection lies one for old versions of Anki, which only says so; no name tells what was exported."""
    config = {"schedVer": 1, "creationOffset": -120}
    content = write_collection_file(tmp_path / "a.anki2", REVIEWS, config).read_bytes()
    write_collection_file(tmp_path / "deck" / "collection.anki2", [])
    (tmp_path / "deck" / name).write_bytes(zstandard.compress(content) if name.endswith("b") else content)
    for path in (tmp_path / "deck", tmp_path / "deck" / name):
        user = imported(path)
        assert (user.clock, user.kind, user.name) == (DayClock("UTC+02:00", 4), "apkg", "deck")
        assert user.reviews.rating.tolist() == [3]  # as recorded: the form is the new scheduler's
        assert any("shared decks" in notice for notice in user.notices)


def test_without_a_time_zone_the_collection_was_created_at_four_o_clock(tmp_path: Path) -> None:
    """From Hawaii to New Zealand's summer, half and quarter hours too."""
    for quarters in (-40, -14, 0, 11, 22, 23, 31, 54, 55):
        path = tmp_path / f"{quarters}.anki2"
        user = imported(write_collection_file(path, REVIEWS, {"schedVer": 2}, CREATED_S - 900 * quarters))
        assert user.clock == DayClock(name_of_offset(900 * quarters), 4)
        assert "guessing" in user.notices[0]


def test_without_evidence_the_time_zone_is_this_computers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS, {"schedVer": 2, "rollover": 5}, CREATED_S + 123)
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "<-03>3")
        time.tzset()
        user = imported(path)
    time.tzset()
    assert user.clock == DayClock("UTC-03:00", 5)
    assert "guessing UTC-03:00, this computer's" in user.notices[0]
    assert imported(path, ImportChoices(timezone="UTC")).notices == ()


@pytest.mark.parametrize("by_anki", [False, True], ids=["tables", "anki"])
@pytest.mark.parametrize(
    ("config", "clock", "word"),
    [
        ({"rollover": 24}, ("UTC+00:00", 23), "hour 24, which Anki takes as 23"),
        ({"rollover": 255}, ("UTC+00:00", 23), "hour 255"),
        ({"rollover": 256}, ("UTC+00:00", 4), "hour 256, which is invalid and ignored"),
        ({"rollover": -1}, ("UTC+00:00", 4), "hour -1"),
        ({"rollover": 4.5}, ("UTC+00:00", 4), "hour 4.5"),
        ({"rollover": "5"}, ("UTC+00:00", 4), "hour '5'"),
        ({"rollover": True}, ("UTC+00:00", 4), "hour True"),
        ({"localOffset": 5000}, ("UTC+00:00", 4), "localOffset of 5000"),
        ({"localOffset": -1440}, ("UTC+00:00", 4), "localOffset of -1440"),
        ({"localOffset": 10**30}, ("UTC+00:00", 4), "localOffset of 1"),
        ({"localOffset": "west"}, ("UTC+00:00", 4), "localOffset of 'west'"),
        ({"localOffset": 1439}, ("UTC-23:59", 4), ""),
    ],
)
def test_settings_beyond_ankis_limits(
    tmp_path: Path, config: Mapping[str, Any], clock: tuple[str, int], word: str, by_anki: bool
) -> None:
    """As Anki takes them, which its package shows by the next day's start; and that is told."""
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS, {**CONFIG, **config})
    user = imported(path, by_anki=by_anki)
    assert user.clock == DayClock(*clock)
    assert [word in notice for notice in user.notices] == [True] * bool(word)
    if by_anki and "rollover" in config:
        collection = Collection(str(path))
        next_day_s = collection.sched.day_cutoff
        collection.close()
        assert time.localtime(next_day_s).tm_hour == clock[1]


@pytest.mark.parametrize("by_anki", [False, True], ids=["tables", "anki"])
@pytest.mark.parametrize(
    ("preset", "deck", "retention"),
    [
        (0.85, None, 0.85),
        (0.7, None, 0.7),
        (0.99, None, 0.99),
        (0.69, None, 0.9),
        (0.995, None, 0.9),
        (1.0, None, 0.9),
        (95, None, 0.9),
        (-1, None, 0.9),
        (0, None, 0.9),
        (0.8, 95, 0.95),
        (0.8, 55, 0.55),
        (0.8, 100, 0.8),
        (0.8, 0, 0.8),
        (0.8, 95.5, 0.8),
        (0.8, 0.95, 0.8),
        (0.8, -5, 0.8),
    ],
)
def test_desired_retention_beyond_ankis_limits(
    tmp_path: Path, preset: float, deck: float | None, retention: float, by_anki: bool
) -> None:
    """A preset's is Anki's default then, a deck's own is none; in the new tables and in the old JSON alike."""
    options = {"desiredRetention": preset}, {} if deck is None else {"desiredRetention": deck}
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS, preset=options[0], deck=options[1])
    assert imported(path, by_anki=by_anki).card_list.desired_retention.tolist() == [retention]
    Collection(str(path)).close()  # which makes the new tables of it
    assert imported(path, by_anki=by_anki).card_list.desired_retention.tolist() == [retention]


def test_chosen_settings_override_the_collections(tmp_path: Path) -> None:
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS)
    user = imported(path, ImportChoices(timezone="Europe/Berlin", rollover_hour=0))
    assert user.clock == DayClock("Europe/Berlin", 0)
    for zone in ("Middle/Earth", "UTC+24:00", "UTC+10:60"):
        with pytest.raises(InputError, match="time zone is unknown"):
            ImportChoices(timezone=zone)
    with pytest.raises(InputError, match="`rollover_hour`"):
        ImportChoices(rollover_hour=24)


@pytest.mark.parametrize("hour", [24, 256])
def test_the_notice_of_an_invalid_hour_omits_the_unused_default(tmp_path: Path, hour: int) -> None:
    """What is wrong with the recorded hour remains true if another is chosen."""
    path = write_collection_file(tmp_path / "a.anki2", REVIEWS, CONFIG | {"rollover": hour})
    user = imported(path, ImportChoices(rollover_hour=5))
    assert user.clock.rollover_hour == 5
    assert len(user.notices) == 1
    assert "using" not in user.notices[0]
    assert f"begin at hour {hour}, which" in user.notices[0]


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
    result = fields(message, "here")
    assert result == {1: [150, 1], 2: [b"abc"], 3: [b"\x00\x00\x80?", b"fff?"], 4: [bytes(8)]}
    assert float_list(result, 3) == [1.0, 0.9]
    assert float_list(result, 9) == []
    for damaged in (b"\x08", b"\x08\xff", b"\x12\x05abc", b"\x0b", b"\x1d\x00", b"\xff" * 11):
        with pytest.raises(InputError, match="damaged"):
            fields(damaged, "here")
