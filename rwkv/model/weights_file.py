"""Reading files of weights without PyTorch: the published form and .safetensors (spec 4)."""

import hashlib
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from rwkv.arrays import Float32s
from rwkv.errors import CheckpointError
from rwkv.files import file_errors
from rwkv.model import safetensors_file
from rwkv.model.shapes import clipped, differences, spec_of, stated_spec
from rwkv.model.spec import PUBLISHED, NetworkSpec
from rwkv.model.stored_weights import StoredWeight
from rwkv.model.weight_table import weight_shapes
from rwkv.runtime import log

EXPECTED = "a state_dict of tensors saved by torch, or a .safetensors file"
_ANOTHER = "choose another file"
# Metadata keys of our .safetensors files: the fingerprint of the weights, and the sizes of the network.
_OURS = "rwkv."
CHECKSUM, SPEC = f"{_OURS}fingerprint", f"{_OURS}spec"
# Larger than the optimiser's float32 state of the largest network that can be configured, see rwkv/config.py.
_MOST_BYTES = 1 << 30
_ZIP = b"PK\x03\x04"

# Errors that damaged files and files of other kinds lead to.
UNREADABLE = (
    RuntimeError,
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


@dataclass(frozen=True)
class Weights:
    """The weights of a network.

    Attributes:
        spec: The sizes of the network.
        arrays: Float32 arrays by name, in the order of the network.
    """

    spec: NetworkSpec
    arrays: Mapping[str, Float32s]

    @cached_property
    def fingerprint(self) -> str:
        """See `fingerprint_of`; computed once."""
        return fingerprint_of((name, "float32", array) for name, array in self.arrays.items())


def load_weights(path: Path) -> Weights:
    """Like `read_weights`; warns if the file states no sizes and its layers are not the published ones."""
    weights = read_weights(path)
    layers = weights.spec.layers
    if layers != PUBLISHED.layers and SPEC not in read_metadata(path):
        stated, published = (", ".join(f"{name} {n}" for name, n in one.items()) for one in (layers, PUBLISHED.layers))
        log.warning(
            "%s does not state the size of its network; it is read as one with layers %s. The published network has "
            "layers %s, so check that the file is complete",
            path,
            stated,
            published,
        )
    return weights


def load_spec(path: Path) -> NetworkSpec:
    """The sizes of the network in a file of weights. Warns and raises like `load_weights`."""
    return load_weights(path).spec


def read_weights(path: Path) -> Weights:
    """Read the weights in a `.pth` or `.safetensors` file. Code in the file is never run.

    The sizes of the network are those in the file's metadata, else those read from the shapes, see `spec_of`.

    Raises:
        CheckpointError: The file is missing or damaged, or its weights do not form a network; the error lists weights
            that are missing, unexpected, or of another kind or shape.
        InputError: The file cannot be read.
    """
    content, metadata = read_content(path)
    if not isinstance(content, dict) or not all(isinstance(value, StoredWeight) for value in content.values()):
        raise CheckpointError("The file does not hold weights.", where=str(path), expected=EXPECTED, hint=_ANOTHER)
    with reading(path):
        spec = stated_spec(metadata[SPEC]) if SPEC in metadata else spec_of(content)
    problems = differences(content, spec)
    if problems:
        what = "\n    ".join(["The file does not hold this network:", *problems])
        raise CheckpointError(what, where=str(path), hint=_ANOTHER)
    held = {name: content[name] for name in weight_shapes(spec)}
    with reading(path):
        if CHECKSUM not in metadata and any(name.startswith(_OURS) for name in metadata):
            raise _damaged(path, "the checksum is missing from the file's metadata")
        if CHECKSUM in metadata:
            ours = fingerprint_of((name, weight.kind, weight.bits()) for name, weight in held.items())
            if metadata[CHECKSUM] != ours:
                raise _damaged(path, "the weights do not match the checksum in the file's metadata")
        return Weights(spec, {name: weight.values() for name, weight in held.items()})


def fingerprint_of(weights: Iterable[tuple[str, str, np.ndarray]]) -> str:
    """A SHA-256 of the names, dtypes, shapes and bits of all weights, in their order."""
    digest = hashlib.sha256()
    for name, dtype, bits in weights:
        digest.update(f"{name} torch.{dtype} {list(bits.shape)}\n".encode())
        digest.update(np.ascontiguousarray(bits).data)
    return digest.hexdigest()


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a `.safetensors` file; empty for a file of another form.

    Raises:
        CheckpointError: The file is damaged.
    """
    with file_errors(path):
        _check_size(path.stat().st_size, path)
        data = path.read_bytes()
    if not safetensors_file.is_safetensors(data):
        return {}
    with reading(path):
        return safetensors_file.read_metadata(data)


def _read_file(path: Path) -> bytes:
    """The bytes of a file of weights or of an optimiser's state.

    Raises:
        CheckpointError: The file is missing, not a file or too large.
    """
    with file_errors(path):
        if not path.exists():
            published = "`pretrain` of the repository open-spaced-repetition/srs-benchmark has the published weights"
            hint = f"check the path; {published}; `python -m rwkv.train_rwkv` trains others"
            raise CheckpointError("The file of weights does not exist.", where=str(path), hint=hint)
        if not path.is_file():
            raise CheckpointError("The path is not a file.", where=str(path), expected=EXPECTED, hint=_ANOTHER)
        _check_size(path.stat().st_size, path)
        return path.read_bytes()


def read_content(path: Path) -> tuple[object, dict[str, str]]:
    """The content, with StoredWeights in place of tensors, and the metadata of a file of either form.

    Raises:
        CheckpointError: The file is missing, damaged, or holds objects other than tensors.
        InputError: The file cannot be read.
    """
    data = _read_file(path)
    if safetensors_file.is_safetensors(data):
        with reading(path):
            return safetensors_file.read_tensors(data), safetensors_file.read_metadata(data)
    from rwkv.model import torch_file  # loads Python's modules of pickles and zip archives

    try:
        with reading(path):
            if not data.startswith(_ZIP):
                return torch_file.read_older_form(data), {}
            _check_archive(data, path)
            return torch_file.read_archive(data), {}
    except torch_file.ForeignContent as error:
        raise _damaged(path, "objects other than tensors") from error


# --- Checks of files


def _check_size(size: int, path: Path) -> None:
    """Raise CheckpointError if a file or its contents are too large."""
    if size > _MOST_BYTES:
        what, got, expected = "The file is too large for weights.", f"{size:,} bytes", f"at most {_MOST_BYTES:,}"
        raise CheckpointError(what, where=str(path), got=got, expected=expected, hint=_ANOTHER)


def _check_archive(data: bytes, path: Path) -> None:
    """Check the sizes and the checksums of an archive by torch.save."""
    with reading(path), zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
        _check_size(sum(record.file_size for record in records), path)
        # torch.save can be configured to write no checksums.
        if any(record.CRC for record in records):
            for record in records:
                archive.read(record)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the errors of damaged and foreign files into a CheckpointError."""
    try:
        yield
    except UNREADABLE as error:
        raise _damaged(path, clipped(f"{type(error).__name__}, {error}".split("\n", 1)[0])) from error


def _damaged(path: Path, got: str) -> CheckpointError:
    """The error to raise if a file is damaged."""
    what = "Cannot read the file of weights: it is truncated, damaged or of another kind."
    hint = "download the file again, or use an earlier checkpoint of the run"
    return CheckpointError(what, where=str(path), got=got, expected=EXPECTED, hint=hint)
