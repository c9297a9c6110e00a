"""A layer on a GPU: its weights in the form of the kernels, the layer over a batch, and from states over a part."""

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from rwkv.model.channel_mixer import ChannelMixer
from rwkv.model.dropout import DropoutMasks, next_drop
from rwkv.model.frozen_weights import once_if_frozen
from rwkv.model.packing import StreamLayout, StreamPart
from rwkv.model.spec import LERPS
from rwkv.model.state import LayerState
from rwkv.model.time_mixer import Projection, TimeMixer
from rwkv.ops.channel_mix import ChannelWeights
from rwkv.ops.dropout import NO_DROP
from rwkv.ops.interpolated_maps import block_diagonal, interpolated_maps
from rwkv.ops.shift import EPS
from rwkv.ops.triton.arguments import OutputWeights, RowLayout, TimeWeights, UpWeights
from rwkv.ops.triton.layer import channel_mixing, time_mixing


def time_weights(mixer: TimeMixer, first: bool) -> TimeWeights:
    """The weights of a time mixer in the form of the kernels; gradients flow back to the mixer.

    Args:
        mixer: The time mixer.
        first: Whether it is in the stream's first layer.
    """
    projections = mixer.projections(first)
    numbers = _numbers(tuple((part.lerp, len(part.down.weight)) for part in projections), mixer.W_o.weight.device)
    maps = [part.down.weight for part in projections]
    return TimeWeights(
        norm_weight=mixer.layer_norm.weight,
        norm_bias=mixer.layer_norm.bias,
        projections=interpolated_maps(maps, mixer.rkvdag_lerp.view(LERPS, -1), numbers),
        up=_up_weights(projections),
        output=OutputWeights(mixer.bonus.view(mixer.heads, -1), mixer.out_group_norm.weight, mixer.out_group_norm.bias),
        W_o=mixer.W_o.weight,
    )


@cache
@torch.inference_mode(False)  # training may later use a tensor that evaluation cached
def _numbers(rows: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """For each (j, n) in `rows`, n times j: int32 [sum of n]."""
    return torch.tensor([j for j, count in rows for _ in range(count)], dtype=torch.int32, device=device)


def _up_weights(projections: Sequence[Projection]) -> UpWeights:
    maps = {part.name: part.up for part in projections if part.up is not None}
    v_mix = maps.get("v_mix")
    scale_bias = {part.name: part.down.bias for part in projections if part.up is None}
    return UpWeights(
        d=maps["d"].weight,
        d_bias=maps["d"].bias,
        a=maps["a"].weight,
        a_bias=maps["a"].bias,
        gate=maps["gate"].weight,
        v_mix=None if v_mix is None else v_mix.weight,
        v_mix_bias=None if v_mix is None else v_mix.bias,
        k_scale_bias=scale_bias["k_scale"],
        v_scale_bias=scale_bias["v_scale"],
        whole=block_diagonal([up.weight for up in maps.values()]),
    )


def run_fused(
    time_mixer: TimeMixer,
    channel_mixer: ChannelMixer,
    rates: tuple[float, float],
    x: Tensor,
    v0: Tensor | None,
    layout: StreamLayout,
    masks: DropoutMasks | None,
) -> tuple[Tensor, Tensor]:
    """Run a layer over all rows of a stream, every group from an empty state.

    Args:
        time_mixer: The layer's time mixer.
        channel_mixer: Its channel mixer.
        rates: Dropout rates after each mixer and after the layer.
        x: Rows in places of the stream, [N, C].
        v0: v of the stream's first layer, [N, C]; None in that layer.
        layout: The stream's layout.
        masks: The dropout masks, drawn in the order of the plain form; None for no dropout.

    Returns:
        x [N, C] and v0 [N, C].
    """
    rate, layer_rate = rates
    rows = RowLayout(layout.source, None, layout.groups)
    x, v0 = time_mixing(x, v0, time_weights(time_mixer, v0 is None), rows, next_drop(rate, masks))
    drop, layer_drop = next_drop(rate, masks), next_drop(layer_rate, masks)
    return channel_mixing(x, channel_mixer.weights, layout.source, drop, layer_drop), v0


def resume_fused(
    time_mixer: TimeMixer,
    channel_mixer: ChannelMixer,
    x: Tensor,
    v0: Tensor | None,
    part: StreamPart,
    before: LayerState | None,
) -> tuple[Tensor, Tensor, LayerState | None]:
    """Run a layer over a part of a stream, without dropout or gradients; see `Layer.resume`. x is overwritten."""
    from rwkv.ops.triton.channel_mix import channel_mix_forward  # Triton exists only with a GPU
    from rwkv.ops.triton.time_mix import time_mix_forward

    time, channel = _frozen_time_weights(time_mixer), channel_mixer.weights
    time_shift = channel_shift = state = None
    if before is not None:
        time_shift, channel_shift = before.time_shift.contiguous(), before.channel_shift.contiguous()
        state = before.wkv.contiguous()
    time_x = _last_normed(x, time, part)  # before x is overwritten
    rows = RowLayout(part.source, time_shift, part.groups)
    mixed, v0, state, _ = time_mix_forward(x, v0, time, rows, NO_DROP, state, final_groups=part.kept)
    channel_x = _last_normed(mixed, channel, part)
    x = channel_mix_forward(mixed, channel, part.source, channel_shift, NO_DROP, NO_DROP)
    return x, v0, part.state_after(before, time_x, channel_x, state)


@once_if_frozen
def _frozen_time_weights(mixer: TimeMixer) -> TimeWeights:
    return time_weights(mixer, mixer.is_first)


def _last_normed(x: Tensor, weights: TimeWeights | ChannelWeights, part: StreamPart) -> Tensor:
    """The normalised rows at `part.last_places`, [kept, C]."""
    if not part.kept:
        return x[:0]
    rows = x[part.last_places]
    return F.layer_norm(rows, rows.shape[1:], weights.norm_weight, weights.norm_bias, EPS)
