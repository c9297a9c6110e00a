"""Lossless compression of a user's recorded history. Derived columns are computed when it is read.

Each column is rewritten as small integers, differences from a prediction by the other columns, and split into byte
planes. All planes together are compressed with Zstandard. A history is compressed in parts, so that a segment is read
without all others; its cards are a value of their own.
"""

import struct
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
import zstandard

from rwkv.arrays import AnyInts, Bools, Int32s, Ints
from rwkv.data.excerpts import Excerpt, Running, Start
from rwkv.data.history import CardTable, RevlogTable, order_by_card, steps
from rwkv.vocab import SECONDS_PER_DAY

_LEVEL = 9
_COLUMN = struct.Struct("<BxxxI")  # width in bytes, entries
_WIDTHS = (1, 2, 4, 8)


@dataclass(frozen=True)
class StoredHistory:
    """A history, and whether each of its reviews is a benchmark key, bool [R]."""

    table: RevlogTable
    is_key: Bools


@dataclass(frozen=True)
class _Origin:
    """Values just before the first row of a table: its review_th, its day_offset, and the number of earlier cards."""

    review_th: int
    day: int
    cards: int


_BEGINNING = _Origin(0, 0, 0)


def encode_cards(cards: CardTable) -> bytes:
    """Compress the cards of a history."""
    missing = cards.note_missing.astype(np.int64) + 2 * cards.deck_missing.astype(np.int64) + 4 * cards.preset_missing
    return _compressed([_to_appearance(cards.note, 0), cards.deck, cards.preset, missing])


def decode_cards(data: bytes) -> CardTable:
    """Decompress the result of `encode_cards`."""
    return _card_table(_unpack_all(_decompressed(data)))


def encode_part(excerpt: Excerpt) -> bytes:
    """Compress an excerpt without its cards and notices."""
    table, own, past = excerpt.table, excerpt.own, excerpt.past
    origin = _Origin(int(table.review_th[0]), int(table.day_offset[0]), excerpt.start.cards)
    head = np.array([own.start, own.stop, *astuple(excerpt.start), origin.review_th, origin.day])
    sums = [steps(past.new_cards, 0), past.elapsed_days, past.elapsed_s - SECONDS_PER_DAY * past.elapsed_days]
    return _compressed([head, *sums, *_review_columns(table, origin), excerpt.is_key])


def decode_part(user: int, data: bytes, cards: CardTable) -> Excerpt:
    """Decompress the result of `encode_part`."""
    head, new_cards, days, seconds, *review_columns, is_key = _unpack_all(_decompressed(data))
    first, last, *start, review_th, day = head.tolist()
    before = Start(*start)
    sum_days = days.astype(np.int64)
    return Excerpt(
        table=_table(user, review_columns, cards, _Origin(review_th, day, before.cards)),
        is_key=is_key.astype(bool),
        own=slice(first, last),
        start=before,
        past=Running(_sums(new_cards, 0), sum_days, seconds + SECONDS_PER_DAY * sum_days),
    )


def decode_whole_history(user: int, data: bytes) -> StoredHistory:
    """Decompress a history that an earlier version stored as one value."""
    *review_columns, note, deck, preset, missing, is_key = _unpack_all(_decompressed(data))
    cards = _card_table([note, deck, preset, missing])
    return StoredHistory(_table(user, review_columns, cards, _BEGINNING), is_key.astype(bool))


def _card_table(columns: list[AnyInts]) -> CardTable:
    note, deck, preset, missing = columns
    return CardTable(
        note=_from_appearance(note, 0),
        deck=deck.astype(np.int32),
        preset=preset.astype(np.int32),
        note_missing=(missing & 1).astype(bool),
        deck_missing=(missing & 2).astype(bool),
        preset_missing=(missing & 4).astype(bool),
    )


def _compressed(columns: Sequence[AnyInts | Bools]) -> bytes:
    return zstandard.ZstdCompressor(_LEVEL, write_checksum=True).compress(b"".join(map(_pack, columns)))


