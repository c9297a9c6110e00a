"""Terms of --cards that Anki also has, against Anki's own search in a collection that Anki wrote."""

import time
from pathlib import Path

import numpy as np
import pytest

from tests.data.imports.anki.clients import Rating

pytest.importorskip("anki")  # only where the extra [anki] is not installed; it is part of [dev]

from rwkv.collection.card_columns import card_columns
from rwkv.collection.card_query import parse_query
from rwkv.collection.import_collections import import_collections
from rwkv.collection.learner import Learner, read_learner
from tests.data.imports.anki.clients import Learner as Client

DAY_MS = 86_400_000
TAGS = ("animal", "animal::dog brave", "Ete\u0301 plant", "", "animals", "plant::tree::oak leech", "\u00e9t\u00e9")
QUERIES = [
    "tag:animal",
    "tag:ANIMAL::dog",
    "tag:animal*",
    "tag:*plant*",
    "tag:dog",
    "tag:none",
    "-tag:none",
    "tag:\u00e9t\u00e9",
    "tag:plant::tree",
    "rated:1",
    "rated:2",
    "rated:3:1",
    "rated:3:3",
    "rated:30:2",
    "-rated:4",
    "added:1",
    "added:3",
    "added:4",
    "added:30",
    "added:3 -tag:none",
    "is:new",
    "is:suspended",
    "is:new or rated:1:1",
    "w\u00f6rt",
    "wo\u0308rt",
    "w*t",
    "deck:words",
    "deck:W*",
    "prop:ivl>=4",
]


@pytest.fixture(scope="module")
def found_by_anki(tmp_path_factory: pytest.TempPathFactory) -> tuple[Learner, dict[str, list[int]]]:
    """Fourteen cards of seven notes, four days of answers, some cards made days ago; what Anki finds for each query."""
    folder = tmp_path_factory.mktemp("queries")
    client = Client(folder / "collection.anki2")
    deck = client.add_notes("Words::Easy", [f"w\u00f6rt {number}" for number in range(5)] + ["hund", "katze"])
    collection = client.collection
    for note_id, tags in zip(collection.find_notes(""), TAGS, strict=True):
        note = collection.get_note(note_id)
        note.set_tags_from_str(tags)
        collection.update_note(note)
    for row, card in enumerate(collection.find_cards("")):
        made = card - row % 5 * DAY_MS
        client.database.execute("UPDATE cards SET id = ? WHERE id = ?", made, card)
    client.reopen()
    ratings_by_day: tuple[list[Rating], ...] = ([3, 1, 4], [1, 3, 2], [3], [2, 4])
    for ratings in ratings_by_day:
        client.study(deck, ratings, most=5)
        client.pass_time(1, seconds=100)
    client.study(deck, [3, 1], most=3)
    client.collection.sched.suspend_cards(client.collection.find_cards("tag:leech")[:1])
    result: dict[str, list[int]] = {query: sorted(client.collection.find_cards(query)) for query in QUERIES}
    import_collections([client.close()], folder / "data")
    return read_learner(folder / "data", 1), result


@pytest.mark.parametrize("query", QUERIES)
def test_queries_match_the_same_cards_as_in_anki(
    found_by_anki: tuple[Learner, dict[str, list[int]]], query: str
) -> None:
    learner, result = found_by_anki
    columns = card_columns(learner, time.time(), None)
    assert columns["card_id"][parse_query(query).matches(columns)].tolist() == result[query]


def test_the_queries_match_some_cards_only(found_by_anki: tuple[Learner, dict[str, list[int]]]) -> None:
    """Most find some cards and leave some out."""
    learner, result = found_by_anki
    telling = [query for query, cards in result.items() if 0 < len(cards) < len(learner.cards)]
    assert len(telling) > 0.8 * len(QUERIES)
    assert np.unique(learner.cards.card_id).tolist() == sorted(learner.cards.card_id.tolist())


def test_tags_are_in_the_folder(found_by_anki: tuple[Learner, dict[str, list[int]]], tmp_path: Path) -> None:
    learner, _ = found_by_anki
    assert learner.cards.tags is not None
    assert set(learner.cards.tags[learner.cards.note == "hund"]) == {" leech plant::tree::oak "}
