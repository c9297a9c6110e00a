"""Collections made by Anki itself: its scheduler answers, its exporter writes. Days pass by moving the past back."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Literal

import pytest

pytest.importorskip("anki")  # only where the extra [anki] is not installed; it is part of [dev]

from anki.collection import Collection, ExportAnkiPackageOptions
from anki.dbproxy import DBProxy
from anki.decks import DeckId, FilteredDeckConfig

SECONDS_PER_DAY = 86_400

Rating = Literal[1, 2, 3, 4]

# How each kind of export is called in these tests.
EXPORTS = ("new.colpkg", "old.colpkg", "new.apkg", "old.apkg")


class Learner:
    """Somebody at work in one collection, closed with `close`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.collection = Collection(str(path))
        # Half a day away, so that no session of these tests ever lies at the border of two days.
        self.rollover_hour = (datetime.now(UTC).hour + 12) % 24
        self.collection.set_config("rollover", self.rollover_hour)
        self.reopen()

    @property
    def database(self) -> DBProxy:
        """Anki's tables."""
        database = self.collection.db
        assert database is not None
        return database

    def close(self) -> Path:
        self.collection.close()
        return self.path

    def add_notes(self, deck: str, fields: Sequence[str], note_type: str = "Basic (and reversed card)") -> DeckId:
        """A note for each first field; the deck is made where it is not there."""
        deck_id = self.collection.decks.id(deck)
        assert deck_id is not None
        kind = self.collection.models.by_name(note_type)
        assert kind is not None
        for field in fields:
            note = self.collection.new_note(kind)
            note.fields[:2] = [field, "back"]
            self.collection.add_note(note, deck_id)
        return deck_id

    def set_preset(self, deck_id: DeckId, name: str, retention: float, fsrs_params: Sequence[float]) -> None:
        """A preset of its own for a deck."""
        preset = self.collection.decks.add_config(name)
        preset |= {"desiredRetention": retention, "fsrsParams6": list(fsrs_params)}
        self.collection.decks.update_config(preset)
        deck = self.collection.decks.get(deck_id)
        assert deck is not None
        self.collection.decks.set_config_id_for_deck_dict(deck, preset["id"])

    def study(self, deck_id: DeckId, ratings: Sequence[Rating], seconds: float = 3.5, most: int = 100) -> int:
        """Answer what is due in a deck, with the ratings in turn; returns how many answers were given."""
        self.collection.decks.select(deck_id)
        for count, rating in enumerate(cycle(ratings)):
            card = self.collection.sched.getCard() if count < most else None
            if card is None:
                return count
            card.timer_started = time.time() - seconds
            self.collection.sched.answerCard(card, rating)
        return 0

    def study_filtered(self, search: str, reschedule: bool, ratings: Sequence[Rating], limit: int) -> int:
        """Study what a search finds in a filtered deck of its own, which is emptied afterwards."""
        deck = self.collection.sched.get_or_create_filtered_deck(DeckId(0))
        deck.name = f"filtered {search}"
        deck.config.reschedule = reschedule
        del deck.config.search_terms[:]
        term = FilteredDeckConfig.SearchTerm
        deck.config.search_terms.append(term(search=search, limit=limit, order=term.OLDEST_REVIEWED_FIRST))
        deck_id = DeckId(self.collection.sched.add_or_update_filtered_deck(deck).id)
        count = self.study(deck_id, ratings)
        self.collection.sched.empty_filtered_deck(deck_id)
        return count

    def pass_time(self, days: int, seconds: int = 0) -> None:
        """Move all that has happened back, so that it is so much later now."""
        shift = days * SECONDS_PER_DAY + seconds
        database = self.database
        database.execute("UPDATE revlog SET id = id - ?", shift * 1000)
        database.execute("UPDATE cards SET due = due - ? WHERE due > 1000000000", shift)
        last_review = "json_extract(data, '$.lrt')"
        database.execute(
            f"UPDATE cards SET data = json_set(data, '$.lrt', {last_review} - ?) WHERE {last_review} IS NOT NULL", shift
        )
        database.execute("UPDATE col SET crt = crt - ?", days * SECONDS_PER_DAY)
        self.reopen()

    def reopen(self) -> None:
        self.collection.close()
        self.collection = Collection(str(self.path))

    def export(self, folder: Path) -> dict[str, Path]:
        """What Anki's own exporter makes of it, in each of EXPORTS."""
        folder.mkdir()
        for name in EXPORTS:
            path, legacy = str(folder / name), name.startswith("old")
            if name.endswith(".colpkg"):
                self.collection.export_collection_package(path, include_media=False, legacy=legacy)
                self.collection = Collection(str(self.path))
            else:
                options = ExportAnkiPackageOptions(
                    with_scheduling=True, with_deck_configs=True, with_media=False, legacy=legacy
                )
                self.collection.export_anki_package(out_path=path, options=options, limit=None)
        return {name: folder / name for name in EXPORTS}


def busy_learner(path: Path) -> Learner:
    """Twelve days of everything: siblings, presets, FSRS off and on, filtered decks, forget, undo, deleted cards."""
    learner = Learner(path)
    collection = learner.collection
    words = learner.add_notes(
        "Deutsch::Essen", ["<b>der&nbsp;K&auml;se</b>", *(f"Wort {number}" for number in range(6))]
    )
    learner.set_preset(words, "Hard ones", 0.85, [0.1 * number for number in range(21)])
    gaps = [f"{{{{c1::gap {number}::hint}}}} and {{{{c2::another}}}}[sound:x.mp3]" for number in range(3)]
    sentences = learner.add_notes("Sentences", gaps, note_type="Cloze")
    learner.add_notes("Never studied", ["", "x" * 200])
    for day in range(8):
        if day == 3:
            collection = learner.collection
            collection.set_config("fsrs", True)
        learner.study(words, [3, 1, 3, 2, 4], seconds=2.5 + day)
        learner.study(sentences, [3, 3, 4], seconds=90)
        learner.pass_time(1, seconds=day * 1111)
    collection = learner.collection
    known = collection.find_cards("is:review", order="c.id asc")
    collection.sched.set_due_date(known[:2], "3")
    collection.sched.schedule_cards_as_new([known[2], known[3]])
    learner.study_filtered("is:review", reschedule=False, ratings=[3, 1, 3, 3], limit=3)
    learner.study_filtered("is:review -is:due", reschedule=True, ratings=[3, 2], limit=2)
    learner.pass_time(2, seconds=3000)
    learner.study(words, [3])  # one of the two that were forgotten is learned again
    learner.study(sentences, [1, 3, 3])
    learner.pass_time(1)
    collection = learner.collection
    learner.study(words, [3], most=1)
    collection.undo()
    learner.study(words, [1], most=1)  # this one is in its relearning steps at the end
    # A card that lost its beginning, as after a sync of an old client.
    learner.database.execute("DELETE FROM revlog WHERE type = 0 AND cid = ?", known[6])
    collection.sched.schedule_cards_as_new([known[4]])
    collection.sched.suspend_cards([known[5]])
    collection.remove_notes_by_card([known[-1]])
    return learner
