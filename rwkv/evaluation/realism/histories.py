"""The reviews of several learners in one set of arrays, with the benchmark's splits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Bools, Ints
from rwkv.data.history import RevlogTable, cumsum_by_group, order_by_card
from rwkv.data.keys import MAX_REVIEWS_OF_A_CARD, TEST_SPLITS, candidate_reviews, folds_of


@dataclass(frozen=True)
class Histories:
    """The R reviews of several learners, one learner after the other, each in time order.

    Attributes:
        users: Number of learners.
        user: The learner 0, 1, 2, ... of each review, int64 [R].
        card: Card numbers that no two learners share, int64 [R].
        rating: Ratings 1..4, int64 [R].
        days: Days from the card's previous review, int64 [R]; 0 at the first review.
        fold: int64 [R]; -1 for reviews that the benchmark does not count, 0 for those it only learns from, 1..5 for
            those it tests in that split (default keys).
        bins: Bins of RMSE(bins), int64 [R]; 0 where fold is -1.
    """

    users: int
    user: Ints
    card: Ints
    rating: Ints
    days: Ints
    fold: Ints
    bins: Ints

    def __len__(self) -> int:
        return len(self.user)

    @property
    def recalled(self) -> Bools:
        """Whether the rating of each review is not Again, [R]."""
        return self.rating > 1

    def keep(self, mask: Bools) -> "Histories":
        """The reviews where `mask` [R] holds, of the same learners; cards are renumbered."""
        columns = {name: column[mask] for name, column in vars(self).items() if isinstance(column, np.ndarray)}
        columns["card"] = np.unique(columns["card"], return_inverse=True)[1].astype(np.int64)
        return Histories(self.users, **columns)

    def until(self, fold: int) -> "Histories":
        """The reviews up to each learner's last one in folds 0..fold."""
        last = np.full(self.users, -1)
        rows = np.flatnonzero((self.fold >= 0) & (self.fold <= fold))
        np.maximum.at(last, self.user[rows], rows)
        return self.keep(np.arange(len(self)) <= last[self.user])

    def without_same_day(self) -> "Histories":
        """The first review of each card, and the reviews on a later day than the card's previous one."""
        is_first = order_by_card(self.card).previous < 0
        return self.keep(is_first | (self.days > 0))


def histories_of(tables: Sequence[RevlogTable]) -> Histories:
    """The first 128 reviews of each card, as in the benchmark (spec 2), of learners in the given order."""
    parts: list[dict[str, Ints]] = []
    first_card = 0
    for number, table in enumerate(tables):
        seen = _place_in_card(table.card) < MAX_REVIEWS_OF_A_CARD
        fold, bins = _folds(table)
        columns = {
            "user": np.full(len(table), number),
            "card": table.card.astype(np.int64) + first_card,
            "rating": table.rating.astype(np.int64),
            "days": np.maximum(table.elapsed_days, 0).astype(np.int64),
            "fold": fold,
            "bins": bins,
        }
        parts.append({name: column[seen] for name, column in columns.items()})
        first_card += len(table.cards.note)
    return Histories(len(tables), **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def layers(card: Ints) -> list[Ints]:
    """Split reviews into layers: the rows of the cards' first reviews, of their second reviews, and so on.

    All layers share one order of cards, by falling number of reviews, so each layer's cards are a prefix of the
    previous layer's.
    """
    place, counts = _place_in_card(card), np.bincount(card)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    order = np.lexsort((rank[card], place))
    return np.split(order, np.cumsum(np.bincount(place))[:-1]) if len(card) else []


def _place_in_card(card: np.ndarray) -> Ints:
    """The number of the card's earlier reviews, int64 [R]."""
    cards = order_by_card(card)
    place = np.empty(len(card), np.int64)
    place[cards.order] = cumsum_by_group(np.ones(len(card), np.int64), cards.is_start) - 1
    return place


def _folds(table: RevlogTable) -> tuple[Ints, Ints]:
    """The fold and the RMSE bin of each review, see `Histories`."""
    candidates = candidate_reviews(table, short=False, secs=False)
    row = np.searchsorted(table.review_th, candidates.review_ths)
    fold, bins = np.full(len(table), -1), np.zeros(len(table), np.int64)
    fold[row], bins[row] = 0, candidates.rmse_bins
    for number, part in zip(range(1, TEST_SPLITS + 1), folds_of(len(row)), strict=True):
        fold[row[part]] = number
    return fold, bins
