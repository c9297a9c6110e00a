"""The names and shapes of a network's weights, and the order in which the native kernels take them."""

from collections.abc import Mapping
from functools import lru_cache

from rwkv.arrays import Float32s
from rwkv.model.spec import CURVES, LERPS, NetworkSpec
from rwkv.vocab import RATINGS

Shape = tuple[int, ...]


@lru_cache(maxsize=8)
def weight_shapes(spec: NetworkSpec) -> dict[str, Shape]:
    """The shapes of a network's weights by name, in the published order. A map has the shape [outputs, inputs]."""
    channels, hidden = spec.channels, spec.head_hidden
    shapes = {
        **_linear("features2card.0", spec.inputs, spec.input_hidden),
        **_norm("features2card.2", spec.input_hidden),
        **_linear("features2card.3", spec.input_hidden, channels),
    }
    for number, stream in enumerate(spec.streams):
        for layer in range(stream.layers):
            block = f"rwkv_modules.{number}.blocks.{layer}"
            shapes |= _time_mixer(f"{block}.time_mixer", spec)
            shapes |= _channel_mixer(f"{block}.channel_mixer", channels, stream.inner(channels))
    return {
        **shapes,
        **_norm("prehead_norm", channels),
        **_linear("head_ahead_logits.0", channels, hidden),
        **_linear("head_w.0", channels, channels),
        **_norm("head_w.2", channels),
        **_linear("head_w.4", channels, hidden),
        **_linear("head_p.0", channels, hidden),
        **_linear("ahead_linear", hidden, CURVES),
        **_linear("w_linear", hidden, CURVES),
        **_linear("p_linear", hidden, len(RATINGS)),
    }


def native_sizes(spec: NetworkSpec) -> tuple[int, ...]:
    """The sizes of a network in the order of `rwkv.native.network.PackedNetwork`."""
    sizes = [spec.inputs, spec.input_hidden, spec.channels, spec.heads]
    sizes += [spec.decay_rank, spec.a_rank, spec.v_rank, spec.gate_rank, spec.head_hidden, CURVES]
    for stream in spec.streams:
        sizes += [stream.layers, stream.inner(spec.channels)]
    return tuple(sizes)


def native_weights(spec: NetworkSpec, weights: Mapping[str, Float32s]) -> list[Float32s]:
    """A network's weights in the order and shapes of `rwkv.native.network.pack_network`."""
    names = [*_with_bias("features2card.0", "features2card.2", "features2card.3")]
    for number, stream in enumerate(spec.streams):
        for layer in range(stream.layers):
            names += _native_block(f"rwkv_modules.{number}.blocks.{layer}", is_first=layer == 0)
    names += _with_bias("prehead_norm", "head_w.0", "head_w.2", "head_w.4", "w_linear")
    names += _with_bias("head_ahead_logits.0", "ahead_linear", "head_p.0", "p_linear")
    return [_without_unit_sizes(name, weights[name]) for name in names]


def _native_block(block: str, is_first: bool) -> list[str]:
    """The names of a layer's weights; the first layer of a stream has no use for the mixing of v."""
    time, channel = f"{block}.time_mixer", f"{block}.channel_mixer"
    parts = [*_with_bias("layer_norm"), "rkvdag_lerp", "W_r.weight", "W_k.weight", "W_v.weight"]
    parts += [f"{lora}.{part}" for lora in ("d_lora_mlp", "a_lora_simple") for part in _LORA]
    parts += ["lora_A_g.weight", "lora_B_g.weight", *_with_bias("k_scale_linear", "v_scale_linear")]
    parts += ["bonus", *_with_bias("out_group_norm"), "W_o.weight"]
    parts += [] if is_first else [f"v_lora_simple.{part}" for part in _LORA]
    inner = [*_with_bias("layer_norm"), "lerp_k", "W_k.weight", "W_v.weight"]
    return [f"{time}.{part}" for part in parts] + [f"{channel}.{part}" for part in inner]


def _with_bias(*names: str) -> list[str]:
    return [f"{name}.{part}" for name in names for part in ("weight", "bias")]


_LORA = ("A.weight", "B_and_lamb.weight", "B_and_lamb.bias")
# Weights with sizes of 1 in the published form, and the dimensions that the kernels see.
_SEEN_DIMENSIONS = {"rkvdag_lerp": (0, 3), "bonus": (2, 3), "lerp_k": (2,)}


def _without_unit_sizes(name: str, weight: Float32s) -> Float32s:
    dimensions = _SEEN_DIMENSIONS.get(name.rsplit(".", 1)[-1])
    return weight if dimensions is None else weight.reshape([weight.shape[dimension] for dimension in dimensions])


def _time_mixer(name: str, spec: NetworkSpec) -> dict[str, Shape]:
    channels, heads = spec.channels, spec.heads
    square = {f"{name}.{part}.weight": (channels, channels) for part in ("W_r", "W_k", "W_v", "W_o")}
    return {
        f"{name}.rkvdag_lerp": (LERPS, 1, 1, channels),
        f"{name}.bonus": (1, 1, heads, spec.head_width),
        **_norm(f"{name}.layer_norm", channels),
        **square,
        **_linear(f"{name}.k_scale_linear", channels, heads),
        **_linear(f"{name}.v_scale_linear", channels, heads),
        **_lora(f"{name}.v_lora_simple", channels, spec.v_rank),
        **_lora(f"{name}.a_lora_simple", channels, spec.a_rank),
        **_lora(f"{name}.d_lora_mlp", channels, spec.decay_rank),
        f"{name}.lora_A_g.weight": (spec.gate_rank, channels),
        f"{name}.lora_B_g.weight": (channels, spec.gate_rank),
        **_norm(f"{name}.out_group_norm", channels),
    }


def _channel_mixer(name: str, channels: int, inner: int) -> dict[str, Shape]:
    return {
        f"{name}.lerp_k": (1, 1, channels),
        **_norm(f"{name}.layer_norm", channels),
        f"{name}.W_k.weight": (inner, channels),
        f"{name}.W_v.weight": (channels, inner),
    }


def _linear(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _lora(name: str, channels: int, rank: int) -> dict[str, Shape]:
    return {f"{name}.A.weight": (rank, channels), **_linear(f"{name}.B_and_lamb", rank, channels)}


def _norm(name: str, columns: int) -> dict[str, Shape]:
    return {f"{name}.weight": (columns,), f"{name}.bias": (columns,)}
