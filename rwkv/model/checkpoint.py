"""The door to files of weights: the published form, safetensors, and optimiser states (spec 4 and 5)."""

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from rwkv.errors import CheckpointError
from rwkv.files import file_errors, write_whole
from rwkv.model.network import Network, frozen_network

_EXPECTED = "a state_dict of tensors saved by torch, or a .safetensors file"
_MOST_NAMES = 5

# What torch.load has been seen to raise on bytes that are no checkpoint, or were one before some of them changed.
_UNREADABLE = (
    RuntimeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
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
    """A network ready to predict, on `device`, computing in `dtype`. Raises CheckpointError, see `read_weights`."""
    return frozen_network(read_weights(path), dtype).to(device)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The float32 weights in a `.pth` or `.safetensors` file, in the order of the network.

    Never runs code from the file. Raises CheckpointError where the file is missing, damaged, or holds other weights,
    naming what is missing, unexpected or of another shape; InputError where it cannot be read at all.
    """
    if not path.exists():
        hint = "correct the path, or train a model with `python -m rwkv.train_rwkv`"
        raise CheckpointError("There is no file of weights.", where=str(path), hint=hint)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError("The file holds no weights.", where=str(path), expected=_EXPECTED)
    problems = _differences(content)
    if problems:
        raise CheckpointError("\n    ".join(["The file does not hold this network:", *problems]), where=str(path))
    # Kernels read weights row by row, in whatever layout they were saved.
    return {name: content[name].to(torch.float32).contiguous() for name in _shapes()}


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a state_dict in the published form; the file appears whole or not at all."""
    write_whole(path, _saved({name: weight.detach().cpu() for name, weight in weights.items()}))


def read_optimizer(paths: list[Path]) -> dict[str, Any]:
    """The optimiser's state_dict in the first of `paths` that exists; CheckpointError naming all if none does."""
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise CheckpointError(
            "There is no file of the optimiser's state.",
            where=" or ".join(map(str, paths)),
            hint="put it there, or start without LOAD_MODEL",
        )
    content = _read_torch(path)
    if not _is_optimizer_state(content):
        raise CheckpointError("The file holds no optimiser state.", where=str(path))
    return cast(dict[str, Any], content)


def write_optimizer(path: Path, state: dict[str, Any]) -> None:
    """Write an optimiser's state_dict; the file appears whole or not at all."""
    write_whole(path, _saved(state))


def tensor_bytes(tensor: Tensor) -> bytes:
    """A tensor as torch.save writes it."""
    return _saved(tensor)


def _read_torch(path: Path) -> object:
    with file_errors(path):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            # torch's own words advise to switch this safety off.
            raise _damaged(path, "something else than tensors, which is not loaded") from error
        except _UNREADABLE as error:
            raise _damaged(path, f"{type(error).__name__}, {error}".split("\n", 1)[0]) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with file_errors(path):
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise _damaged(path, str(error)) from error


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
        and all(isinstance(of, dict) for of in moments.values())
        and isinstance(groups, list)
        and all(isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups)
    )


@cache
def _shapes() -> dict[str, torch.Size]:
    """Names and shapes of the network's weights, in its order."""
    with torch.device("meta"):
        return {name: weight.shape for name, weight in Network().state_dict().items()}


def _differences(weights: Mapping[str, Tensor]) -> list[str]:
    expected = _shapes()
    shapes = {
        name: f"{name} {list(weights[name].shape)} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in weights and weights[name].shape != shape
    }
    found = {
        "missing": [name for name in expected if name not in weights],
        "unexpected": [name for name in weights if name not in expected],
        "of another shape": list(shapes.values()),
    }
    return [f"{len(names)} {kind}: {_some(names)}" for kind, names in found.items() if names]


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(map(str, names[:_MOST_NAMES])) + (f" and {more} more" if more > 0 else "")


def _saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
