"""The door to files of weights: the published form, safetensors, and optimiser states (spec 4 and 5)."""

import hashlib
import io
import json
import lzma
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from rwkv.errors import CheckpointError
from rwkv.files import file_errors, write_whole
from rwkv.model.network import Network, frozen_network
from rwkv.model.shapes import clipped, differences, odd_kind, shapes_of, spec_of, spec_text, stated_spec

_EXPECTED = "a state_dict of tensors saved by torch, or a .safetensors file"
# More than an optimiser's state in float32 of the largest network that can be configured, see rwkv/config.py.
_MOST_BYTES = 1 << 30
_ZIP = b"PK\x03\x04"
# Where our .safetensors files keep the fingerprint of their weights, and the sizes of the network.
_CHECKSUM, _SPEC = "rwkv.fingerprint", "rwkv.spec"

# What has been seen to be raised on bytes that are no checkpoint, or were one before some of them changed.
_UNREADABLE = (
    RuntimeError,
    pickle.UnpicklingError,
    safetensors.SafetensorError,
    zipfile.BadZipFile,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)


def load_network(path: Path, device: torch.device, dtype: torch.dtype) -> Network:
    """A network of the file's sizes, ready to predict, on `device`, computing in `dtype`.

    Raises CheckpointError, see `read_weights`.
    """
    weights = read_weights(path)
    return frozen_network(weights, dtype, spec_of(weights)).to(device)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The float32 weights in a `.pth` or `.safetensors` file, in the order of the network.

    The sizes of the network are those that the file states, else those of the weights' shapes, see `spec_of`. Never
    runs code from the file. Raises CheckpointError where the file is missing, damaged as far as its checksums tell, or
    holds other weights, naming what is missing, unexpected, of another kind or of another shape; InputError where it
    cannot be read at all.
    """
    content, metadata = _content(path)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError("The file holds no weights.", where=str(path), expected=_EXPECTED)
    with _reading(path):
        spec = stated_spec(metadata[_SPEC]) if _SPEC in metadata else spec_of(content)
    problems = differences(content, spec)
    if problems:
        raise CheckpointError("\n    ".join(["The file does not hold this network:", *problems]), where=str(path))
    held = {name: content[name] for name in shapes_of(spec)}
    if _CHECKSUM in metadata and metadata[_CHECKSUM] != weights_fingerprint(held):
        raise _damaged(path, "the weights are not those of the checksum in the file's metadata")
    # Kernels read weights row by row, in whatever layout they were saved.
    return {name: weight.detach().resolve_neg().to(torch.float32).contiguous() for name, weight in held.items()}


def write_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a state_dict; the file appears whole or not at all.

    In the published form, or, where the path says `.safetensors`, in that form with a checksum, the sizes of the
    network and other metadata.
    """
    held = {name: weight.detach().cpu() for name, weight in weights.items()}
    if path.suffix.lower() != ".safetensors":
        write_whole(path, _saved(held))
        return
    dense = {name: weight.contiguous() for name, weight in held.items()}
    stated = {_CHECKSUM: weights_fingerprint(dense), _SPEC: spec_text(spec_of(dense))}
    write_whole(path, safetensors.torch.save(dense, {**(metadata or {}), **stated}))


def read_metadata(path: Path) -> dict[str, str]:
    """What a `.safetensors` file says of itself; nothing for a file of another form. Raises CheckpointError."""
    with file_errors(path):
        _check_size(path.stat().st_size, path)
        data = path.read_bytes()
    if not _is_safetensors(data):
        return {}
    with _reading(path):
        return _metadata(data)


