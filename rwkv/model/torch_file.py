"""The weights in a file by torch.save, read without PyTorch and without running anything in the file.

Such a file holds a pickle of tensors, whose numbers lie beside it: in a zip archive, or one after another in the form
before PyTorch 1.6. A pickle is a program of a small stack machine. Of that, only what builds dictionaries, lists and
tensors is done here, and the calls of other functions are refused.
"""

import io
import pickletools
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from rwkv.model.stored_weights import FLOATS, Storage, StoredWeight

# The first two numbers in the older form.
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_HEADER_OF_RECORD = 30

# The kind of a storage's numbers by the name of its class. The classes of other kinds of numbers end in Storage, too.
_DTYPES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "ByteStorage": "uint8", "CharStorage": "int8", "ShortStorage": "int16", "IntStorage": "int32",
    "LongStorage": "int64", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}  # fmt: skip
# Bytes of a number, where it is not one.
_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "complex64": 8,
    "complex128": 16,
}  # fmt: skip


class ForeignContent(Exception):
    """The pickle asks for something else than dictionaries, lists and tensors."""


class _Name(str):
    """A class or function that a pickle names, such as "torch._utils._rebuild_tensor_v2"."""


def read_archive(data: bytes) -> object:
    """The content of a zip archive, with StoredWeights in place of tensors.

    Raises:
        ForeignContent: It is not made of dictionaries, lists and tensors.
        Exception: The archive is damaged.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {info.filename: info for info in archive.infolist()}
        (pickle,) = (name for name in records if name.endswith("/data.pkl") or name == "data.pkl")
        folder = pickle.removesuffix("data.pkl")

        def read(name: str) -> bytes:
            return _record(archive, records[folder + name], data)

        is_big_endian = folder + "byteorder" in records and read("byteorder") == b"big"
        storages: dict[str, Storage] = {}

        def storage(dtype: str, key: str, count: int) -> Storage:
            if key not in storages:
                storages[key] = Storage(dtype, count, read(f"data/{key}"), is_big_endian)
            return storages[key]

        return _run(io.BytesIO(read("data.pkl")), storage)


def _record(archive: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes) -> bytes:
    """The bytes of a record. Those without a checksum, which torch.save can leave out, are not checked."""
    if info.CRC or info.compress_type != zipfile.ZIP_STORED:
        return archive.read(info)
    header = data[info.header_offset : info.header_offset + _HEADER_OF_RECORD]
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = info.header_offset + _HEADER_OF_RECORD + names
    return data[start : start + info.file_size]


def read_older_form(data: bytes) -> object:
    """Like `read_archive`, for the form before PyTorch 1.6."""
    file = io.BytesIO(data)
    storages: dict[str, Storage] = {}

    def storage(dtype: str, key: str, count: int) -> Storage:
        return storages.setdefault(key, Storage(dtype, count))

    if _run(file, storage) != _MAGIC or _run(file, storage) != _PROTOCOL:
        raise ValueError("not a file by torch.save")
    system = _run(file, storage)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("not in the order of bytes of this form")
    content, keys = _run(file, storage), _run(file, storage)
    if not isinstance(keys, list) or set(keys) != storages.keys():
        raise ValueError("other storages than those of the tensors")
    for key in keys:
        _fill(storages[key], file)
    return content


def _fill(storage: Storage, file: BinaryIO) -> None:
    if int.from_bytes(file.read(8), "little") != storage.count:
        raise ValueError("a storage has another size than its tensors say")
    size = storage.count * _BYTES.get(storage.dtype, 1)
    storage.data = file.read(size)
    if len(storage.data) != size:
        raise ValueError("a storage is truncated")


# --- The pickle

FindStorage = Callable[[str, str, int], Storage]


def _run(file: BinaryIO, find_storage: FindStorage) -> Any:
    """Run one pickle up to its end, and return what it builds."""
    machine = _Machine(find_storage)
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "STOP":
            break
        machine.do(operation.name, argument)
    return machine.stack.pop()


class _Machine:
    """The stack machine of a pickle."""

    def __init__(self, find_storage: FindStorage) -> None:
        self._find_storage = find_storage
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        """Do one operation."""
        stack = self.stack
        if name in _PUSHED:
            stack.append(_PUSHED[name]())
        elif name in _GIVEN:
            stack.append(argument)
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[len(stack) - count :] = [tuple(stack[len(stack) - count :])]
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "MARK":
            self._below.append(stack)
            self.stack = []
        elif name == "GLOBAL":
            stack.append(_known(argument))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = stack.pop()
            stack.append(_call(stack.pop(), arguments))
        elif name == "BINPERSID":
            stack.append(self._storage(*stack.pop()))
        elif name == "BUILD":
            stack.pop()  # what a tensor or dictionary has besides its contents
        elif name != "PROTO":
            self._collect(name)

    def _collect(self, name: str) -> None:
        """Add to a container the latest entry, or all since the mark."""
        if name in ("APPEND", "SETITEM"):
            count = 1 if name == "APPEND" else 2
            items, self.stack = self.stack[-count:], self.stack[:-count]
        elif name in ("TUPLE", "APPENDS", "SETITEMS"):
            items, self.stack = self.stack, self._below.pop()
        else:
            raise ForeignContent(name)
        if name == "TUPLE":
            self.stack.append(tuple(items))
        elif name.startswith("APPEND"):
            _need(self.stack[-1], list).extend(items)
        else:
            _need(self.stack[-1], dict).update(_dictionary(zip(items[::2], items[1::2], strict=True)))

    def _storage(self, what: str, kind: str, key: str, _: str, count: int, view: None = None) -> Storage:
        """The storage that a pickle refers to."""
        if what != "storage" or view is not None or type(count) is not int or count < 0:
            raise ValueError("a storage of another kind")
        name = _need(kind, _Name).rsplit(".", 1)[-1]
        return self._find_storage(_DTYPES.get(name, name), _text(key), count)


_PUSHED: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple,
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
}  # fmt: skip
_GIVEN = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING")
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _need(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} in place of {kind.__name__}")
    return value


def _text(value: Any) -> str:
    """A string or a number as a string. Nested tuples could have strings and hashes that take forever."""
    if not isinstance(value, str | int):
        raise TypeError(f"{type(value).__name__} in place of str")
    return str(value)


def _dictionary(pairs: Iterable[Any] = ()) -> dict[Any, Any]:
    contents = {}
    for key, value in pairs:
        _text(key)
        contents[key] = value
    return contents


# --- What a pickle may name and call

# Modules all of whose names may be named; only what is in _CALLS may be called.
_MODULES = ("torch", "torch.storage", "torch.nn.parameter")


def _known(argument: str) -> _Name:
    module, name = argument.split(" ", 1)
    full = f"{module}.{name}"
    if full not in _CALLS and module not in _MODULES:
        raise ForeignContent(full)
    return _Name(full)


def _call(name: Any, arguments: Any) -> Any:
    if type(name) is not _Name or name not in _CALLS:
        raise ForeignContent(name if isinstance(name, str) else type(name).__name__)
    return _CALLS[name](*_need(arguments, tuple))


def _dense(storage: Storage, start: int, shape: Any, strides: Any, *rest: Any) -> StoredWeight:
    """A tensor from its storage; the last of `rest` may be a dictionary of flags."""
    if _need(storage, Storage).dtype not in FLOATS:
        return StoredWeight(storage.dtype)
    numbers = (_need(start, int), *(_need(number, int) for number in (*shape, *strides)))
    if len(shape) != len(strides) or min(numbers) < 0:
        raise ValueError("a tensor has invalid sizes")
    flags = rest[2] if len(rest) > 2 and isinstance(rest[2], dict) else {}
    return StoredWeight(storage.dtype, tuple(shape), storage, start, tuple(strides), bool(flags.get("neg", False)))


def _without_class(*arguments: Any) -> StoredWeight:
    """A tensor whose numbers have no class of storage, as the rarer kinds of numbers; the seventh is their kind."""
    return StoredWeight(_need(arguments[6], _Name).removeprefix("torch."))


def _of_class(call: _Name, kind: _Name, arguments: Any, *_: Any) -> Any:
    """A tensor of a class; only that of plain tensors and buffers is known."""
    if kind not in ("torch.Tensor", "torch.nn.parameter.Buffer"):
        raise ForeignContent(_text(kind))
    return _call(call, arguments)


def _is_weight(value: Any, *_: Any) -> StoredWeight:
    weight: StoredWeight = _need(value, StoredWeight)
    return weight


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dictionary,
    "torch.Size": lambda sizes: tuple(sizes),
    "torch.serialization._get_layout": lambda layout: _text(layout).removeprefix("torch."),
    "torch._tensor._rebuild_from_type_v2": _of_class,
    "torch._utils._rebuild_tensor": _dense,
    "torch._utils._rebuild_tensor_v2": _dense,
    "torch._utils._rebuild_tensor_v3": _without_class,
    "torch._utils._rebuild_parameter": _is_weight,
    "torch._utils._rebuild_parameter_with_state": _is_weight,
    "torch._utils._rebuild_sparse_tensor": lambda layout, *_: StoredWeight(_text(layout)),
    "torch._utils._rebuild_qtensor": lambda *_: StoredWeight("quantised"),
    "torch._utils._rebuild_meta_tensor_no_storage": lambda *_: StoredWeight("meta (without values)"),
    "torch._utils._rebuild_nested_tensor": lambda *_: StoredWeight("nested"),
}
