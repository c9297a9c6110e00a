"""Small histories for tests: written as parquet files, built directly, or drawn by hypothesis."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from rwkv.arrays import Floats, Ints
from rwkv.data.excerpts import review_context, whole_excerpt
from rwkv.data.history import CardTable, ReviewContext, RevlogTable, number_by_appearance, order_by_card
from rwkv.data.revlogs import read_history
from rwkv.errors import HistoryError

SECONDS_PER_DAY = 86_400

# The user of tests that need but one.
USER = 7

# Column name -> values, as in a parquet file; anything that pyarrow takes as a column.
Columns = Mapping[str, npt.ArrayLike]
# The same of a revlog, as int64.
IntColumns = dict[str, Ints]


def revlog_columns(
    card_id: Sequence[int] | npt.NDArray[np.integer],
    time_s: Sequence[int] | npt.NDArray[np.integer],
    rating: npt.ArrayLike = 3,
    duration: npt.ArrayLike = 5000,
) -> IntColumns:
    """A consistent revlog of cards reviewed at the given seconds, int64 columns as in the dataset."""
    card_id, time_s = np.asarray(card_id, np.int64), np.asarray(time_s, np.int64)
    day = time_s // SECONDS_PER_DAY
    elapsed_days, elapsed_s = np.full(len(card_id), -1), np.full(len(card_id), -1)
    latest: dict[int, int] = {}
    for row, card in enumerate(card_id.tolist()):
        if card in latest:
            elapsed_days[row] = day[row] - day[latest[card]]
            elapsed_s[row] = time_s[row] - time_s[latest[card]]
        latest[card] = row
    return {
        "card_id": card_id,
        "day_offset": day,
        "rating": np.broadcast_to(np.asarray(rating, np.int64), day.shape).copy(),
        "state": np.where(elapsed_days == -1, 0, 2),
        "duration": np.broadcast_to(np.asarray(duration, np.int64), day.shape).copy(),
        "elapsed_days": elapsed_days,
        "elapsed_seconds": elapsed_s,
    }


def random_revlog(seed: int, reviews: int, cards: int, same_day: float = 0.2) -> IntColumns:
    """A seeded revlog with few distinct intervals; `same_day` is the share of reviews soon after the one before."""
    rng = np.random.default_rng(seed)
    gaps = np.where(rng.random(reviews) < same_day, rng.integers(0, 600, reviews), rng.integers(0, 40_000, reviews))
    ratings = rng.choice([1, 2, 3, 4], reviews, p=[0.2, 0.1, 0.5, 0.2])
    return revlog_columns(rng.integers(0, cards, reviews), np.cumsum(gaps), ratings, rng.integers(0, 60_000, reviews))


def write_parquet(path: Path, columns: Columns | pa.Table) -> None:
    """One parquet file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(dict(columns)), path)


def write_history(
    root: Path,
    user: int,
    revlog: Columns | pa.Table,
    cards: Columns | pa.Table | None = None,
    decks: Columns | pa.Table | None = None,
) -> None:
    """One user in the dataset's layout; a table that is None has no file."""
    for kind, table in (("revlogs", revlog), ("cards", cards), ("decks", decks)):
        if table is not None:
            write_parquet(root / kind / f"user_id={user}" / "data.parquet", table)


def cards_of(revlog: Columns) -> IntColumns:
    """A `cards` table in which every card has a note of its own and one of two decks."""
    ids = np.unique(np.asarray(revlog["card_id"]))
    return {"card_id": ids, "note_id": ids + 1, "deck_id": ids % 2}


DECKS: dict[str, Ints | Floats] = {"deck_id": np.arange(2), "parent_id": np.full(2, np.nan), "preset_id": np.arange(2)}


def with_value(columns: Columns, name: str, row: int, value: float) -> Columns:
    """The columns with one value changed; the column becomes float where the value asks for it."""
    dtype = np.float64 if isinstance(value, float) else np.int64
    changed = np.array(columns[name], dtype)
    changed[row] = value
    return {**columns, name: changed}


def read_written(
    root: Path,
    columns: Columns | pa.Table,
    cards: Columns | pa.Table | None = None,
    decks: Columns | pa.Table | None = None,
) -> RevlogTable:
    """Write USER's tables (cards and decks have no file unless given) and read them."""
    write_history(root, USER, columns, cards, decks)
    return read_history(root, USER)


def assert_refused(
    root: Path,
    columns: Columns | pa.Table,
    *words: str,
    cards: Columns | pa.Table | None = None,
    decks: Columns | pa.Table | None = None,
) -> None:
    """The history is refused with an error that names the user and says all of `words`."""
    write_history(root, USER, columns, cards, decks)
    with pytest.raises(HistoryError) as caught:
        read_history(root, USER)
    for word in (f"user {USER}", *words):
        assert word in str(caught.value)


