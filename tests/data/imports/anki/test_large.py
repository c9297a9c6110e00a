"""Large collections: the same result, in memory of a fixed number of bytes for each review and card."""

import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import numpy as np

from rwkv.data.imports.anki.archive import opened
from rwkv.data.imports.anki.read import read_anki
from rwkv.data.imports.imported import ImportChoices, review_columns
from tests.data.imports.anki.small import CREATED_S, write_collection_file

CARDS, ROUNDS = 20_000, 5

# Seven columns of 8 bytes and what the rules need beside them; a card has a dozen columns and its texts.
BYTES_A_REVIEW, BYTES_A_CARD = 150, 350


def test_many_cards(tmp_path: Path) -> None:
    path = write_collection_file(tmp_path / "large.anki2", [])
    start_ms = CREATED_S * 1000
    with closing(sqlite3.connect(path)) as database, database:
        # The field is long, so that keeping whole fields would show.
        database.executemany(
            "INSERT INTO notes VALUES (?, '', 1, 0, 0, '', ?, 0, 0, 0, '')",
            ((card, f"word {card}\x1f{'x' * 2000}") for card in range(1, CARDS + 1)),
        )
        database.executemany(
            "INSERT INTO cards VALUES (?, ?, 1, 0, 0, 0, 2, 2, 7, 3, 2500, 1, 0, 0, 0, 0, 0, '')",
            ((card, card) for card in range(1, CARDS + 1)),
        )
        database.executemany(
            "INSERT INTO revlog VALUES (?, ?, 0, 3, 1, 1, ?, 5000, ?)",
            (
                (start_ms + 7000 * (turn * CARDS + card), card, 2500 * (turn > 0), int(turn > 0))
                for turn in range(ROUNDS)
                for card in range(1, CARDS + 1)
            ),
        )
    tracemalloc.start()
    try:
        with opened(path) as source:
            user = read_anki(source, ImportChoices(), by_anki=False)
        revlog = review_columns(user.reviews, user.clock, "published")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < BYTES_A_REVIEW * CARDS * ROUNDS + BYTES_A_CARD * CARDS
    assert len(revlog["card_id"]) == CARDS * ROUNDS
    is_first = revlog["elapsed_seconds"] == -1
    assert is_first.sum() == CARDS
    assert set(revlog["elapsed_seconds"][~is_first].tolist()) == {7 * CARDS}
    assert user.card_list.note[-1] == f"word {CARDS}"
    assert np.all(user.card_list.due_day == 7)