def weights_fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Of the names, kinds and bits of all weights, in their order."""
    digest = hashlib.sha256()
    for name, weight in weights.items():
        digest.update(f"{name} {weight.dtype} {list(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_optimizer(paths: list[Path]) -> dict[str, Any]:
    """The optimiser's state_dict in the first of `paths` that exists; CheckpointError naming all if none does."""
    path = next((path for path in paths if _exists(path)), None)
    if path is None:
        raise CheckpointError(
            "There is no file of the optimiser's state.",
            where=" or ".join(map(str, paths)),
            hint="put it there, or start without LOAD_MODEL",
        )
    content, _ = _content(path)
    if not _is_optimizer_state(content):
        raise CheckpointError("The file holds no optimiser state.", where=str(path))
    return cast(dict[str, Any], content)


def write_optimizer(path: Path, state: dict[str, Any]) -> None:
    """Write an optimiser's state_dict; the file appears whole or not at all."""
    write_whole(path, _saved(state))


def tensor_bytes(tensor: Tensor) -> bytes:
    """A tensor as torch.save writes it."""
    return _saved(tensor)


def _exists(path: Path) -> bool:
    with file_errors(path):
        return path.exists()


def _content(path: Path) -> tuple[object, dict[str, str]]:
    """What a file holds, in whichever form, and what it says of itself."""
    if not _exists(path):
        hint = "correct the path, or train a model with `python -m rwkv.train_rwkv`"
        raise CheckpointError("There is no file of weights.", where=str(path), hint=hint)
    with file_errors(path):
        if not path.is_file():
            raise CheckpointError("This is no file, so it cannot be read.", where=str(path), expected=_EXPECTED)
        _check_size(path.stat().st_size, path)
        data = path.read_bytes()
    if _is_safetensors(data):
        with _reading(path):
            return safetensors.torch.load(data), _metadata(data)
    if data.startswith(_ZIP):
        _check_archive(data, path)
    return _from_torch(data, path), {}


def _check_size(size: int, path: Path) -> None:
    if size > _MOST_BYTES:
        what = "The file is too large for weights of this network, so it is not read."
        raise CheckpointError(what, where=str(path), got=f"{size:,} bytes", expected=f"at most {_MOST_BYTES:,}")


def _check_archive(data: bytes, path: Path) -> None:
    """Check the archive's own checksums, which torch.load does not look at."""
    with _reading(path), zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
        _check_size(sum(record.file_size for record in records), path)
        # torch.save writes no checksums where it was told so.
        if any(record.CRC for record in records):
            for record in records:
                archive.read(record)


def _from_torch(data: bytes, path: Path) -> object:
    with _reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            # torch's own words advise to switch this safety off.
            raise _damaged(path, "something else than tensors, which is not loaded") from error


def _is_safetensors(data: bytes) -> bool:
    """Whether the bytes begin with the length of a header, and the header."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def _metadata(data: bytes) -> dict[str, str]:
    (length,) = struct.unpack_from("<Q", data)
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return {str(key): str(value) for key, value in metadata.items()}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Inside, whatever damaged or foreign bytes have a reader raise becomes a CheckpointError."""
    try:
        yield
    except _UNREADABLE as error:
        raise _damaged(path, clipped(f"{type(error).__name__}, {error}".split("\n", 1)[0])) from error


def _damaged(path: Path, got: str) -> CheckpointError:
    what = "The file of weights cannot be read: it is truncated, damaged, or of another kind."
    hint = "get the file once more, or use an earlier checkpoint of the run"
    return CheckpointError(what, where=str(path), got=got, expected=_EXPECTED, hint=hint)


def _is_optimizer_state(content: object) -> bool:
    if not isinstance(content, dict) or set(content) != {"state", "param_groups"}:
        return False
    moments, groups = content["state"], content["param_groups"]
    return (
        isinstance(moments, dict)
        and all(isinstance(pair, dict) and _is_dense(pair.values()) for pair in moments.values())
        and isinstance(groups, list)
        and all(isinstance(group, dict) and _is_numbered(group.get("params")) for group in groups)
    )


def _is_dense(values: Iterable[object]) -> bool:
    return all(odd_kind(value) is None for value in values if isinstance(value, Tensor))


def _is_numbered(parameters: object) -> bool:
    return isinstance(parameters, list) and all(type(number) is int for number in parameters)


def _saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
