"""Networks and rows for tests: weights by the recipe of the vectors, a small network, and its recurrent run."""

import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from rwkv.model.checkpoint import weights_of
from rwkv.model.heads import Outputs
from rwkv.model.network import Network
from rwkv.model.packing import StreamLayout, pack_stream
from rwkv.model.runner import Runner
from rwkv.model.spec import NetworkSpec, StreamSpec
from rwkv.model.state import LayerState, StreamState
from rwkv.model.torch_runner import fastest_runner
from rwkv.model.weight_table import native_sizes, native_weights
from rwkv.native.network import PackedNetwork, pack_network
from rwkv.vocab import STREAMS

# Stream -> entity int64 [N] of each row.
Entities = Mapping[str, Tensor]

# All the parts of the published network at a size at which hundreds of rows take a moment. Dropout enough to be seen.
SMALL = NetworkSpec(
    channels=16,
    heads=2,
    input_hidden=24,
    head_hidden=24,
    decay_rank=3,
    a_rank=3,
    v_rank=2,
    gate_rank=3,
    streams=tuple(
        StreamSpec(stream, layers, 1.5, 0.05) for stream, layers in zip(STREAMS, (2, 1, 2, 1, 2), strict=True)
    ),
)

# The same at a size that the native kernels know, with widths that fill no panel of weights.
NATIVE = replace(SMALL, channels=32, heads=2, input_hidden=40, head_hidden=56)

# At 0.05, the scale of the vectors, a network of 16 channels hardly hears the rows before; at this scale it does.
SMALL_SCALE = 0.4


def recipe_weight(name: str, shape: tuple[int, ...], scale: float = 0.05) -> Tensor:
    """The weight that the vectors' README gives to a name. scale: of what is neither lerp, decay bias nor norm."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if "lerp" in name:
        values = rng.random(shape)
    elif name.endswith("d_lora_mlp.B_and_lamb.bias"):
        values = -7 + 5 * rng.random(shape)
    elif name.endswith(".weight") and len(shape) == 1:
        values = 1 + 0.05 * rng.standard_normal(shape)
    else:
        values = scale * rng.standard_normal(shape)
    return torch.from_numpy(values.astype(np.float32))


def recipe_network(spec: NetworkSpec, scale: float = 0.05) -> Network:
    """A network whose weights follow the recipe."""
    network = Network(spec)
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    network.load_state_dict({name: recipe_weight(name, shape, scale) for name, shape in shapes.items()})
    return network


def small_network() -> Network:
    return recipe_network(SMALL, SMALL_SCALE)


def native_network() -> Network:
    return recipe_network(NATIVE, SMALL_SCALE)


def packed_network(network: Network) -> PackedNetwork:
    """The network as the native kernels take it."""
    weights = weights_of(network)
    return pack_network(native_weights(weights.spec, weights.arrays), native_sizes(weights.spec))


@lru_cache
def runner_for(network: Network) -> Runner:
    """What the engine runs a network with, made once."""
    return fastest_runner(network)


def random_inputs(seed: int, rows: int) -> Tensor:
    """Inputs float32 [N, 92] of the size of real ones."""
    return torch.randn(rows, NetworkSpec().inputs, generator=torch.Generator().manual_seed(seed))


def random_history(seed: int, rows: int, cards: int = 12) -> tuple[Entities, Tensor]:
    """Entities of one user's rows, and is_query bool [N]: cards in notes, decks and presets; runs of either kind."""
    rng = torch.Generator().manual_seed(seed)
    card = torch.randint(cards, (rows,), generator=rng)
    is_query = torch.rand(rows, generator=rng) < 0.45
    deck = card % 3
    return dict(zip(STREAMS, (card, deck, card // 2, deck // 2, torch.zeros_like(card)), strict=True)), is_query


def layouts_of(entities: Entities, is_query: Tensor) -> list[StreamLayout]:
    """One layout a stream, in the order of the network."""
    return [pack_stream(entities[stream], is_query) for stream in STREAMS]


def join_states(states: list[StreamState]) -> StreamState:
    """The states of single entities as one state of all of them."""
    return [
        LayerState(**{name: torch.cat([getattr(one, name) for one in layer]) for name in vars(layer[0])})
        for layer in zip(*states, strict=True)
    ]


@torch.no_grad()
def run_recurrently(network: Network, inputs: Tensor, entities: Entities, is_query: Tensor) -> Outputs:
    """One row after another through Network.step, with a state for each entity that only review rows change."""
    ids = {stream: entity.tolist() for stream, entity in entities.items()}
    known: dict[tuple[str, int], StreamState] = {}
    outputs = []
    for row in range(len(inputs)):
        here = [(stream, ids[stream][row]) for stream in STREAMS]
        states = [known.get(key, empty) for key, empty in zip(here, network.empty_states(1), strict=True)]
        output, after = network.step(inputs[row : row + 1], states)
        outputs.append(output)
        if not is_query[row]:
            known.update(zip(here, after, strict=True))
    return Outputs(*(torch.cat(column) for column in zip(*outputs, strict=True)))
