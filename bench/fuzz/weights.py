"""Files of weights in both forms, and of an optimiser's state."""

import io
import json
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from bench.fuzz import values
from bench.fuzz.subject import Subject
from rwkv.model.checkpoint import read_optimizer, write_optimizer, write_weights
from rwkv.model.network import new_network
from rwkv.model.spec import PUBLISHED
from rwkv.model.weights_file import load_weights
from rwkv.training.optimizer import load_moments, make_optimizer, saved_state

_PTH, _SAFETENSORS, _OPTIMIZER = "model.pth", "model.safetensors", "model_optim.pth"
_SPEC = PUBLISHED.resized(16, 1, (1, 1, 1, 1, 1))


def _network() -> Any:
    return new_network(1, _SPEC)


def _make(folder: Path) -> None:
    folder.mkdir()
    weights = _network().state_dict()
    for name in (_PTH, _SAFETENSORS):
        write_weights(folder / name, weights)
    network = _network()
    optimizer = make_optimizer(dict(network.named_parameters()), "adamw")
    sum(weight.sum() for weight in network.parameters()).backward()
    optimizer.step()
    write_optimizer(folder / _OPTIMIZER, saved_state(optimizer))


def _read(name: str, folder: Path) -> object:
    weights = load_weights(folder / name)
    return weights.spec, dict(weights.arrays)


def _read_optimizer(folder: Path) -> object:
    path = folder / _OPTIMIZER
    state = read_optimizer([path])
    network = _network()
    load_moments(make_optimizer(dict(network.named_parameters()), "adamw"), state, str(path))
    return _numbers_of(state)


def _numbers_of(content: Any) -> Any:
    if isinstance(content, Tensor):
        return str(content.dtype), list(content.shape), content.double().numpy()
    if isinstance(content, dict):
        return {key: _numbers_of(value) for key, value in content.items()}
    return [_numbers_of(value) for value in content] if isinstance(content, list | tuple) else content


_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool)


def _wild_tensor(tensor: Tensor, rng: Random) -> Tensor:
    act = rng.randrange(5)
    if act == 0:
        return tensor.to(rng.choice(_DTYPES))
    if act == 1:
        changed = tensor.clone()
        changed.view(-1)[rng.randrange(max(1, tensor.numel()))] = torch.tensor(values.real(rng), dtype=torch.float64)
        return changed
    if act == 2:
        return torch.zeros([rng.choice([0, 1, 2, 16, 17, 64]) for _ in range(rng.randrange(4))])
    if act == 3:
        return tensor[None] if tensor.dim() < 1 else tensor.expand(2, *tensor.shape)
    return tensor.mT if tensor.dim() > 1 else tensor.repeat(2)


def _wild_weights(name: str, folder: Path, rng: Random) -> bytes:
    weights: dict[str, Any] = dict(_network().state_dict())
    for key in rng.sample(list(weights), rng.randint(1, 3)):
        act = rng.random()
        if act < 0.6:
            weights[key] = _wild_tensor(weights[key], rng)
        elif act < 0.75:
            del weights[key]
        elif act < 0.9:
            weights[rng.choice([key.replace("0", "7"), values.text(rng)])] = weights.pop(key)
        elif name == _PTH:
            weights[key] = rng.choice([values.value(rng, 0), {"a": weights[key]}, [weights[key]]])
    if name == _PTH:
        stream = io.BytesIO()
        torch.save(weights, stream, _use_new_zipfile_serialization=rng.random() < 0.7)
        return stream.getvalue()
    dense = {key: weight.contiguous().clone() for key, weight in weights.items()}
    stated = rng.choice([None, {"rwkv.spec": json.dumps(values.value(rng))}, {"rwkv.fingerprint": values.text(rng)}])
    return safetensors.torch.save(dense, stated)


def _wild_optimizer(folder: Path, rng: Random) -> bytes:
    state = torch.load(folder / _OPTIMIZER, weights_only=True)
    for key in rng.sample(list(state["state"]), 2):
        pair = state["state"][key]
        name = rng.choice(list(pair))
        act = rng.randrange(4)
        if act == 0:
            pair[name] = _wild_tensor(pair[name], rng)
        elif act == 1:
            pair[name] = values.value(rng, 0)
        elif act == 2:
            del pair[name]
        else:
            state["state"][rng.choice([10**6, -1, "a"])] = state["state"].pop(key)
    if rng.random() < 0.3:
        state["param_groups"][0][rng.choice(["params", "lr", "a"])] = values.value(rng, 0)
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


SUBJECTS = (
    *(
        Subject(name.partition(".")[2], name, _make, partial(_read, name), partial(_wild_weights, name), True)
        for name in (_PTH, _SAFETENSORS)
    ),
    Subject("optimizer", _OPTIMIZER, _make, _read_optimizer, _wild_optimizer, has_checksum=True, share=0.1),
)
