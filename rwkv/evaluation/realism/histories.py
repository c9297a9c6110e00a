"""Several learners' reviews in one set of arrays, and what the benchmark tests of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Bools, Ints
from rwkv.data.history import RevlogTable, cumsum_by_group, order_by_card
from rwkv.data.keys import MAX_REVIEWS_OF_A_CARD, TEST_SPLITS, candidate_reviews, folds_of


@dataclass(frozen=True)
class Histories:
    """The reviews [R] of several learners that an algorithm may see, one learner after the other, in time order.

    user: 0, 1, 2, ...; card: numbered across learners; rating: 1..4; days: since the card's review before, 0 on the
    first and on the same day; all int64. fold: -1 where the benchmark does not count the review, 0 where it only
    learns from it, 1..5 where it tests it in that split (default keys). bins: those of RMSE(bins), 0 where fold is -1.
    users: how many.
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
        """Whether each review was answered with anything but Again."""
        return self.rating > 1

    def keep(self, mask: Bools) -> "Histories":
        """Some of the reviews, of the same learners; cards are numbered anew."""
        columns = {name: column[mask] for name, column in vars(self).items() if isinstance(column, np.ndarray)}
        columns["card"] = np.unique(columns["card"], return_inverse=True)[1].astype(np.int64)
        return Histories(self.users, **columns)

    def until(self, fold: int) -> "Histories":
        """What has happened by the end of a fold: reviews up to each learner's last one in folds 0..fold."""
        last = np.full(self.users, -1)
        rows = np.flatnonzero((self.fold >= 0) & (self.fold <= fold))
        np.maximum.at(last, self.user[rows], rows)
        return self.keep(np.arange(len(self)) <= last[self.user])

    def without_same_day(self) -> "Histories":
        """First reviews of cards, and those on a later day than the one before."""
        is_first = order_by_card(self.card).previous < 0
        return self.keep(is_first | (self.days > 0))


def histories_of(tables: Sequence[RevlogTable]) -> Histories:
    """The first 128 reviews of each card, as the benchmark takes them (spec 2), of learners in the given order."""
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
    """Rows of the first reviews of all cards, then of the second ones, and so on.

    Each layer has the cards in the same order, those with the most reviews first: the cards of a layer are the
    beginning of those of the layer before it.
    """
    place, counts = _place_in_card(card), np.bincount(card)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    order = np.lexsort((rank[card], place))
    return np.split(order, np.cumsum(np.bincount(place))[:-1]) if len(card) else []


def _place_in_card(card: np.ndarray) -> Ints:
    """How many reviews of the card came before each one [R]."""
    cards = order_by_card(card)
    place = np.empty(len(card), np.int64)
    place[cards.order] = cumsum_by_group(np.ones(len(card), np.int64), cards.is_start) - 1
    return place


def _folds(table: RevlogTable) -> tuple[Ints, Ints]:
    """(fold, bins) of each review."""
    candidates = candidate_reviews(table, short=False, secs=False)
    row = np.searchsorted(table.review_th, candidates.review_ths)
    fold, bins = np.full(len(table), -1), np.zeros(len(table), np.int64)
    fold[row], bins[row] = 0, candidates.rmse_bins
    for number, part in zip(range(1, TEST_SPLITS + 1), folds_of(len(row)), strict=True):
        fold[row[part]] = number
    return fold, bins
