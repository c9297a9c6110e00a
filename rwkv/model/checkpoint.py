"""The door to files of weights: the published form, safetensors, and optimiser states (spec 4 and 5)."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from rwkv.errors import CheckpointError
from rwkv.model.network import Network, compute_weights

_MOST_NAMES = 5


def load_network(path: Path, device: torch.device, dtype: torch.dtype) -> Network:
    """A network ready to predict, on `device`, computing in `dtype`. Raises CheckpointError, see `read_weights`."""
    weights = compute_weights(read_weights(path), dtype)
    network = Network()
    network.load_state_dict(weights, assign=True)
    return network.requires_grad_(False).eval().to(device)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The float32 weights in a `.pth` or `.safetensors` file, in the order of the network.

    Never runs code from the file. Raises CheckpointError where the file is missing, damaged, or holds other weights,
    naming what is missing, unexpected or of another shape.
    """
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError("The file holds no weights.", where=str(path), expected="a state_dict of tensors")
    expected = Network().state_dict()
    problems = _differences(content, expected)
    if problems:
        raise CheckpointError("\n    ".join(["The file does not hold this network:", *problems]), where=str(path))
    return {name: content[name].to(torch.float32) for name in expected}


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a state_dict in the published form; the file appears whole or not at all."""
    _write_whole(path, {name: weight.detach().cpu() for name, weight in weights.items()})


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
    if not isinstance(content, dict) or set(content) != {"state", "param_groups"}:
        raise CheckpointError("The file holds no optimiser state.", where=str(path))
    return content


def write_optimizer(path: Path, state: dict[str, Any]) -> None:
    """Write an optimiser's state_dict; the file appears whole or not at all."""
    _write_whole(path, state)


def tensor_bytes(tensor: Tensor) -> bytes:
    """A tensor as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save(tensor, buffer)
    return buffer.getvalue()


def _read_torch(path: Path) -> object:
    with _told(path):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise _damaged(path, error) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with _told(path):
        try:
            return safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, struct.error, ValueError) as error:
            raise _damaged(path, error) from error


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn errors of the file system into ours."""
    try:
        yield
    except FileNotFoundError as error:
        hint = "correct the path, or train a model with `python -m rwkv.train_rwkv`"
        raise CheckpointError("There is no file of weights.", where=str(path), hint=hint) from error
    except OSError as error:
        raise CheckpointError(
            "A file of weights cannot be read or written.", where=str(path), got=str(error)
        ) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        "The file of weights cannot be read: it is truncated, damaged, or of another kind.",
        where=str(path),
        got=str(error).split("\n", 1)[0],
        expected="a state_dict saved by torch, or a .safetensors file",
    )


def _differences(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    shapes = {
        name: f"{name} {list(weights[name].shape)} instead of {list(expected[name].shape)}"
        for name in expected
        if name in weights and weights[name].shape != expected[name].shape
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


def _write_whole(path: Path, content: object) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
