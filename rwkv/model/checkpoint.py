"""Files of weights and of optimiser states: the published form and safetensors (spec 4 and 5)."""

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
from rwkv.model.spec import PUBLISHED, NetworkSpec
from rwkv.runtime import log

_EXPECTED = "a state_dict of tensors saved by torch, or a .safetensors file"
# Larger than the optimiser's float32 state of the largest network that can be configured, see rwkv/config.py.
_MOST_BYTES = 1 << 30
_ZIP = b"PK\x03\x04"
# Metadata keys of our .safetensors files: the fingerprint of the weights, and the sizes of the network.
_CHECKSUM, _SPEC = "rwkv.fingerprint", "rwkv.spec"

# Errors that torch and safetensors raise on damaged files and on files of other kinds.
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
    """Load a network that is ready to predict; it has the sizes of the file.

    Args:
        path: The file of weights.
        device: Device of the network.
        dtype: The dtype in which it computes.

    Raises:
        CheckpointError: The file is missing, damaged or holds other weights, see `read_weights`.
    """
    weights, spec = _read_with_spec(path)
    return frozen_network(weights, dtype, spec).to(device)


def load_spec(path: Path) -> NetworkSpec:
    """The sizes of the network in a file of weights. Raises like `read_weights`."""
    return _read_with_spec(path)[1]


def _read_with_spec(path: Path) -> tuple[dict[str, Tensor], NetworkSpec]:
    """Read weights and their sizes. Warns if the file states no sizes and its layers are not the published ones."""
    weights = read_weights(path)
    spec = spec_of(weights)
    if spec.layers != PUBLISHED.layers and _SPEC not in read_metadata(path):
        stated, published = (", ".join(f"{name} {n}" for name, n in one.layers.items()) for one in (spec, PUBLISHED))
        log.warning(
            "%s does not state the size of its network; it is read as one with layers %s. The published network has "
            "layers %s, so check that the file is complete",
            path,
            stated,
            published,
        )
    return weights, spec


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights in a `.pth` or `.safetensors` file. Code in the file is never run.

    The sizes of the network are those in the file's metadata, else those read from the shapes, see `spec_of`.

    Returns:
        Float32 tensors by name, in the order of the network.

    Raises:
        CheckpointError: The file is missing or damaged, or its weights do not form a network; the error lists weights
            that are missing, unexpected, or of another kind or shape.
        InputError: The file cannot be read.
    """
    content, metadata = _content(path)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError("The file does not hold weights.", where=str(path), expected=_EXPECTED)
    with _reading(path):
        spec = stated_spec(metadata[_SPEC]) if _SPEC in metadata else spec_of(content)
    problems = differences(content, spec)
    if problems:
        raise CheckpointError("\n    ".join(["The file does not hold this network:", *problems]), where=str(path))
    held = {name: content[name] for name in shapes_of(spec)}
    if _CHECKSUM in metadata and metadata[_CHECKSUM] != weights_fingerprint(held):
        raise _damaged(path, "the weights do not match the checksum in the file's metadata")
    # Kernels read weights row by row, so the saved layout must not matter.
    return {name: weight.detach().resolve_neg().to(torch.float32).contiguous() for name, weight in held.items()}


def write_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write weights to a file atomically.

    Args:
        path: The file. If it ends in `.safetensors`, it gets that form with a checksum and the sizes of the network;
            otherwise the published form.
        weights: The state_dict of a network.
        metadata: Further metadata of a `.safetensors` file.
    """
    held = {name: weight.detach().cpu() for name, weight in weights.items()}
    if path.suffix.lower() != ".safetensors":
        write_whole(path, _saved(held))
        return
    dense = {name: weight.contiguous() for name, weight in held.items()}
    stated = {_CHECKSUM: weights_fingerprint(dense), _SPEC: spec_text(spec_of(dense))}
    write_whole(path, safetensors.torch.save(dense, {**(metadata or {}), **stated}))


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a `.safetensors` file; empty for a file of another form.

    Raises:
        CheckpointError: The file is damaged.
    """
    with file_errors(path):
        _check_size(path.stat().st_size, path)
        data = path.read_bytes()
    if not _is_safetensors(data):
        return {}
    with _reading(path):
        return _metadata(data)


def weights_fingerprint(weights: Mapping[str, Tensor]) -> str:
    """A SHA-256 of the names, dtypes, shapes and bits of all weights, in their order."""
    digest = hashlib.sha256()
    for name, weight in weights.items():
        digest.update(f"{name} {weight.dtype} {list(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_optimizer(paths: list[Path]) -> dict[str, Any]:
    """Read the optimiser's state_dict from the first of `paths` that exists.

    Raises:
        CheckpointError: None of them exists, or the file is damaged or does not hold an optimiser's state.
    """
    path = next((path for path in paths if _exists(path)), None)
    if path is None:
        raise CheckpointError(
            "The file of the optimiser's state does not exist.",
            where=" or ".join(map(str, paths)),
            hint="put it there, or start without LOAD_MODEL",
        )
    content, _ = _content(path)
    if not _is_optimizer_state(content):
        raise CheckpointError("The file does not hold an optimiser's state.", where=str(path))
    return cast(dict[str, Any], content)


def write_optimizer(path: Path, state: dict[str, Any]) -> None:
    """Write an optimiser's state_dict to a file atomically."""
    write_whole(path, _saved(state))


def tensor_bytes(tensor: Tensor) -> bytes:
    """The bytes of a tensor as torch.save writes it."""
    return _saved(tensor)


def _exists(path: Path) -> bool:
    with file_errors(path):
        return path.exists()


def _content(path: Path) -> tuple[object, dict[str, str]]:
    """The content and the metadata of a file of either form."""
    if not _exists(path):
        hint = "check the path, or train a model with `python -m rwkv.train_rwkv`"
        raise CheckpointError("The file of weights does not exist.", where=str(path), hint=hint)
    with file_errors(path):
        if not path.is_file():
            raise CheckpointError("The path is not a file.", where=str(path), expected=_EXPECTED)
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
        what = "The file is too large for weights of a network."
        raise CheckpointError(what, where=str(path), got=f"{size:,} bytes", expected=f"at most {_MOST_BYTES:,}")


def _check_archive(data: bytes, path: Path) -> None:
    """Check the checksums of the archive, which torch.load ignores."""
    with _reading(path), zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
        _check_size(sum(record.file_size for record in records), path)
        # torch.save can be configured to write no checksums.
        if any(record.CRC for record in records):
            for record in records:
                archive.read(record)


def _from_torch(data: bytes, path: Path) -> object:
    with _reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            # torch's message would advise the user to disable this protection.
            raise _damaged(path, "objects other than tensors") from error


def _is_safetensors(data: bytes) -> bool:
    """Whether the bytes begin with the length of a JSON header and the header."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def _metadata(data: bytes) -> dict[str, str]:
    (length,) = struct.unpack_from("<Q", data)
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return {str(key): str(value) for key, value in metadata.items()}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the errors of damaged and foreign files into a CheckpointError."""
    try:
        yield
    except _UNREADABLE as error:
        raise _damaged(path, clipped(f"{type(error).__name__}, {error}".split("\n", 1)[0])) from error


def _damaged(path: Path, got: str) -> CheckpointError:
    what = "Cannot read the file of weights: it is truncated, damaged or of another kind."
    hint = "download the file again, or use an earlier checkpoint of the run"
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
