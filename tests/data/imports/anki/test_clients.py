"""Collections that Anki's scheduler and exporter made, imported and compared card by card with Anki's own revlog."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rwkv.data.days import DayClock
from rwkv.data.imports.anki.archive import opened
from rwkv.data.imports.anki.read import read_anki
from rwkv.data.imports.imported import ImportChoices, ImportedUser, review_columns
from tests.data.imports.anki.clients import EXPORTS, busy_learner
from tests.data.imports.anki.reference import LEARNING, Entry, history_that_counts

SECONDS_PER_DAY = 86_400
NOTES = {"der Käse", "Wort 5", "gap 1 and another", "back", "x" * 79 + "…"}


@dataclass
class Made:
    """A collection as Anki has it, and all its files."""

    files: dict[str, Path]
    entries: dict[int, list[Entry]]
    cards: list[tuple[int, ...]]
    with_memory: set[int]
    today: int
    next_day_s: int
    rollover_hour: int


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("anki")
    learner = busy_learner(folder / "User 1" / "collection.anki2")
    files = learner.export(folder / "exports")
    collection = learner.collection
    entries: dict[int, list[Entry]] = {}
    for time_ms, card, *entry in learner.database.all(
        "SELECT id, cid, ease, factor, time, type FROM revlog ORDER BY id"
    ):
        entries.setdefault(card, []).append(Entry(time_ms, *entry))
    cards = [
        tuple(row) for row in learner.database.all("SELECT id, nid, did, type, queue, due, ivl FROM cards ORDER BY id")
    ]
    with_memory = {card for card, *_ in cards if collection.compute_memory_state(card).stability is not None}
    today, next_day_s = collection.sched.today, collection.sched.day_cutoff
    rollover_hour = learner.rollover_hour
    path = learner.close()
    files |= {"collection.anki2": path, "User 1": path.parent}
    return Made(files, entries, cards, with_memory, today, next_day_s, rollover_hour)


def imported(path: Path, by_anki: bool = False, choices: ImportChoices | None = None) -> ImportedUser:
    with opened(path) as source:
        return read_anki(source, choices or ImportChoices(), by_anki)


def test_every_rule_affects_some_reviews(made: Made) -> None:
    """What the comparison below relies on: every rule meets something."""
    counts = imported(made.files["new.colpkg"]).counts
    for rule in ("manual_entries", "cram_answers", "forgotten", "without_new_start", "before_last_new_start"):
        assert counts[rule] > 0, rule
    kinds = {entry.kind for entries in made.entries.values() for entry in entries}
    assert kinds == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("by_anki", [False, True], ids=["tables", "anki"])
@pytest.mark.parametrize("name", [*EXPORTS, "collection.anki2", "User 1"])
def test_every_cards_history_matches_ankis(made: Made, name: str, by_anki: bool) -> None:
    # A shared deck does not say when its owner's days begin.
    choices = ImportChoices(rollover_hour=made.rollover_hour) if name.endswith(".apkg") else ImportChoices()
    user = imported(made.files[name], by_anki, choices)
    assert user.clock == DayClock("UTC+00:00", made.rollover_hour)
    existing = {card for card, *_ in made.cards}
    # A shared deck leaves the reviews of deleted cards behind.
    entries_of = {
        card: entries for card, entries in made.entries.items() if card in existing or not name.endswith(".apkg")
    }
    expected = {card: history for card, entries in entries_of.items() if (history := history_that_counts(entries))}
    revlog = review_columns(user.reviews, user.clock, "published")
    assert set(revlog["card_id"].tolist()) == set(expected)
    assert np.all(np.diff(revlog["review_time"]) > 0)
    for card, history in expected.items():
        ours = {name: column[revlog["card_id"] == card] for name, column in revlog.items()}
        time_ms = np.array([entry.time_ms for entry in history])
        # The day of each answer as Anki's FSRS counts it, back from the next day.
        day = -((made.next_day_s - time_ms // 1000) // SECONDS_PER_DAY)
        np.testing.assert_array_equal(ours["review_time"], time_ms)
        np.testing.assert_array_equal(ours["rating"], [entry.ease for entry in history])
        np.testing.assert_array_equal(ours["duration"], [entry.duration_ms for entry in history])
        np.testing.assert_array_equal(ours["state"], [0, *(entry.kind + 1 for entry in history[1:])])
        np.testing.assert_array_equal(ours["elapsed_days"], np.diff(day, prepend=day[0] + 1))
        np.testing.assert_array_equal(ours["elapsed_seconds"][1:], np.diff(time_ms) // 1000)
        np.testing.assert_array_equal(np.diff(ours["day_offset"]), np.diff(day))
        assert ours["elapsed_seconds"][0] == -1


def test_anki_derives_memory_from_the_same_cards(made: Made) -> None:
    """But for cards whose beginning is missing, for which it takes the old scheduler's interval and ease."""
    user = imported(made.files["collection.anki2"])
    existing = {card for card, *_ in made.cards}
    ours = set(user.reviews.card_id.tolist()) & existing
    assert ours <= made.with_memory
    for card in made.with_memory - ours:
        assert all(entry.kind != LEARNING for entry in made.entries[card])


