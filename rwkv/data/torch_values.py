"""Reads an int32 tensor that torch.save wrote, without torch and without running code from the file."""

import io
import pickle
import zipfile
from typing import Any

import numpy as np

from rwkv.data.decoding import decoding
from rwkv.data.history import Int32s

MAGIC = b"PK\x03\x04"


class _TensorUnpickler(pickle.Unpickler):
    """Knows the three names in the pickle of a plain tensor; each gives back its arguments, nothing is called."""

    _KNOWN = ("_rebuild_tensor_v2", "IntStorage", "OrderedDict")

    def find_class(self, module: str, name: str) -> Any:
        if name not in self._KNOWN:
            raise pickle.UnpicklingError(f"unexpected {module}.{name}")
        return name if name == "IntStorage" else lambda *arguments: arguments

    def persistent_load(self, pid: Any) -> Any:
        return pid


def read_int32_tensor(value: bytes, where: str = "") -> Int32s:
    """The entries of a contiguous 1-dimensional int32 tensor. Raises StoreError, naming `where`, for anything else."""
    with decoding("A stored value is not an int32 tensor.", where), zipfile.ZipFile(io.BytesIO(value)) as archive:
        folder = archive.namelist()[0].split("/")[0]
        tensor = _TensorUnpickler(io.BytesIO(archive.read(f"{folder}/data.pkl"))).load()
        (_, kind, key, _, _), offset, size, stride = tensor[:4]
        if kind != "IntStorage" or len(size) != 1 or tuple(stride) != (1,):
            raise pickle.UnpicklingError(f"a {kind} of size {size}")
        data = archive.read(f"{folder}/data/{key}")
        return np.frombuffer(data, "<i4", size[0], 4 * offset).astype(np.int32)
