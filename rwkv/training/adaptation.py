"""Weights adapted to people: the heads learn from the first part of each history and are judged on its end.

What the streams make of a history stays as it is, so it is made once, and the steps over it take a moment each.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from rwkv.arrays import Bools, Int32s
from rwkv.batches.collate import BatchLabels
from rwkv.data.history import RevlogTable, order_by_card
from rwkv.data.keys import BenchmarkKeys
from rwkv.data.segments import whole_history
from rwkv.evaluation.history_predictions import (
    Targets,
    find_targets,
    last_rows,
    predict_users,
    sliced_for,
    whole_histories,
)
from rwkv.evaluation.metrics import recall_metrics
from rwkv.model.network import Network, frozen_network
from rwkv.training.loss import compute_loss
from rwkv.training.optimizer import CLIP_NORM, Optimizer, make_optimizer, set_learning_rate

NAMES = AHEAD, IMM = "RWKV", "RWKV-P"

# Of the reviews that are judged: the first share is learnt from, the next says when to stop, the last is kept aside.
LEARNT_SHARE, KEPT_SHARE = 0.64, 0.20
# With fewer of them, of all people together, what was learnt on eight real people made their next reviews worse.
FEWEST_JUDGED = 1000
# Of each of them: enough for all three parts.
FEWEST_OF_A_PERSON = 60

RATE = 1e-4
# Rows of a step, shared out among the people.
ROWS = 512
STEPS_OF_A_ROUND = 5
# More made RWKV worse, on real people, whatever the part that says when to stop had said.
MOST_ROUNDS = 12

# What each prediction has to itself, and what moves. The norm before the heads is of both, so it stays.
_HEADS = {AHEAD: ("head_w.", "head_ahead_logits.", "w_linear.", "ahead_linear."), IMM: ("head_p.", "p_linear.")}
_MOVING = _HEADS[AHEAD] + _HEADS[IMM]

# LogLoss by the name of the prediction.
Losses = dict[str, float]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Cuts:
    """Where a history is cut, as reviews of its table: learnt from before `stop`, and stopped by before `kept`."""

    stop: int
    kept: int


@dataclass(frozen=True)
class Judged:
    """One person's `reviews` that were kept aside, before and after."""

    user: int
    reviews: int
    before: Losses
    after: Losses


@dataclass(frozen=True)
class Adapted:
    """network: with the heads of those predictions that are `better` for it, the others as they were.

    steps: by prediction, how many its heads have learnt. people: what these heads are worth, also where they were
    refused.
    """

    network: Network
    steps: dict[str, int]
    people: tuple[Judged, ...]
    better: tuple[str, ...]

    @property
    def before(self) -> Losses:
        """Means over people."""
        return _means([one.before for one in self.people])

    @property
    def after(self) -> Losses:
        """Means over people, by the heads that were learnt."""
        return _means([one.after for one in self.people])


def judged_reviews(table: RevlogTable) -> Bools:
    """Which reviews [R] are judged: those on a later day than the card's review before, where that is known."""
    return (table.elapsed_days > 0) & (order_by_card(table.card).previous >= 0)


def cuts_of(table: RevlogTable) -> Cuts | None:
    """Where to cut a history, by time; None for one with fewer than FEWEST_OF_A_PERSON reviews that are judged."""
    judged = np.flatnonzero(judged_reviews(table))
    if len(judged) < FEWEST_OF_A_PERSON:
        return None
    stop, kept = (int(judged[int(share * len(judged))]) for share in (LEARNT_SHARE, 1 - KEPT_SHARE))
    return Cuts(stop, kept)


@dataclass(frozen=True)
class HeadRows:
    """The rows of a history from its beginning, as the heads take them: x [N, C]; what they are held against.

    targets: the reviews that are judged.
    """

    x: Tensor
    is_query: Tensor
    labels: BatchLabels
    labelled: Int32s
    targets: Targets

    def labelled_before(self, review_th: int) -> "HeadRows":
        """The same with no label of this review or a later one."""
        known = self.labels.has_label & torch.from_numpy(self.labelled < review_th)
        return replace(self, labels=replace(self.labels, has_label=known))

    def loss_from(self, network: Network, review_th: int) -> tuple[Losses, int]:
        """LogLoss of the reviews that are judged, from this one on, and how many they are."""
        part = self.targets.review_th >= review_th
        (found,) = predict_users(network, self.x, [self.targets.part(part)])
        losses = {
            name: recall_metrics(p, found.y, found.bins)["LogLoss"]
            for name, p in ((AHEAD, found.p_ahead), (IMM, found.p_imm))
        }
        return {name: float("inf") if loss is None else loss for name, loss in losses.items()}, int(part.sum())


def head_rows(network: Network, table: RevlogTable) -> HeadRows:
    """Run a frozen network over all of a history."""
    judged = judged_reviews(table)
    segment = whole_history(table, judged)
    review_ths = table.review_th[judged]
    batch = whole_histories([segment])
    # A tensor of inference mode could not be learnt from.
    x = last_rows(network, sliced_for(batch, network.backend)).clone()
    targets = find_targets(segment, BenchmarkKeys(review_ths, np.zeros_like(review_ths)))
    return HeadRows(x, batch.is_query, batch.labels, segment.labels.review_th, targets)


