"""A packed file of columns, read and written by NumPy and zstd: the tables of a collection that a command has read.

The file is an .npz archive in a zstd frame with a checksum. Column NAME is the array NAME, or for texts NAME.text, the
UTF-8 bytes of a JSON list. NAME.missing is the mask of a column with missing values.
"""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from rwkv.data.tables import Column, Columns, Form, lacking_columns
from rwkv.errors import HistoryError
from rwkv.files import file_errors, write_whole

_TEXT, _MISSING = ".text", ".missing"
_FORMS: dict[str, Form] = {"i": "integer", "f": "real", "b": "flag"}
# The errors of reading damaged bytes.
_DAMAGE = (
    zstandard.ZstdError,
    zipfile.BadZipFile,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    MemoryError,
    RecursionError,
)


def write_columns(path: Path, columns: Columns) -> None:
    """Write columns of int64, float64, bool or str objects atomically. Masked values are missing."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, column in columns.items():
        values = np.ma.getdata(column)
        if values.dtype == object:
            arrays[name + _TEXT] = np.frombuffer(json.dumps(values.tolist()).encode(), np.uint8)
        else:
            arrays[name] = values
        if np.ma.is_masked(column):
            arrays[name + _MISSING] = np.ma.getmaskarray(column)
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    write_whole(path, zstandard.ZstdCompressor(write_checksum=True).compress(stream.getvalue()))


def read_file(file: Path, where: str, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Column]:
    """The columns of one file: all of `names`, and those of `optional` that it has. Raises HistoryError."""
    with file_errors(file):
        data = file.read_bytes()
    try:
        with np.load(io.BytesIO(zstandard.decompress(data)), allow_pickle=False) as archive:
            present = [name.removesuffix(_TEXT) for name in archive.files if not name.endswith(_MISSING)]
            lacking_columns(names, present, where)
            columns = {name: _column(archive, name) for name in (*names, *optional) if name in present}
            if len({len(column.values) for column in columns.values()}) > 1:
                raise ValueError("the columns have different lengths")
            return columns
    except _DAMAGE as error:
        raise HistoryError("A file of columns is damaged.", where=where, got=str(error)) from error


def _column(archive: Any, name: str) -> Column:
    if name + _TEXT in archive:
        values = _texts(json.loads(archive[name + _TEXT].tobytes()))
        form: Form = "text"
    else:
        values = archive[name]
        form = _FORMS[values.dtype.kind]
    mask = archive[name + _MISSING] if name + _MISSING in archive else np.zeros(values.shape, bool)
    if values.ndim != 1 or mask.shape != values.shape or mask.dtype != bool:
        raise ValueError(f"column {name} has shape {values.shape} and a mask of shape {mask.shape}")
    return Column(form, form, values, mask)


def _texts(content: object) -> npt.NDArray[np.object_]:
    if not isinstance(content, list) or not all(isinstance(text, str) for text in content):
        raise TypeError("a column of texts has other values")
    return np.array([*content, None], object)[:-1]
