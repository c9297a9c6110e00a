"""Files of weights and of optimiser states: the published form and safetensors (spec 4 and 5)."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from rwkv.errors import CheckpointError
from rwkv.files import file_errors, write_whole
from rwkv.model import weights_file
from rwkv.model.network import Network, frozen_network
from rwkv.model.shapes import spec_of, spec_text
from rwkv.model.stored_weights import StoredWeight
from rwkv.model.weights_file import CHECKSUM, SPEC, Weights, fingerprint_of, load_weights, read_content, reading

# Integers as wide as the numbers of a tensor, by their bytes.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def load_network(path: Path, device: torch.device, dtype: torch.dtype) -> Network:
    """Load a network that is ready to predict; it has the sizes of the file.

    Args:
        path: The file of weights.
        device: Device of the network.
        dtype: The dtype in which it computes.

    Raises:
        CheckpointError: The file is missing, damaged or holds other weights, see `read_weights`.
    """
    return network_of(load_weights(path), dtype).to(device)


def network_of(weights: Weights, dtype: torch.dtype = torch.float32) -> Network:
    """Make a network on the CPU that is ready to predict."""
    tensors = {name: torch.from_numpy(array) for name, array in weights.arrays.items()}
    return frozen_network(tensors, dtype, weights.spec)


def weights_of(network: Network) -> Weights:
    """The weights of a network on the CPU as float32 arrays, which share its memory if it is in float32."""
    return Weights(network.spec, {name: weight.float().numpy() for name, weight in network.state_dict().items()})


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights in a `.pth` or `.safetensors` file, see `rwkv.model.weights_file.read_weights`.

    Returns:
        Float32 tensors by name, in the order of the network.
    """
    return {name: torch.from_numpy(array) for name, array in weights_file.read_weights(path).arrays.items()}


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
    stated = {CHECKSUM: weights_fingerprint(dense), SPEC: spec_text(spec_of(dense))}
    write_whole(path, safetensors.torch.save(dense, {**(metadata or {}), **stated}))


def weights_fingerprint(weights: Mapping[str, Tensor]) -> str:
    """See `rwkv.model.weights_file.fingerprint_of`."""
    return fingerprint_of((name, _dtype_name(weight), _bits(weight)) for name, weight in weights.items())


def _dtype_name(weight: Tensor) -> str:
    return str(weight.dtype).removeprefix("torch.")


def _bits(weight: Tensor) -> np.ndarray:
    """The numbers of a tensor in integers of their width, since NumPy has no bfloat16."""
    dense = weight.detach().cpu().contiguous()
    return dense.view(_BITS[dense.element_size()]).numpy()


def read_optimizer(paths: list[Path]) -> dict[str, Any]:
    """Read the optimiser's state_dict from the first of `paths` that exists. Code in the file is never run.

    Its moments are float32. It is not read by torch.load, which takes damaged archives for sound ones.

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
    content, _ = read_content(path)
    if not _is_optimizer_state(content):
        what, hint = (
            "The file does not hold an optimiser's state.",
            "use the one that was saved with the weights",
        )
        raise CheckpointError(what, where=str(path), hint=hint)
    state = cast(dict[str, Any], content)
    with reading(path):
        moments = {index: _with_tensors(pair) for index, pair in state["state"].items()}
    return {"state": moments, "param_groups": state["param_groups"]}


def write_optimizer(path: Path, state: dict[str, Any]) -> None:
    """Write an optimiser's state_dict to a file atomically."""
    write_whole(path, _saved(state))


def tensor_bytes(tensor: Tensor) -> bytes:
    """The bytes of a tensor as torch.save writes it."""
    return _saved(tensor)


def _exists(path: Path) -> bool:
    with file_errors(path):
        return path.exists()


def _is_optimizer_state(content: object) -> bool:
    """Whether a file's content, with StoredWeights in place of tensors, has the form of an optimiser's state."""
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
    return all(value.odd_kind is None for value in values if isinstance(value, StoredWeight))


def _with_tensors(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """Values with float32 tensors in place of StoredWeights."""
    return {
        key: torch.from_numpy(value.values()) if isinstance(value, StoredWeight) else value
        for key, value in values.items()
    }


def _is_numbered(parameters: object) -> bool:
    return isinstance(parameters, list) and all(type(number) is int for number in parameters)


def _saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