def plain_cards(cards: int) -> CardTable:
    """`cards` cards, each in a note of its own, all in one deck with one preset."""
    together, known = np.zeros(cards, np.int32), np.zeros(cards, bool)
    return CardTable(np.arange(cards, dtype=np.int32), together, together, known, known, known)


def make_table(
    columns: Columns, cards: CardTable | None = None, review_th: npt.ArrayLike | None = None, user: int = 1
) -> RevlogTable:
    """A RevlogTable of the given columns, without files."""
    card, first = number_by_appearance(np.asarray(columns["card_id"]))
    return RevlogTable(
        user=user,
        review_th=np.asarray(np.arange(1, len(card) + 1) if review_th is None else review_th, np.int32),
        card=card.astype(np.int32),
        rating=np.asarray(columns["rating"], np.int8),
        state=np.asarray(columns["state"], np.int8),
        duration_ms=np.asarray(columns["duration"], np.int64),
        day_offset=np.asarray(columns["day_offset"], np.int32),
        elapsed_days=np.asarray(columns["elapsed_days"], np.int32),
        elapsed_s=np.asarray(columns["elapsed_seconds"], np.int64),
        cards=plain_cards(len(first)) if cards is None else cards,
    )


def context_of(table: RevlogTable) -> ReviewContext:
    """The integer columns of a whole history."""
    return review_context(whole_excerpt(table, np.zeros(len(table), bool)), order_by_card(table.card))


def first_reviews(table: RevlogTable, count: int) -> RevlogTable:
    """The history as it was after `count` reviews. The cards that come later stay in the card table."""
    return table.part(slice(count))


def assert_same_table(ours: RevlogTable, expected: RevlogTable) -> None:
    """Equal in every value and dtype, but for the notices."""
    assert ours.user == expected.user
    pairs = [(name, value, getattr(expected, name)) for name, value in vars(ours).items()]
    pairs += [(f"cards.{name}", value, getattr(expected.cards, name)) for name, value in vars(ours.cards).items()]
    for name, value, requested in pairs:
        if isinstance(requested, np.ndarray):
            assert value.dtype == requested.dtype, name
            np.testing.assert_array_equal(value, requested, err_msg=name)


@st.composite
def card_tables(draw: st.DrawFn, cards: int) -> CardTable:
    """Notes, decks and presets of `cards` cards, some missing; ids dense in order of first appearance."""

    def some(values: st.SearchStrategy[int]) -> npt.NDArray[np.int64]:
        return np.array(draw(st.lists(values, min_size=cards, max_size=cards)), np.int64)

    def dense(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        return number_by_appearance(ids)[0].astype(np.int32)

    note_missing, deck_missing = some(st.integers(0, 1)) == 1, some(st.integers(0, 1)) == 1
    deck = np.where(deck_missing, -1, some(st.integers(0, 2)))
    note = np.where(note_missing, cards + np.arange(cards), some(st.integers(0, max(0, cards - 1))))
    preset_missing = deck_missing | (deck == 2)
    preset = np.where(preset_missing, -1, deck // 2)
    return CardTable(dense(note), dense(deck), dense(preset), note_missing, deck_missing, preset_missing)


_GAPS_S = st.one_of(st.just(0), st.integers(1, 2000), st.integers(2000, 3 * SECONDS_PER_DAY), st.just(10**8))


@st.composite
def tables(draw: st.DrawFn, max_reviews: int = 40) -> RevlogTable:
    """Histories as the reader returns them: gaps in review_th, lost beginnings of cards, missing ids, long pauses."""
    review = st.tuples(
        st.integers(0, 7),  # card
        _GAPS_S,
        st.integers(1, 4),  # rating
        st.integers(0, 4),  # state
        st.one_of(st.integers(0, 60_000), st.just(2**62)),  # duration
        st.integers(0, 2),  # rows dropped before
    )
    reviews = draw(st.lists(review, min_size=1, max_size=max_reviews))
    card, gap, rating, state, duration, dropped = np.array(reviews, np.int64).T
    columns = revlog_columns(card, np.cumsum(gap), rating, duration)
    columns["state"] = state
    lost_beginning = draw(st.sets(st.integers(0, 7), max_size=3))
    begins = (columns["elapsed_days"] == -1) & np.isin(card, list(lost_beginning))
    columns["elapsed_days"] = np.where(begins, 3, columns["elapsed_days"])
    columns["elapsed_seconds"] = np.where(begins, 3 * SECONDS_PER_DAY + 7, columns["elapsed_seconds"])
    cards = draw(card_tables(len(np.unique(card))))
    return make_table(columns, cards, np.cumsum(1 + dropped), user=draw(st.integers(1, 10_000)))