@pytest.mark.parametrize("name", [*EXPORTS, "collection.anki2"])
def test_the_official_package_and_the_tables_agree(made: Made, name: str) -> None:
    by_tables, by_anki = imported(made.files[name], False), imported(made.files[name], True)
    assert_same(by_tables, by_anki)


def assert_same(ours: object, other: object) -> None:
    """Two dataclasses, equal in every array and every other value."""
    assert dataclasses.is_dataclass(ours)
    for field in dataclasses.fields(ours):
        one, two = getattr(ours, field.name), getattr(other, field.name)
        if isinstance(one, np.ndarray):
            assert one.dtype == two.dtype, field.name
            np.testing.assert_array_equal(one, two, err_msg=field.name)
        elif isinstance(one, dict) and all(isinstance(value, np.ndarray) for value in one.values()):
            assert one.keys() == two.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], two[name], err_msg=name)
        elif dataclasses.is_dataclass(one):
            assert_same(one, two)
        else:
            assert one == two, field.name


@pytest.mark.parametrize("name", [*EXPORTS, "collection.anki2"])
def test_names_decks_and_presets(made: Made, name: str) -> None:
    user = imported(made.files[name])
    cards = user.card_list
    assert set(cards.note) >= NOTES
    assert {"Deutsch::Essen", "Sentences", "Never studied"} == set(cards.deck)
    is_word = cards.deck == "Deutsch::Essen"
    assert set(cards.preset[is_word]) == {"Hard ones"}
    assert set(cards.preset[~is_word]) == {"Default"}
    assert set(cards.desired_retention[is_word]) == {0.85}
    assert set(cards.desired_retention[~is_word]) == {0.9}
    assert user.fsrs_params == {"Hard ones": [round(0.1 * number, 1) for number in range(21)]}
    assert user.has_fsrs == name.endswith(("colpkg", "anki2"))
    decks = {int(deck): row for row, deck in enumerate(user.decks["deck_id"])}
    deck_names = dict(zip(cards.deck_id.tolist(), cards.deck, strict=True))
    assert set(deck_names) <= set(decks)
    parent = {deck_names[deck]: int(user.decks["parent_id"][decks[deck]]) for deck in deck_names}
    assert parent["Sentences"] == 0
    assert parent["Deutsch::Essen"] in set(decks) - set(deck_names)


@pytest.mark.parametrize("name", [*EXPORTS, "collection.anki2"])
def test_cards_match_ankis(made: Made, name: str) -> None:
    choices = ImportChoices(rollover_hour=made.rollover_hour)
    user = imported(made.files[name], choices=choices)
    cards = user.card_list
    card, note, deck, kind, queue, due, interval = np.array(made.cards).T
    np.testing.assert_array_equal(cards.card_id, card)
    np.testing.assert_array_equal(cards.note_id, note)
    np.testing.assert_array_equal(cards.deck_id, deck)
    np.testing.assert_array_equal(cards.is_new, kind == 0)
    np.testing.assert_array_equal(cards.is_suspended, queue == -1)
    np.testing.assert_array_equal(cards.interval_days, interval)
    assert cards.is_suspended.sum() == 1
    np.testing.assert_array_equal(np.isnan(cards.due_day), kind == 0)
    # Days from today on, as Anki counts them, and as our days count them.
    first_day, today = user.clock.days(np.array([user.reviews.time_ms[0] // 1000, made.next_day_s - 1]))
    in_days = (kind == 2) & (due < 10**9)
    assert in_days.sum() > 5
    np.testing.assert_array_equal(cards.due_day[in_days] - (today - first_day), due[in_days] - made.today)
    soon = due > 10**9
    assert soon.sum() > 0
    np.testing.assert_array_equal(
        cards.due_day[soon & (kind != 0)], user.clock.days(due[soon & (kind != 0)]) - first_day
    )


def test_the_source_is_only_read(made: Made) -> None:
    for path in made.files.values():
        before = contents(path.parent)
        for by_anki in (False, True):
            imported(path, by_anki)
        assert contents(path.parent) == before


def contents(folder: Path) -> dict[Path, tuple[str, int]]:
    """Hash and time of every file below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}
