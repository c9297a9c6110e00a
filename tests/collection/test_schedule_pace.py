"""The pace of a schedule: a limit, a backlog over days, and new cards."""

from dataclasses import replace

import numpy as np
import pytest

from rwkv.collection.days_ahead import Pace
from rwkv.collection.learner import Learner, questions_at, read_learner
from rwkv.errors import InputError
from rwkv.vocab import SECONDS_PER_DAY
from tests.collection.people import NEW_ALONE, NEW_SIBLING, id_of, make_person
from tests.collection.test_schedule import DAYS, TOLERANCE, fed, nobody_but, play, row_of


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    return read_learner(make_person(tmp_path_factory.mktemp("person")), 1)


def test_a_limit_takes_the_highest_recall_first(learner: Learner) -> None:
    freely, limited = play(learner, 0.9), play(learner, 0.9, pace=Pace(limit=2))
    first = freely[0].card_id
    assert len(first) > 4
    # Least likely first, so the likeliest are the last.
    assert limited[0].card_id.tolist() == first[-2:].tolist()
    assert limited[0].waiting == len(first) - 2
    assert all(len(day.card_id) <= 2 for day in limited)
    assert all(len(day.card_id) == 2 for day in limited if day.waiting)
    assert [day.waiting for day in freely] == [0] * DAYS
    asked = {card for day in limited for card in day.card_id.tolist()}
    assert asked <= {card for day in freely for card in day.card_id.tolist()}


def test_a_backlog_is_spread_over_days(learner: Learner) -> None:
    """As many each day, everybody once; what falls due later comes on its own day."""
    backlog = play(learner, 0.9, days=1)[0].card_id.tolist()
    spread = play(learner, 0.9, days=3, pace=Pace(backlog_days=3))
    parts = [[card for card in day.card_id[~day.is_repeat].tolist() if card in backlog] for day in spread]
    assert sorted(card for part in parts for card in part) == sorted(backlog)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts[0] == backlog[-len(parts[0]) :]


def test_new_cards_are_introduced_on_request_and_repeated(learner: Learner) -> None:
    """In order of their ids, so many a day; an engine that is told of each by hand says the same of them."""
    days = play(learner, 0.9, pace=Pace(new=1))
    assert [day.card_id[day.is_new].tolist() for day in days[:3]] == [[id_of(NEW_SIBLING)], [id_of(NEW_ALONE)], []]
    assert any(id_of(NEW_ALONE) in day.card_id[day.is_repeat].tolist() for day in days)
    assert id_of(NEW_SIBLING) in [int(card) for card in days[0].search.removeprefix("cid:").split(",")]
    alone = play(replace(learner, cards=nobody_but(learner, NEW_SIBLING)), 0.9, days=1, pace=Pace(new=1))[0]
    row = np.array([row_of(learner, id_of(NEW_SIBLING))])
    output = fed(learner).predict_many(questions_at(learner, row, learner.end_s + SECONDS_PER_DAY))
    assert alone.recall == pytest.approx(output.p_imm[0], abs=TOLERANCE)


def test_new_cards_come_last_within_the_limit(learner: Learner) -> None:
    days = play(learner, 0.9, pace=Pace(limit=1, new=2))
    assert not any(day.is_new.any() for day in days if day.waiting)
    assert sum(len(day.card_id) for day in play(learner, 0.9, days=1, pace=Pace(limit=50, new=5))) > 2


def test_a_card_that_is_new_in_anki_is_never_due(learner: Learner) -> None:
    is_new = learner.cards.is_new.copy()
    is_new[row_of(learner, id_of(3))] = True
    reset = replace(learner, cards=replace(learner.cards, is_new=is_new))
    assert id_of(3) not in {card for day in play(reset, 0.9) for card in day.card_id.tolist()}


@pytest.mark.parametrize("pace", [{"limit": 0}, {"new": -1}, {"backlog_days": 0}, {"limit": 10**9}])
def test_an_invalid_pace_is_refused(pace: dict[str, int]) -> None:
    with pytest.raises(InputError, match=str(next(iter(pace.values())))):
        Pace(**pace)
