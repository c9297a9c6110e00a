"""One valid call of every native operator, and of the Python functions around those with gradients."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rwkv.model.checkpoint import weights_of
from rwkv.model.weight_table import native_weights
from rwkv.native.library import is_built, native
from rwkv.ops.cpu.mixers import channel_mix, time_mix
from rwkv.ops.cpu.tensors import array
from rwkv.ops.cpu.wkv import wkv_native
from rwkv.ops.groups import PackedGroups
from tests.networks import native_network, packed_network, random_inputs

ROWS, CHANNELS, HEADS, WIDTH, INNER, RANK, BEFORE = 7, 32, 2, 16, 48, 5, 3
FIRST_LAYER_WEIGHTS = 22

# The Python functions make their arguments contiguous, for which PyTorch reads them, and take nothing but tensors.
PUBLIC = ("strided", "repeated", "without_memory", "something_else")


@dataclass(frozen=True)
class Free:
    """The changes of an argument that keep it valid: free dimensions, and ways of spoiling that do not apply."""

    dimensions: tuple[int, ...] = ()
    ways: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """An operator with valid arguments in order, and the valid changes of all arguments."""

    name: str
    run: Callable[..., Any]
    arguments: dict[str, Any]
    free: dict[str, Free] = field(default_factory=dict)
    free_ways: tuple[str, ...] = ()
    unspoiled: tuple[str, ...] = ()


def operator(name: str) -> Callable[..., Any]:
    """A function of the native library on tensors, with two threads where it takes their number."""

    def run(*arguments: Any) -> Any:
        threads = () if name in ("network_step", "pack_network") else (2,)
        results = getattr(native(), name)(*map(as_arrays, arguments), *threads)
        return [torch.from_numpy(np.asarray(x)) for x in results] if isinstance(results, list) else results

    return run


def as_arrays(value: Any) -> Any:
    """Tensors as arrays, in lists too; all else as it is."""
    if isinstance(value, list):
        return [as_arrays(entry) for entry in value]
    return array(value) if isinstance(value, Tensor) else value


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def rows() -> dict[str, Tensor]:
    """Two groups, the first of which continues an earlier batch."""
    return {"source": torch.tensor([ROWS + 1, 0, 0, 2, 4, 4, 5]), "before": normal(BEFORE, CHANNELS)}


def groups() -> dict[str, Tensor]:
    return {
        "offsets": torch.tensor([0, 4, 7]),
        "is_query": torch.tensor([False, True, False, True, False, True, False]),
    }


def channel_weights() -> list[Tensor]:
    C = CHANNELS
    return [normal(C), normal(C), normal(C), normal(INNER, C), normal(C, INNER)]


def time_weights() -> list[Tensor]:
    """The weights of a later layer in the order of rwkv/native/csrc/time_mix.h."""
    C, H, R = CHANNELS, HEADS, RANK
    shapes: list[tuple[int, ...]] = [(C,), (C,), (8, C), (C, C), (C, C), (C, C)]
    shapes += [(R, C), (C, R), (C,), (R, C), (C, R), (C,), (R, C), (C, R)]
    shapes += [(H, C), (H,), (H, C), (H,), (H, WIDTH), (C,), (C,), (C, C), (R, C), (C, R), (C,)]
    return [0.1 * normal(*shape) for shape in shapes]


def valid_calls() -> Iterator[Call]:
    """A valid call of every operator listed in rwkv/native/library.py."""
    assert is_built()
    yield from (_dropout(), _curve(), *_network(), *_channel_mixer(), *_time_mixer(), *_recurrence())


def _dropout() -> Call:
    arguments = {"x": normal(4, 9), "threshold": 2**30, "scale": 4 / 3, "seed": torch.tensor([5]), "site": 3}
    return Call(
        "hash_dropout", operator("hash_dropout"), {**arguments, "residual": normal(4, 9)}, unspoiled=("site", "scale")
    )


def _curve() -> Call:
    grid = torch.arange(1.0, 5.0, dtype=torch.float64)
    arguments = {"curves": normal(6, 8), "elapsed": 3 * torch.ones(6).double(), "stabilities": grid, "points": grid}
    # Curves may have more columns than those that are read.
    return Call("curve_recall", operator("curve_recall"), {**arguments, "floor": 1e-5}, {"curves": Free((1,))})


def _network() -> Iterator[Call]:
    network = native_network()
    packed = packed_network(network)
    flat = {"weights": torch.from_numpy(packed.weights), "sizes": list(packed.sizes)}
    states = [torch.zeros(1, network.spec.state_size(stream)) for stream in network.spec.streams]
    arrays = native_weights(network.spec, weights_of(network).arrays)
    weights = {"weights": [torch.from_numpy(array) for array in arrays], "sizes": list(packed.sizes)}
    yield Call("pack_network", operator("pack_network"), weights)
    rows = {
        **flat,
        "inputs": random_inputs(1, 3),
        "is_query": torch.tensor([True, False, False]),
        "groups": torch.tensor([[0, 0, 1], [0, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]]),
        "counts": [2, 1, 2, 1, 1],
        "before": [None, states[0], states[1], states[2], None, states[3], None],
        "keep": True,
        "ratings_only": False,
    }
    yield Call("network_rows", operator("network_rows"), rows)
    arguments = {
        **flat,
        "inputs": random_inputs(1, 3),
        "before": states,
        "seen": [1, 0, 1, 0, 1],
        "writes": 2,
    }
    # Any number says that there was a review.
    free = {"inputs": Free((0,)), "seen": Free(ways=("number",))}
    yield Call("network_step", operator("network_step"), arguments, free)


def _channel_mixer() -> Iterator[Call]:
    x, weights = normal(ROWS, CHANNELS), channel_weights()
    goes_on = {"before": Free((0,))}
    yield Call("channel_mix_forward", operator("channel_mix_forward"), {"x": x, "weights": weights, **rows()}, goes_on)
    whole = {"x": x, "weights": weights, "source": torch.tensor([0, 0, 0, 2, 4, 4, 5])}
    kept = dict(zip(("h", "statistics"), operator("channel_mix_forward")(*whole.values(), x[:0])[2:], strict=True))
    yield Call(
        "channel_mix_backward", operator("channel_mix_backward"), {**whole, **kept, "grad": normal(ROWS, CHANNELS)}
    )

    def public(x: Any, weights: Any, source: Any, before: Any) -> object:
        return channel_mix(x, weights, source, before)

    arguments = {"x": x, "weights": weights, **rows()}
    yield Call("channel_mix", public, arguments, goes_on, PUBLIC)


def _time_mixer() -> Iterator[Call]:
    x, v0, weights, state = (
        normal(ROWS, CHANNELS),
        normal(ROWS, CHANNELS),
        time_weights(),
        normal(2, HEADS, WIDTH, WIDTH),
    )
    goes_on = {"before": Free((0,))}
    forward = {"x": x, "v0": v0, "weights": weights, **rows(), **groups(), "initial": state, "keep": True}
    yield Call("time_mix_forward", operator("time_mix_forward"), forward, goes_on)
    first = {**forward, "v0": None, "weights": weights[:FIRST_LAYER_WEIGHTS]}
    yield Call("time_mix_forward of the first layer", operator("time_mix_forward"), first, goes_on)
    source = torch.tensor([0, 0, 0, 2, 4, 4, 5])
    for name, given in (("time_mix_backward", forward), ("time_mix_backward of the first layer", first)):
        whole = {**given, "source": source, "before": x[:0], "initial": None, "keep": True}
        kept = operator("time_mix_forward")(*whole.values())[3:]
        backward = {name: value for name, value in whole.items() if name not in ("initial", "keep")}
        of_v = normal(ROWS, CHANNELS) if given["v0"] is None else None
        backward |= {"kept": kept, "of_y": normal(ROWS, CHANNELS), "of_first_v": of_v}
        yield Call(name, operator("time_mix_backward"), backward)

    def public(
        x: Any, v0: Any, weights: Any, source: Any, before: Any, offsets: Any, is_query: Any, state: Any
    ) -> object:
        return time_mix(x, v0, weights, PackedGroups(offsets, is_query), source, before, state)

    arguments = {name: value for name, value in forward.items() if name != "keep"}
    yield Call("time_mix", public, arguments, goes_on, PUBLIC)


def _recurrence() -> Iterator[Call]:
    shape = ROWS, HEADS, WIDTH
    rows = {name: 0.1 * normal(*shape) for name in ("r", "log_decay", "k_hat", "v", "b")}
    states = {"initial": normal(2, HEADS, WIDTH, WIDTH)}
    forward = {**rows, **groups(), **states, "keep": True}
    yield Call("wkv_forward", operator("wkv_forward"), forward)
    checkpoints = operator("wkv_forward")(*forward.values())[2]
    gradients = {"checkpoints": checkpoints, "grad_out": normal(*shape), "grad_final": normal(2, HEADS, WIDTH, WIDTH)}
    yield Call("wkv_backward", operator("wkv_backward"), {**rows, **groups(), **states, **gradients})

    def public(r: Any, log_decay: Any, k_hat: Any, v: Any, b: Any, offsets: Any, is_query: Any, initial: Any) -> object:
        return wkv_native(r, log_decay, k_hat, v, b, PackedGroups(offsets, is_query), initial)

    yield Call("wkv_native", public, {**rows, **groups(), **states}, free_ways=PUBLIC)
