"""The sizes of a network from its weights: read from their shapes or their metadata, and checks that they fit."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Protocol

from rwkv.model.spec import PUBLISHED, NetworkSpec
from rwkv.model.stored_weights import FLOATS, StoredWeight
from rwkv.model.weight_table import weight_shapes

# Largest allowed size, and number of layers of a stream: `_BLOCK` reads two digits.
MOST, MOST_LAYERS = 4096, 100

# Integers are not accepted, since their scale is unknown.
_DENSE = "dense tensors of " + ", ".join(FLOATS)
_MOST_NAMES = 5
_MOST_LETTERS = 200

# For each size, the weight and the dimension from which it is read.
_FIRST = "rwkv_modules.0.blocks.0.time_mixer."
_READ_AT = {
    "channels": ("prehead_norm.weight", 0),
    "heads": (_FIRST + "k_scale_linear.weight", 0),
    "input_hidden": ("features2card.0.weight", 0),
    "head_hidden": ("p_linear.weight", 1),
    "decay_rank": (_FIRST + "d_lora_mlp.A.weight", 0),
    "a_rank": (_FIRST + "a_lora_simple.A.weight", 0),
    "v_rank": (_FIRST + "v_lora_simple.A.weight", 0),
    "gate_rank": (_FIRST + "lora_A_g.weight", 0),
}
_BLOCK = re.compile(r"rwkv_modules\.([0-9])\.blocks\.([0-9]{1,2})\..*")


class Shaped(Protocol):
    """An array, a tensor or a stored weight."""

    @property
    def shape(self) -> Sequence[int]:
        """Its sizes."""


def spec_of(weights: Mapping[str, Shaped]) -> NetworkSpec:
    """The sizes of the network with these weights, from names and shapes, with the published dropout rates.

    A size that cannot be read is the published one; `differences` checks whether all weights fit.
    """
    places, sizes = dict(_READ_AT), {}
    matches = [_BLOCK.fullmatch(str(name)) for name in weights]
    for number, stream in enumerate(PUBLISHED.streams):
        places[f"{stream.name} inner"] = (f"rwkv_modules.{number}.blocks.0.channel_mixer.W_k.weight", 0)
        blocks = [int(match[2]) for match in matches if match is not None and match[1] == str(number)]
        if blocks:
            sizes[f"{stream.name} layers"] = 1 + max(blocks)
    for name, (weight, dimension) in places.items():
        size = _size(weights.get(weight), dimension)
        if size is not None:
            sizes[name] = size
    return _spec(sizes) or PUBLISHED


def stated_spec(text: str) -> NetworkSpec:
    """The sizes of the network in a text from `spec_text`.

    Raises:
        ValueError: The text does not describe a network.
    """
    sizes = json.loads(text)
    if not isinstance(sizes, dict) or sizes.keys() != PUBLISHED.sizes.keys():
        raise ValueError("the sizes of another kind of network")
    spec = _spec(sizes)
    if spec is None:
        raise ValueError("the sizes do not form a network")
    return spec


def spec_text(spec: NetworkSpec) -> str:
    """The sizes of a network as text for the metadata of a file."""
    return json.dumps(spec.sizes)


def parameters_of(spec: NetworkSpec) -> int:
    """The number of a network's parameters."""
    return sum(map(prod, weight_shapes(spec).values()))


def differences(weights: Mapping[str, StoredWeight], spec: NetworkSpec) -> list[str]:
    """The problems of weights as those of a network, one line for each kind; empty if they fit."""
    expected = weight_shapes(spec)
    kinds = {name: weights[name].odd_kind for name in expected if name in weights}
    names = {
        "missing": [name for name in expected if name not in weights],
        "unexpected": [name for name in weights if name not in expected],
        f"of another kind than {_DENSE}": [f"{name} {kind}" for name, kind in kinds.items() if kind is not None],
        "of another shape": [
            f"{name} {list(weights[name].shape)} instead of {list(expected[name])}"
            for name, kind in kinds.items()
            if kind is None and weights[name].shape != expected[name]
        ],
    }
    return [f"{len(affected)} {problem}: {_listed(affected)}" for problem, affected in names.items() if affected]


def clipped(text: str) -> str:
    """Text from a file, made safe for a terminal and shortened."""
    clean = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return clean if len(clean) <= _MOST_LETTERS else clean[:_MOST_LETTERS] + "..."


def different_sizes(spec: NetworkSpec, other: NetworkSpec) -> tuple[str, str]:
    """The differing sizes of two networks as text: those of `spec` and those of `other`; empty if there are none."""
    sizes, others = spec.sizes, other.sizes
    names = [name for name in sizes if sizes[name] != others[name]]
    return _stated(sizes, names), _stated(others, names)


def _stated(sizes: Mapping[str, int], names: Iterable[str]) -> str:
    return ", ".join(f"{name} {sizes[name]}" for name in names)


def _size(weight: Shaped | None, dimension: int) -> int | None:
    return None if weight is None or len(weight.shape) <= dimension else weight.shape[dimension]


def _spec(sizes: dict[str, int]) -> NetworkSpec | None:
    """The network with these sizes and the published ones for the rest; None if they do not form a network."""
    limits = {f"{stream.name} layers": MOST_LAYERS for stream in PUBLISHED.streams}
    if not all(type(size) is int and 1 <= size <= limits.get(name, MOST) for name, size in sizes.items()):
        return None
    spec = PUBLISHED.with_sizes(sizes)
    is_whole = spec.inputs == PUBLISHED.inputs and spec.channels % spec.heads == 0
    return spec if is_whole else None


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(clipped(str(name)) for name in names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