def _decompressed(data: bytes) -> bytes:
    """Decompress in parts, so that memory follows the actual size and not a damaged header."""
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    content = decompressor.decompress(data)
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("the compressed columns are truncated, or followed by other data")
    return content


def _review_columns(table: RevlogTable, origin: _Origin) -> list[AnyInts]:
    day = table.day_offset.astype(np.int64)
    days = table.elapsed_days.astype(np.int64)
    return [
        steps(table.review_th, origin.review_th) - 1,
        _to_appearance(table.card, origin.cards),
        table.rating,
        table.state,
        table.duration_ms,
        steps(table.day_offset, origin.day),
        days - _expected_days(day, table.card),
        table.elapsed_s - SECONDS_PER_DAY * days,
    ]


def _table(user: int, columns: list[AnyInts], cards: CardTable, origin: _Origin) -> RevlogTable:
    review_th, card, rating, state, duration, day_steps, days, seconds = columns
    day = _sums(day_steps, origin.day)
    card_number = _from_appearance(card, origin.cards)
    elapsed_days = days + _expected_days(day, card_number)
    return RevlogTable(
        user=user,
        review_th=(_sums(review_th, origin.review_th) + np.arange(1, len(day) + 1)).astype(np.int32),
        card=card_number,
        rating=rating.astype(np.int8),
        state=state.astype(np.int8),
        duration_ms=duration.astype(np.int64),
        day_offset=day.astype(np.int32),
        elapsed_days=elapsed_days.astype(np.int32),
        elapsed_s=seconds + SECONDS_PER_DAY * elapsed_days,
        cards=cards,
    )


def _sums(steps: AnyInts, before: int) -> Ints:
    return before + np.cumsum(steps, dtype=np.int64)


def _expected_days(day: Ints, card: Int32s) -> Ints:
    """The elapsed_days by day_offset alone; -1 for a card's first row."""
    previous = order_by_card(card).previous
    return np.where(previous >= 0, day - day[previous], -1)


def _to_appearance(number: Int32s, earlier: int) -> Ints:
    """Encode numbers in order of first appearance: 0 for a new one, else the distance from the newest plus 1.

    earlier: The count of numbers that appeared before.
    """
    newest = np.maximum(np.maximum.accumulate(number.astype(np.int64)), earlier - 1)
    is_new = np.diff(newest, prepend=earlier - 1) > 0
    return np.where(is_new, 0, newest - number + 1)


def _from_appearance(distance: AnyInts, earlier: int) -> Int32s:
    newest = earlier - 1 + np.cumsum(distance == 0)
    return np.where(distance == 0, newest, newest - distance + 1).astype(np.int32)


def _pack(column: AnyInts | Bools) -> bytes:
    """Pack integers: zigzag encoding, the narrowest width, byte planes."""
    values = column.astype(np.int64)
    zigzag = ((values << 1) ^ (values >> 63)).astype(np.uint64)
    largest = int(zigzag.max(initial=0))
    width = next(width for width in _WIDTHS if largest < 1 << (8 * width))
    planes = zigzag.astype(f"<u{width}").view(np.uint8).reshape(-1, width).T
    return _COLUMN.pack(width, len(values)) + planes.tobytes()


def _unpack_all(data: bytes) -> list[AnyInts]:
    """The packed columns, each of the narrowest signed dtype."""
    columns: list[AnyInts] = []
    position = 0
    while position < len(data):
        width, entries = _COLUMN.unpack_from(data, position)
        position += _COLUMN.size
        planes = np.frombuffer(data, np.uint8, width * entries, position).reshape(width, entries)
        zigzag = np.ascontiguousarray(planes.T).view(f"<u{width}").reshape(entries)
        columns.append(((zigzag >> 1) ^ -(zigzag & 1)).view(f"<i{width}"))
        position += width * entries
    return columns