def adapt(network: Network, tables: Sequence[RevlogTable], tell: Tell = lambda stage: None) -> Adapted:
    """Adapt the heads of a frozen float32 network on the CPU to histories that `cuts_of` can cut.

    What comes before the part kept aside is run alone, so that nothing of that part is learnt. tell: gets the name of
    each stage as it begins.
    """
    cuts = [_present(cuts_of(table)) for table in tables]
    tell("reading the histories")
    known = [head_rows(network, table.part(slice(cut.kept))) for table, cut in zip(tables, cuts, strict=True)]
    stops = [int(table.review_th[cut.stop]) for table, cut in zip(tables, cuts, strict=True)]
    tell("learning from the first part, to see by the next where to stop")
    rounds = _best_rounds(network, known, stops)
    tell("learning from both")
    learnt = _learnt(network, known, rounds)
    tell("judging by what was kept aside")
    kept = [int(table.review_th[cut.kept]) for table, cut in zip(tables, cuts, strict=True)]
    people = [_judge(network, learnt, table, first) for table, first in zip(tables, kept, strict=True)]
    before, after = _means([one.before for one in people]), _means([one.after for one in people])
    better = tuple(name for name in NAMES if after[name] < before[name])
    steps = {name: of * STEPS_OF_A_ROUND for name, of in rounds.items()}
    return Adapted(_with_heads(network, learnt, better), steps, tuple(people), better)


def learning(network: Network, known: Sequence[HeadRows]) -> Iterator[Network]:
    """The same network with heads that learn from the rows, after each round; it changes as it goes on."""
    learnt = copy.deepcopy(network).requires_grad_(False)
    heads = {name: of for name, of in learnt.named_parameters() if name.startswith(_MOVING)}
    for weight in heads.values():
        weight.requires_grad_(True)
    optimizer = make_optimizer(heads)
    set_learning_rate(optimizer, RATE)
    rng = np.random.default_rng(0)
    labelled = [np.flatnonzero((rows.labels.has_label & rows.labels.is_equalize).numpy()) for rows in known]
    share = max(1, ROWS // len(known))
    while True:
        for _ in range(STEPS_OF_A_ROUND):
            drawn = [rng.choice(rows, min(share, len(rows)), replace=False) for rows in labelled]
            _step(learnt, heads, optimizer, known, [torch.from_numpy(rows) for rows in drawn])
        yield learnt


def _step(
    network: Network,
    heads: dict[str, nn.Parameter],
    optimizer: Optimizer,
    known: Sequence[HeadRows],
    drawn: Sequence[Tensor],
) -> None:
    """One step on some rows of each person."""
    parts = list(zip(known, drawn, strict=True))
    labels = {name: torch.cat([getattr(of.labels, name)[rows] for of, rows in parts]) for name in vars(known[0].labels)}
    outputs = network.read_out(torch.cat([of.x[rows] for of, rows in parts]))
    is_query = torch.cat([of.is_query[rows] for of, rows in parts])
    optimizer.zero_grad(set_to_none=True)
    compute_loss(outputs, BatchLabels(**labels), is_query, "equalize").total.backward()
    clip_grad_norm_(list(heads.values()), CLIP_NORM)
    optimizer.step()


def _best_rounds(network: Network, known: Sequence[HeadRows], stops: Sequence[int]) -> dict[str, int]:
    """By prediction, after how many rounds over what comes before the stops its loss from there on is lowest."""

    def losses(of: Network) -> Losses:
        return _means([rows.loss_from(of, stop)[0] for rows, stop in zip(known, stops, strict=True)])

    best, lowest = dict.fromkeys(NAMES, 0), losses(network)
    parts = [rows.labelled_before(stop) for rows, stop in zip(known, stops, strict=True)]
    for n, learnt in enumerate(islice(learning(network, parts), MOST_ROUNDS), 1):
        for name, loss in losses(learnt).items():
            if loss < lowest[name]:
                best[name], lowest[name] = n, loss
    return best


def _learnt(network: Network, known: Sequence[HeadRows], rounds: dict[str, int]) -> Network:
    """The network with the heads of each prediction after its rounds."""
    learnt = network
    for n, now in enumerate(islice(learning(network, known), max(rounds.values())), 1):
        learnt = _with_heads(learnt, now, [name for name, of in rounds.items() if of == n])
    return learnt


def _with_heads(network: Network, other: Network, names: Sequence[str]) -> Network:
    """A network with the heads of these predictions from another one, as they are now; the same where there is none."""
    if not names:
        return network
    prefixes = tuple(prefix for name in names for prefix in _HEADS[name])
    taken = {name: of.detach().clone() for name, of in other.state_dict().items() if name.startswith(prefixes)}
    return frozen_network({**network.state_dict(), **taken}, torch.float32, network.spec)


def _judge(before: Network, after: Network, table: RevlogTable, first: int) -> Judged:
    """Both networks on the reviews from `first` on, from one run over the whole history."""
    rows = head_rows(before, table)
    losses, reviews = rows.loss_from(before, first)
    return Judged(table.user, reviews, losses, rows.loss_from(after, first)[0])


def _means(losses: Sequence[Losses]) -> Losses:
    return {name: float(np.mean([of[name] for of in losses])) for name in NAMES}


def _present(cuts: Cuts | None) -> Cuts:
    if cuts is None:
        raise ValueError("a history is too short to be cut")
    return cuts
