"""The parts of protobuf's wire format that Anki's tables use. Source: protobuf.dev, Encoding."""

import struct

from rwkv.errors import InputError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10

Value = int | bytes


def fields(message: bytes, where: str) -> dict[int, list[Value]]:
    """Decode a message.

    Returns:
        The values in order by field number: varints as int; texts, messages, packed and fixed values as bytes.

    Raises:
        InputError: The bytes are not a message.
    """
    values: dict[int, list[Value]] = {}
    place = 0
    while place < len(message):
        tag, place = _varint(message, place, where)
        kind = tag & 7
        value: Value
        if kind == _VARINT:
            value, place = _varint(message, place, where)
        else:
            if kind == _BYTES:
                size, place = _varint(message, place, where)
            elif kind in (_FIXED32, _FIXED64):
                size = 4 if kind == _FIXED32 else 8
            else:
                raise _damaged(where, f"wire type {kind}")
            value = message[place : place + size]
            place += size
        if place > len(message):
            raise _damaged(where, "a truncated value")
        values.setdefault(tag >> 3, []).append(value)
    return values


def message_field(message: dict[int, list[Value]], number: int) -> bytes | None:
    """The last value of a message or text field; None if unset."""
    values = message.get(number, [None])
    return values[-1] if isinstance(values[-1], bytes) else None


def float_field(message: dict[int, list[Value]], number: int) -> float | None:
    """The last value of a float field; None if unset."""
    values = float_list(message, number)
    return values[-1] if values else None


def float_list(message: dict[int, list[Value]], number: int) -> list[float]:
    """All values of a float field, packed or not, each as the shortest decimal of its float32."""
    raw = b"".join(value for value in message.get(number, []) if isinstance(value, bytes))
    return [_shortest(value) for (value,) in struct.iter_unpack("<f", raw[: len(raw) // 4 * 4])]


def _shortest(value: float) -> float:
    """The shortest decimal of a float32, as in Anki's JSON: 0.9, not 0.8999999761581421."""
    for digits in range(6, 10):
        text = f"{value:.{digits}g}"
        if struct.pack("<f", float(text)) == struct.pack("<f", value):
            return float(text)
    return value


def _varint(message: bytes, place: int, where: str) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(message[place : place + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, place + shift + 1
    raise _damaged(where, "an unterminated number")


def _damaged(where: str, got: str) -> InputError:
    what, hint = "A part of the collection is damaged.", "run Tools > Check Database in Anki, and export again"
    return InputError(what, where=where, got=got, expected="a protobuf message", hint=hint)
