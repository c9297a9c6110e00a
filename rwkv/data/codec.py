"""Lossless compression of a user's recorded history. Derived columns are computed when it is read.

Each column is rewritten as small integers, differences from a prediction by the other columns, and split into byte
planes. All planes together are compressed with Zstandard.
"""

import struct
from dataclasses import dataclass

import numpy as np
import zstandard

from rwkv.arrays import Bools, Int32s, Ints
from rwkv.data.history import CardTable, RevlogTable, order_by_card
from rwkv.vocab import SECONDS_PER_DAY

_LEVEL = 9
_COLUMN = struct.Struct("<BxxxI")  # width in bytes, entries
_WIDTHS = (1, 2, 4, 8)


@dataclass(frozen=True)
class StoredHistory:
    """A history, and whether each of its reviews is a benchmark key, bool [R]."""

    table: RevlogTable
    is_key: Bools


def encode_history(stored: StoredHistory) -> bytes:
    """Compress a history without its notices."""
    columns = _review_columns(stored.table) + _card_columns(stored.table.cards) + [stored.is_key.astype(np.int64)]
    return zstandard.ZstdCompressor(_LEVEL, write_checksum=True).compress(b"".join(map(_pack, columns)))


def decode_history(user: int, data: bytes) -> StoredHistory:
    """Decompress the result of `encode_history`."""
    columns = _unpack_all(_decompressed(data))
    *review_columns, note, deck, preset, missing, is_key = columns
    cards = CardTable(
        note=_from_appearance(note),
        deck=deck.astype(np.int32),
        preset=preset.astype(np.int32),
        note_missing=(missing & 1).astype(bool),
        deck_missing=(missing & 2).astype(bool),
        preset_missing=(missing & 4).astype(bool),
    )
    return StoredHistory(_table(user, review_columns, cards), is_key.astype(bool))


def _decompressed(data: bytes) -> bytes:
    """Decompress in parts, so that memory follows the actual size and not a damaged header."""
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    content = decompressor.decompress(data)
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("the compressed columns are truncated, or followed by other data")
    return content


def _review_columns(table: RevlogTable) -> list[Ints]:
    day = table.day_offset.astype(np.int64)
    days = table.elapsed_days.astype(np.int64)
    return [
        _steps(table.review_th) - 1,
        _to_appearance(table.card),
        table.rating.astype(np.int64),
        table.state.astype(np.int64),
        table.duration_ms,
        _steps(table.day_offset),
        days - _expected_days(day, table.card),
        table.elapsed_s - SECONDS_PER_DAY * days,
    ]


def _table(user: int, columns: list[Ints], cards: CardTable) -> RevlogTable:
    review_th, card, rating, state, duration, day, days, seconds = columns
    day = np.cumsum(day)
    card_number = _from_appearance(card)
    elapsed_days = days + _expected_days(day, card_number)
    return RevlogTable(
        user=user,
        review_th=np.cumsum(review_th + 1).astype(np.int32),
        card=card_number,
        rating=rating.astype(np.int8),
        state=state.astype(np.int8),
        duration_ms=duration,
        day_offset=day.astype(np.int32),
        elapsed_days=elapsed_days.astype(np.int32),
        elapsed_s=seconds + SECONDS_PER_DAY * elapsed_days,
        cards=cards,
    )


def _card_columns(cards: CardTable) -> list[Ints]:
    missing = cards.note_missing + 2 * cards.deck_missing.astype(np.int64) + 4 * cards.preset_missing
    return [_to_appearance(cards.note), cards.deck.astype(np.int64), cards.preset.astype(np.int64), missing]


def _steps(values: Int32s) -> Ints:
    return np.diff(values.astype(np.int64), prepend=0).astype(np.int64)


def _expected_days(day: Ints, card: Int32s) -> Ints:
    """The elapsed_days by day_offset alone; -1 for a card's first row."""
    previous = order_by_card(card).previous
    return np.where(previous >= 0, day - day[previous], -1)


def _to_appearance(number: Int32s) -> Ints:
    """Encode numbers in order of first appearance: 0 for a new one, else the distance from the newest plus 1."""
    newest = np.maximum.accumulate(number)
    is_new = np.diff(newest, prepend=-1) > 0
    return np.where(is_new, 0, newest - number + 1).astype(np.int64)


def _from_appearance(distance: Ints) -> Int32s:
    newest = np.cumsum(distance == 0) - 1
    return np.where(distance == 0, newest, newest - distance + 1).astype(np.int32)


def _pack(values: Ints) -> bytes:
    """Pack integers: zigzag encoding, the narrowest width, byte planes."""
    zigzag = ((values << 1) ^ (values >> 63)).astype(np.uint64)
    largest = int(zigzag.max(initial=0))
    width = next(width for width in _WIDTHS if largest < 1 << (8 * width))
    planes = zigzag.astype(f"<u{width}").view(np.uint8).reshape(-1, width).T
    return _COLUMN.pack(width, len(values)) + planes.tobytes()


def _unpack_all(data: bytes) -> list[Ints]:
    columns, position = [], 0
    while position < len(data):
        width, entries = _COLUMN.unpack_from(data, position)
        position += _COLUMN.size
        planes = np.frombuffer(data, np.uint8, width * entries, position).reshape(width, entries)
        zigzag = np.ascontiguousarray(planes.T).view(f"<u{width}").reshape(entries).astype(np.uint64)
        columns.append((zigzag >> np.uint64(1)).astype(np.int64) ^ -(zigzag & np.uint64(1)).astype(np.int64))
        position += width * entries
    return columns
