"""The weights in a .safetensors file: the length of a header, the header in JSON, and the numbers of all tensors."""

import json
import math
import struct
from typing import Any

from rwkv.model.stored_weights import StoredWeight, stored_weight

_LENGTH = struct.Struct("<Q")
_METADATA = "__metadata__"

# Kinds of numbers as PyTorch names them, and their bytes.
_KINDS = {
    "F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
    "I64": ("int64", 8), "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1), "U64": ("uint64", 8),
    "U32": ("uint32", 4), "U16": ("uint16", 2), "U8": ("uint8", 1), "BOOL": ("bool", 1), "C64": ("complex64", 8),
    "F8_E4M3": ("float8_e4m3fn", 1), "F8_E5M2": ("float8_e5m2", 1),
}  # fmt: skip


def is_safetensors(data: bytes) -> bool:
    """Whether the bytes begin with the length of a JSON header and the header."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def read_tensors(data: bytes) -> dict[str, StoredWeight]:
    """The tensors in the bytes of a file, in the order of their numbers.

    Raises:
        ValueError, TypeError, LookupError or AttributeError: The header is damaged, or the tensors do not fill the file
            one after another.
    """
    header, start = _header(data)
    header.pop(_METADATA, None)
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        kind, size = _KINDS[entry["dtype"]]
        shape = tuple(entry["shape"])
        if not all(type(length) is int and length >= 0 for length in shape):
            raise ValueError("a tensor has invalid sizes")
        begin, stop = entry["data_offsets"]
        if begin != end or stop != begin + size * math.prod(shape):
            raise ValueError("a tensor has another place than its sizes say")
        tensors[name] = stored_weight(kind, shape, data[start + begin : start + stop])
        end = stop
    if start + end != len(data):
        raise ValueError(f"the tensors have {end} bytes, the file has {len(data) - start}")
    return tensors


def read_metadata(data: bytes) -> dict[str, str]:
    """The metadata in the bytes of a file. Raises as `read_tensors` does if the header is damaged."""
    metadata = _header(data)[0].get(_METADATA, {})
    return {str(key): str(value) for key, value in metadata.items()}


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The header, and where the numbers begin."""
    (length,) = _LENGTH.unpack_from(data)
    header = json.loads(data[_LENGTH.size : _LENGTH.size + length])
    if not isinstance(header, dict):
        raise ValueError("the header is no dictionary")
    return header, _LENGTH.size + length
