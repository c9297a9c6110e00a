"""A collection written by the official `anki` package: from import to predictions and back into its search box."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rwkv.collection.card_predictions import CardPredictions, predict_learner
from rwkv.collection.card_query import parse_query
from rwkv.collection.import_collections import import_collections
from rwkv.collection.learner import Learner, read_learner
from rwkv.collection.schedule import schedule_learner
from tests.collection.people import MODEL
from tests.typed import not_none

pytest.importorskip("anki")

if TYPE_CHECKING:
    from anki.collection import Collection

SECONDS_PER_DAY = 86_400

# Manual entries have no ease; answers in a filtered deck that does not reschedule are of type 3, without a factor.
_LAST_REVIEW = "SELECT max(id) FROM revlog WHERE cid = ? AND ease > 0 AND NOT (type = 3 AND factor = 0)"


@pytest.fixture(scope="module")
def anki(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Collection]":
    """Somebody's collection, after weeks of work in it."""
    from anki.collection import Collection

    from tests.data.imports.anki.clients import busy_learner

    path = busy_learner(tmp_path_factory.mktemp("anki") / "collection.anki2").close()
    collection = Collection(str(path))
    yield collection
    collection.close()


@pytest.fixture(scope="module")
def learner(anki: "Collection", tmp_path_factory: pytest.TempPathFactory) -> Learner:
    """The same, imported from a copy: Anki has the original open."""
    copy = tmp_path_factory.mktemp("copy") / "collection.anki2"
    not_none(anki.db).execute("VACUUM INTO ?", str(copy))
    import_collections([copy], copy.parent / "mine")
    return read_learner(copy.parent / "mine", 1)


@pytest.fixture(scope="module")
def cards(learner: Learner) -> CardPredictions:
    return predict_learner(learner, MODEL, learner.now_s())[0]


def test_cards_and_times_match_anki(anki: "Collection", learner: Learner, cards: CardPredictions) -> None:
    assert sorted(cards.card_id.tolist()) == sorted(anki.find_cards(""))
    now_s = learner.now_s()
    for card_id, elapsed_days in zip(cards.card_id.tolist(), cards.elapsed_days.tolist(), strict=True):
        if not np.isnan(elapsed_days):
            last_ms = not_none(anki.db).scalar(_LAST_REVIEW, card_id)
            assert elapsed_days == pytest.approx((now_s - last_ms / 1000) / SECONDS_PER_DAY, abs=1e-2)
    assert np.isfinite(cards.p_now).all()


@pytest.mark.parametrize(
    "query",
    [
        "is:new",
        "is:suspended",
        "-is:suspended deck:Deutsch",
        "deck:Deutsch::Essen or is:new",
        "(is:new or is:suspended) -deck:Deutsch",
        "prop:ivl>=21",
        'deck:"Never studied"',
        "preset:Default",
        "is:due",
    ],
)
def test_queries_match_the_same_cards_as_in_anki(anki: "Collection", cards: CardPredictions, query: str) -> None:
    result = cards.rows(parse_query(query).matches(cards.columns)).card_id.tolist()
    assert sorted(result) == sorted(anki.find_cards(query))


def test_anki_finds_the_due_cards_by_the_search_text(anki: "Collection", learner: Learner) -> None:
    days, _ = schedule_learner(learner, MODEL, learner.now_s(), retention=0.9, days=3)
    assert days[0].search
    assert sorted(anki.find_cards(days[0].search)) == sorted(days[0].card_id.tolist())
