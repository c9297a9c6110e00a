"""Adapting weights to people: the heads learn from the first part of each history and are judged on its last part.

The streams are frozen, so they run over each history only once, and a step of the heads is cheap.
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
from rwkv.evaluation.comparison import AHEAD, IMM
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

NAMES = AHEAD, IMM

# Shares of the judged reviews: the first part is learnt from, the next decides when to stop, the last is kept aside.
LEARNT_SHARE, KEPT_SHARE = 0.64, 0.20
# Fewest judged reviews of all people together. With fewer, adapting made the next reviews of eight real people worse.
FEWEST_JUDGED = 1000
# Fewest judged reviews of one person, enough for all three parts.
FEWEST_OF_A_PERSON = 60

RATE = 1e-4
# Rows of a step, divided among the people.
ROWS = 512
STEPS_OF_A_ROUND = 5
# On real people, more rounds made RWKV worse, even where the stopping part had improved.
MOST_ROUNDS = 12

# Prefixes of the weights that each prediction has alone; these are trained. The shared norm before the heads is frozen.
_HEADS = {AHEAD: ("head_w.", "head_ahead_logits.", "w_linear.", "ahead_linear."), IMM: ("head_p.", "p_linear.")}
_TRAINED = _HEADS[AHEAD] + _HEADS[IMM]

# LogLoss by name of the prediction.
Losses = dict[str, float]
# Receives the name of each stage as it begins.
ReportStage = Callable[[str], None]


@dataclass(frozen=True)
class Cuts:
    """The cuts of a history, as rows of its table: learnt part, stopping part from `stop`, kept part from `kept`."""

    stop: int
    kept: int


@dataclass(frozen=True)
class Judged:
    """The LogLoss of one person's kept part before and after adapting, and its number of judged reviews."""

    user: int
    reviews: int
    before: Losses
    after: Losses


@dataclass(frozen=True)
class Adapted:
    """The result of adapting a network.

    Attributes:
        network: The network with the new heads of the predictions in `better`, and the old heads of the others.
        steps: Training steps of the heads of each prediction.
        people: The result for each person with all new heads, including those not in `better`.
        better: The predictions that improved on the kept parts.
    """

    network: Network
    steps: dict[str, int]
    people: tuple[Judged, ...]
    better: tuple[str, ...]

    @property
    def before(self) -> Losses:
        """The mean over people before adapting."""
        return _means([person.before for person in self.people])

    @property
    def after(self) -> Losses:
        """The mean over people with all new heads."""
        return _means([person.after for person in self.people])


def judged_reviews(table: RevlogTable) -> Bools:
    """Whether each review is judged, bool [R]: its card has an earlier review, on an earlier day."""
    return (table.elapsed_days > 0) & (order_by_card(table.card).previous >= 0)


def cuts_of(table: RevlogTable) -> Cuts | None:
    """The cuts of a history; None if it has fewer than FEWEST_OF_A_PERSON judged reviews."""
    judged = np.flatnonzero(judged_reviews(table))
    if len(judged) < FEWEST_OF_A_PERSON:
        return None
    stop, kept = (int(judged[int(share * len(judged))]) for share in (LEARNT_SHARE, 1 - KEPT_SHARE))
    return Cuts(stop, kept)


def trained_reviews(table: RevlogTable) -> int:
    """The number of reviews in the parts that `adapt` trains on, which are the first of the history."""
    return _present(cuts_of(table)).kept


@dataclass(frozen=True)
class HeadRows:
    """The N rows of a history before the heads, with their targets.

    Attributes:
        x: Rows before the heads, float32 [N, C].
        is_query: Whether the row is a query, bool [N].
        labels: The targets of the rows for the loss.
        labelled: Number of the review that each row predicts, int32 [N].
        targets: The judged reviews.
    """

    x: Tensor
    is_query: Tensor
    labels: BatchLabels
    labelled: Int32s
    targets: Targets

    def labelled_before(self, review_th: int) -> "HeadRows":
        """A copy with labels only for reviews before `review_th`."""
        known = self.labels.has_label & torch.from_numpy(self.labelled < review_th)
        return replace(self, labels=replace(self.labels, has_label=known))

    def loss_from(self, network: Network, review_th: int) -> tuple[Losses, int]:
        """The LogLoss of the judged reviews from `review_th` on, and their number."""
        part = self.targets.review_th >= review_th
        (predictions,) = predict_users(network, self.x, [self.targets.part(part)])
        losses = {
            name: recall_metrics(p, predictions.y, predictions.bins)["LogLoss"]
            for name, p in ((AHEAD, predictions.p_ahead), (IMM, predictions.p_imm))
        }
        return {name: float("inf") if loss is None else loss for name, loss in losses.items()}, int(part.sum())


def head_rows(network: Network, table: RevlogTable) -> HeadRows:
    """Run the streams of a frozen network over a whole history."""
    judged = judged_reviews(table)
    segment = whole_history(table, judged)
    review_ths = table.review_th[judged]
    batch = whole_histories([segment])
    # A tensor made in inference mode cannot be trained on.
    x = last_rows(network, sliced_for(batch, network.backend)).clone()
    targets = find_targets(segment, BenchmarkKeys(review_ths, np.zeros_like(review_ths)))
    return HeadRows(x, batch.is_query, batch.labels, segment.labels.review_th, targets)


