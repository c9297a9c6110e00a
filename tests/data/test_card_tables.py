"""Notes, decks and presets of cards: joins, missing ids, large ids."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rwkv.data.revlogs import read_history
from tests.helpers import (
    DECKS,
    USER,
    Columns,
    assert_refused,
    cards_of,
    random_revlog,
    read_written,
    revlog_columns,
    with_value,
    write_history,
)


@pytest.fixture
def revlog() -> Columns:
    return random_revlog(1, 40, 8)


@pytest.mark.parametrize(("kind", "name"), [("cards", "card_id"), ("decks", "deck_id")])
def test_duplicate_ids_are_refused(tmp_path: Path, revlog: Columns, kind: str, name: str) -> None:
    tables: dict[str, Columns] = {"cards": cards_of(revlog), "decks": dict(DECKS)}
    tables[kind] = {key: np.append(column, np.asarray(column)[0]) for key, column in tables[kind].items()}
    assert_refused(tmp_path, revlog, "twice", name, str(np.asarray(tables[kind][name])[0]), **tables)


@pytest.mark.parametrize(("kind", "name"), [("cards", "card_id"), ("decks", "deck_id")])
def test_missing_keys_are_refused(tmp_path: Path, revlog: Columns, kind: str, name: str) -> None:
    tables: dict[str, Columns] = {"cards": cards_of(revlog), "decks": dict(DECKS)}
    tables[kind] = with_value(tables[kind], name, 0, np.nan)
    assert_refused(tmp_path, revlog, name, kind, **tables)


def test_without_cards_all_is_missing(tmp_path: Path, revlog: Columns) -> None:
    cards = read_written(tmp_path, revlog, cards=None, decks=DECKS).cards
    count = len(cards.note)
    assert cards.note_missing.all()
    assert cards.deck_missing.all()
    assert cards.preset_missing.all()
    assert cards.note.tolist() == list(range(count))
    assert cards.deck.tolist() == cards.preset.tolist() == [0] * count


def test_without_decks_only_presets_are_missing(tmp_path: Path, revlog: Columns) -> None:
    cards = read_written(tmp_path, revlog, cards=cards_of(revlog), decks=None).cards
    assert not cards.note_missing.any()
    assert not cards.deck_missing.any()
    assert cards.preset_missing.all()
    assert set(cards.preset.tolist()) == {0}
    assert set(cards.deck.tolist()) == {0, 1}


def test_some_missing_cards_and_decks(tmp_path: Path) -> None:
    """Cards 10 to 15: known; in no table; deck in no table; null note and deck; as the first; null preset."""
    revlog = revlog_columns([10, 11, 12, 13, 14, 15], np.arange(6))
    cards = {
        "card_id": [15, 14, 13, 12, 10, 99],
        "note_id": pa.array([1, 5, None, 5, 1, 7], pa.int64()),
        "deck_id": pa.array([3, 1, None, 2, 1, 1], pa.int64()),
    }
    decks = {"deck_id": [3, 1, 50], "preset_id": pa.array([None, 8, 8], pa.int64())}
    table = read_written(tmp_path, revlog, cards, decks).cards
    assert table.note_missing.tolist() == [False, True, False, True, False, False]
    assert table.deck_missing.tolist() == [False, True, False, True, False, False]
    assert table.preset_missing.tolist() == [False, True, True, True, False, True]
    assert table.note.tolist() == [0, 1, 2, 3, 2, 0]
    assert table.deck.tolist() == [0, 1, 2, 1, 0, 3]
    assert table.preset.tolist() == [0, 1, 1, 1, 0, 1]


def test_missing_ids_may_be_nan_in_float_columns(tmp_path: Path) -> None:
    revlog = revlog_columns([1, 2, 3], np.arange(3))
    cards = {"card_id": [1, 2, 3], "note_id": [4.0, np.nan, 4.0], "deck_id": [np.nan, 0.0, 1.0]}
    table = read_written(tmp_path, revlog, cards, DECKS).cards
    assert table.note_missing.tolist() == [False, True, False]
    assert table.note.tolist() == [0, 1, 0]
    assert table.deck_missing.tolist() == [True, False, False]
    assert table.deck.tolist() == [0, 1, 2]


def test_empty_tables_of_cards_and_decks(tmp_path: Path, revlog: Columns) -> None:
    empty = {"cards": pa.table(dict(cards_of(revlog))).slice(0, 0), "decks": pa.table(dict(DECKS)).slice(0, 0)}
    expected = read_written(tmp_path / "without", revlog).cards
    cards = read_written(tmp_path / "empty", revlog, **empty).cards
    for name, column in vars(expected).items():
        np.testing.assert_array_equal(getattr(cards, name), column, err_msg=name)


def test_ids_zero_and_minus_one_are_not_missing(tmp_path: Path) -> None:
    """Ids 0 and -1 are ids like any others, also beside missing ones."""
    revlog = revlog_columns([0, -1, 5, 6], np.arange(4))
    cards = {"card_id": [0, -1, 5], "note_id": [0, -1, -1], "deck_id": pa.array([0, -1, None], pa.int64())}
    table = read_written(tmp_path, revlog, cards, {"deck_id": [0, -1], "preset_id": [-1, 0]}).cards
    assert table.note.tolist() == [0, 1, 1, 2]
    assert table.deck.tolist() == [0, 1, 2, 2]
    assert table.preset.tolist() == [0, 1, 2, 2]
    assert table.note_missing.tolist() == [False, False, False, True]


def test_published_missing_notes_are_joined_in_float64(tmp_path: Path) -> None:
    ids = np.arange(1, 300)
    revlog = revlog_columns(ids, np.arange(len(ids)))
    cards = {"card_id": ids[::2], "note_id": ids[::2] // 3, "deck_id": ids[::2] * 0}
    write_history(tmp_path, USER, revlog, cards, DECKS)
    published, own = (read_history(tmp_path, USER, missing).cards for missing in ("published", "own"))
    missing = published.note_missing
    assert missing.tolist() == own.note_missing.tolist() == [i % 2 == 1 for i in range(len(ids))]
    blocks = (ids + 314159265358979323).astype(np.float64)
    for block in np.unique(blocks):
        assert len(np.unique(published.note[missing & (blocks == block)])) == 1
    assert len(np.unique(published.note[missing])) == len(np.unique(blocks[missing])) < missing.sum()
    assert len(np.unique(own.note[missing])) == missing.sum()
    for notes in (published.note, own.note):
        assert not set(notes[missing]) & set(notes[~missing])
        assert len(np.unique(notes[~missing])) == len(np.unique(ids[::2] // 3))
    np.testing.assert_array_equal(published.deck, own.deck)
    np.testing.assert_array_equal(published.preset, own.preset)


def test_published_missing_notes_have_one_code(tmp_path: Path) -> None:
    """Cards 1 and 2 have a note, of 5 and 300 it is missing: far enough apart for streams of their own."""
    revlog = revlog_columns([1, 5, 2, 300, 5], np.arange(5))
    cards = {"card_id": [1, 2], "note_id": [7, 8], "deck_id": [0, 0]}
    write_history(tmp_path, USER, revlog, cards, DECKS)
    published, own = (read_history(tmp_path, USER, missing) for missing in ("published", "own"))
    assert published.cards.note.tolist() == own.cards.note.tolist() == [0, 1, 2, 3]
    assert published.note_code.tolist() == [0, 1, 2, 1]
    assert own.note_code.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("offset", [1_700_000_000_000, 2**62, -(2**62)])
def test_large_ids_stay_distinct(tmp_path: Path, revlog: Columns, offset: int) -> None:
    """Epoch milliseconds, and ids that float64 could not tell apart: the same entities as with small ids."""
    cards = cards_of(revlog)

    def shifted(columns: Columns) -> Columns:
        ids = {
            name: np.asarray(columns[name]) + offset for name in columns if name.endswith("_id") and name != "parent_id"
        }
        return {**columns, **ids}

    expected = read_written(tmp_path / "small", revlog, cards, DECKS)
    table = read_written(tmp_path / "large", shifted(revlog), shifted(cards), shifted(DECKS))
    np.testing.assert_array_equal(table.card, expected.card)
    for name, column in vars(expected.cards).items():
        np.testing.assert_array_equal(getattr(table.cards, name), column, err_msg=name)


def test_the_least_and_greatest_ids(tmp_path: Path) -> None:
    least, greatest = -(2**63), 2**63 - 1
    revlog = revlog_columns([least, greatest, least], [0, 1, 2])
    cards = {"card_id": [greatest, least], "note_id": [least, greatest], "deck_id": [greatest, least]}
    decks = {"deck_id": [least, greatest], "preset_id": [greatest, least]}
    table = read_written(tmp_path, revlog, cards, decks)
    assert table.card.tolist() == [0, 1, 0]
    assert table.cards.note.tolist() == table.cards.deck.tolist() == table.cards.preset.tolist() == [0, 1]
    assert not table.cards.preset_missing.any()
