"""Adapting weights: which reviews and weights take part, and that only improvements count as better."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from rwkv.data.history import RevlogTable
from rwkv.model.network import Network, frozen_network
from rwkv.training import adaptation
from rwkv.training.adaptation import HeadRows, Judged, adapt, cuts_of, head_rows, judged_reviews, learning
from tests.helpers import make_table, random_revlog
from tests.networks import NATIVE, native_network

REVIEWS = 260
JUDGE = adaptation._judge


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptation, "MOST_ROUNDS", 3)
    monkeypatch.setattr(adaptation, "ROWS", 128)


@pytest.fixture(scope="module")
def network() -> Network:
    return frozen_network(native_network().state_dict(), torch.float32, NATIVE)


def history(seed: int = 1, reviews: int = REVIEWS) -> RevlogTable:
    return make_table(random_revlog(seed, reviews, cards=30))


def with_ratings(table: RevlogTable, first: int, rating: int) -> RevlogTable:
    """A copy with one rating from a review on."""
    changed = table.rating.copy()
    changed[first:] = rating
    return replace(table, rating=changed)


def weights_of(network: Network) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in network.state_dict().items()}


def assert_same(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert [name for name, weight in ours.items() if not torch.equal(weight, expected[name])] == []


@pytest.fixture
def learnt(monkeypatch: pytest.MonkeyPatch) -> list[Network]:
    """Collects the adapted networks before they are judged; the number of rounds does not depend on gains."""
    monkeypatch.setattr(adaptation, "_best_rounds", lambda *given: {"RWKV": 2, "RWKV-P": 3})
    networks: list[Network] = []

    def judge(before: Network, after: Network, table: RevlogTable, first: int) -> Judged:
        networks.append(after)
        return JUDGE(before, after, table, first)

    monkeypatch.setattr(adaptation, "_judge", judge)
    return networks


# --- What is learnt from


def test_a_history_is_cut_by_time() -> None:
    table = history()
    cuts = cuts_of(table)
    assert cuts is not None
    judged = judged_reviews(table)
    shares = [judged[: cuts.stop].mean(), judged[: cuts.kept].sum() / judged.sum()]
    assert 0 < cuts.stop < cuts.kept < len(table)
    assert judged[: cuts.stop].sum() / judged.sum() == pytest.approx(adaptation.LEARNT_SHARE, abs=1 / judged.sum())
    assert shares[1] == pytest.approx(1 - adaptation.KEPT_SHARE, abs=1 / judged.sum())


def test_a_short_history_is_not_cut() -> None:
    assert cuts_of(history(reviews=adaptation.FEWEST_OF_A_PERSON)) is None


@pytest.mark.parametrize("rating", [1, 4])
def test_held_out_reviews_are_not_trained_on(network: Network, learnt: list[Network], rating: int) -> None:
    table = history()
    cuts = cuts_of(table)
    assert cuts is not None
    plain = adapt(network, [table])
    changed = adapt(network, [with_ratings(table, cuts.kept, rating)])
    assert_same(weights_of(learnt[1]), weights_of(learnt[0]))
    assert changed.people[0].before != plain.people[0].before


def test_earlier_reviews_are_trained_on(network: Network, learnt: list[Network]) -> None:
    table = history()
    cuts = cuts_of(table)
    assert cuts is not None
    for changed in (table, with_ratings(table, cuts.kept - 9, 1)):
        adapt(network, [changed])
    assert not torch.equal(learnt[0].p_linear.bias, learnt[1].p_linear.bias)


def test_the_search_for_the_steps_does_not_train_on_its_validation(network: Network) -> None:
    """Labels are removed by the review that they name, on any row."""
    table = history()
    cuts = cuts_of(table)
    assert cuts is not None
    first = int(table.review_th[cuts.stop])

    def after_a_round(changed: RevlogTable) -> dict[str, torch.Tensor]:
        return weights_of(next(learning(network, [head_rows(network, changed).labelled_before(first)])))

    assert_same(after_a_round(with_ratings(table, cuts.stop, 1)), after_a_round(table))
    rows = head_rows(network, table)
    assert rows.labels.has_label.numpy()[rows.labelled >= first].any()
    assert not rows.labelled_before(first).labels.has_label.numpy()[rows.labelled >= first].any()


# --- What moves


def test_only_the_heads_of_a_copy_are_trained(network: Network, learnt: list[Network]) -> None:
    before = weights_of(network)
    adapt(network, [history(), history(2)])
    assert_same(weights_of(network), before)
    moved = {name for name, weight in weights_of(learnt[0]).items() if not torch.equal(weight, before[name])}
    assert {"p_linear.bias", "w_linear.bias", "ahead_linear.bias"} <= moved
    assert not [name for name in moved if name.startswith(("rwkv_modules", "features2card", "prehead_norm"))]


def test_learning_lowers_the_loss_on_training_reviews(network: Network) -> None:
    table = history()
    rows = head_rows(network, table)

    def loss(trained: Network) -> float:
        return sum(rows.loss_from(trained, 1)[0].values())

    *_, learnt = islice(learning(network, [rows]), 8)
    assert loss(learnt) < loss(network)


# --- What is called better


@pytest.mark.parametrize(
    ("after", "better"),
    [
        ((0.29, 0.30), ["RWKV"]),
        ((0.30, 0.29), ["RWKV-P"]),
        ((0.30, 0.30), []),
        ((0.20, 0.20), ["RWKV", "RWKV-P"]),
        ((0.31, 0.31), []),
        ((float("nan"), 0.31), []),
    ],
)
def test_only_heads_that_improve_are_used(
    network: Network, monkeypatch: pytest.MonkeyPatch, after: tuple[float, float], better: list[str]
) -> None:
    def judge(before: Network, after_it: Network, table: RevlogTable, first: int) -> Judged:
        return Judged(1, 9, {"RWKV": 0.3, "RWKV-P": 0.3}, dict(zip(("RWKV", "RWKV-P"), after, strict=True)))

    monkeypatch.setattr(adaptation, "_best_rounds", lambda *given: {"RWKV": 2, "RWKV-P": 3})
    monkeypatch.setattr(adaptation, "_judge", judge)
    adapted = adapt(network, [history()])
    assert list(adapted.better) == better
    before = weights_of(network)
    moved = {
        name.split(".")[0]
        for name, weight in weights_of(adapted.network).items()
        if not torch.equal(weight, before[name])
    }
    assert ("p_linear" in moved, "w_linear" in moved) == ("RWKV-P" in better, "RWKV" in better)


def test_the_mean_over_people_decides(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {1: (0.5, 0.4), 2: (0.2, 0.25)}

    def judge(before: Network, after: Network, table: RevlogTable, first: int) -> Judged:
        return Judged(table.user, 9, *(dict.fromkeys(("RWKV", "RWKV-P"), loss) for loss in losses[table.user]))

    monkeypatch.setattr(adaptation, "_best_rounds", lambda *given: {"RWKV": 1, "RWKV-P": 1})
    monkeypatch.setattr(adaptation, "_judge", judge)
    one, other = history(), replace(history(2), user=2)
    assert adapt(network, [one, other]).better == ("RWKV", "RWKV-P")
    assert adapt(network, [other]).better == ()


def test_heads_that_get_worse_are_not_used(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept part has the opposite outcomes of the learnt part."""
    table = history()
    cuts = cuts_of(table)
    assert cuts is not None
    turned = replace(table, rating=np.where(np.arange(len(table)) < cuts.kept, 4, 1).astype(np.int8))
    adapted = adapt(network, [turned])
    assert min(adapted.steps.values()) > 0
    assert all(adapted.after[name] > adapted.before[name] for name in ("RWKV", "RWKV-P"))
    assert adapted.better == ()
    assert_same(weights_of(adapted.network), weights_of(network))


def test_without_improvement_the_weights_stay(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def unmoved(network: Network, known: list[HeadRows]) -> Iterator[Network]:
        while True:
            yield network

    monkeypatch.setattr(adaptation, "learning", unmoved)
    adapted = adapt(network, [history()])
    assert (adapted.steps, adapted.better) == ({"RWKV": 0, "RWKV-P": 0}, ())
    assert_same(weights_of(adapted.network), weights_of(network))