def adapt(network: Network, tables: Sequence[RevlogTable], report: ReportStage = lambda stage: None) -> Adapted:
    """Adapt the heads of a network to some histories.

    The streams run over the learnt parts alone, so that nothing of the kept parts is learnt.

    Args:
        network: A frozen float32 network on the CPU.
        tables: Histories that `cuts_of` can cut.
        report: Receives the name of each stage as it begins.
    """
    cuts = [_present(cuts_of(table)) for table in tables]
    report("reading the histories")
    known = [head_rows(network, table.part(slice(cut.kept))) for table, cut in zip(tables, cuts, strict=True)]
    stops = [int(table.review_th[cut.stop]) for table, cut in zip(tables, cuts, strict=True)]
    report("learning from the first part to find when to stop")
    rounds = _best_rounds(network, known, stops)
    report("learning from both parts")
    trained = _trained(network, known, rounds)
    report("judging on the part kept aside")
    kept = [int(table.review_th[cut.kept]) for table, cut in zip(tables, cuts, strict=True)]
    people = [_judge(network, trained, table, first) for table, first in zip(tables, kept, strict=True)]
    before, after = _means([person.before for person in people]), _means([person.after for person in people])
    better = tuple(name for name in NAMES if after[name] < before[name])
    steps = {name: count * STEPS_OF_A_ROUND for name, count in rounds.items()}
    return Adapted(_with_heads(network, trained, better), steps, tuple(people), better)


def learning(network: Network, known: Sequence[HeadRows]) -> Iterator[Network]:
    """Train a copy of the network's heads on the rows; yields it after each round, changed in place."""
    trained = copy.deepcopy(network).requires_grad_(False)
    heads = {name: weight for name, weight in trained.named_parameters() if name.startswith(_TRAINED)}
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
            _step(trained, heads, optimizer, known, [torch.from_numpy(rows) for rows in drawn])
        yield trained


def _step(
    network: Network,
    heads: dict[str, nn.Parameter],
    optimizer: Optimizer,
    known: Sequence[HeadRows],
    drawn: Sequence[Tensor],
) -> None:
    """Take one step on the drawn rows of each person."""
    parts = list(zip(known, drawn, strict=True))
    names = vars(known[0].labels)
    labels = {name: torch.cat([getattr(history.labels, name)[rows] for history, rows in parts]) for name in names}
    outputs = network.read_out(torch.cat([history.x[rows] for history, rows in parts]))
    is_query = torch.cat([history.is_query[rows] for history, rows in parts])
    optimizer.zero_grad(set_to_none=True)
    compute_loss(outputs, BatchLabels(**labels), is_query, "equalize").total.backward()
    clip_grad_norm_(list(heads.values()), CLIP_NORM)
    optimizer.step()


def _best_rounds(network: Network, known: Sequence[HeadRows], stops: Sequence[int]) -> dict[str, int]:
    """The number of rounds on the learnt parts after which each prediction's loss on the stopping parts is lowest."""

    def losses(candidate: Network) -> Losses:
        return _means([rows.loss_from(candidate, stop)[0] for rows, stop in zip(known, stops, strict=True)])

    best, lowest = dict.fromkeys(NAMES, 0), losses(network)
    parts = [rows.labelled_before(stop) for rows, stop in zip(known, stops, strict=True)]
    for n, trained in enumerate(islice(learning(network, parts), MOST_ROUNDS), 1):
        for name, loss in losses(trained).items():
            if loss < lowest[name]:
                best[name], lowest[name] = n, loss
    return best


def _trained(network: Network, known: Sequence[HeadRows], rounds: dict[str, int]) -> Network:
    """The network with the heads of each prediction after its number of rounds."""
    trained = network
    for n, current in enumerate(islice(learning(network, known), max(rounds.values())), 1):
        trained = _with_heads(trained, current, [name for name, count in rounds.items() if count == n])
    return trained


def _with_heads(network: Network, other: Network, names: Sequence[str]) -> Network:
    """The network with the present heads of `other` for the named predictions; the network itself if there are none."""
    if not names:
        return network
    prefixes = tuple(prefix for name in names for prefix in _HEADS[name])
    heads = {name: x.detach().clone() for name, x in other.state_dict().items() if name.startswith(prefixes)}
    return frozen_network({**network.state_dict(), **heads}, torch.float32, network.spec)


def _judge(before: Network, after: Network, table: RevlogTable, first: int) -> Judged:
    """Compare both networks on the judged reviews from `first` on; the streams run over the whole history once."""
    rows = head_rows(before, table)
    losses, reviews = rows.loss_from(before, first)
    return Judged(table.user, reviews, losses, rows.loss_from(after, first)[0])


def _means(losses: Sequence[Losses]) -> Losses:
    return {name: float(np.mean([loss[name] for loss in losses])) for name in NAMES}


def _present(cuts: Cuts | None) -> Cuts:
    if cuts is None:
        raise ValueError("a history has too few judged reviews")
    return cuts
