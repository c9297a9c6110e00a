"""A layer run by the kernels for GPUs: its weights in their form, and the layer over rows from empty states."""

from functools import cache

import torch
from torch import Tensor, nn

from rwkv.model.channel_mixer import ChannelMixer
from rwkv.model.dropout import DropoutSource
from rwkv.model.packing import StreamLayout
from rwkv.model.time_mixer import TimeMixer
from rwkv.ops.dropout import NO_DROP, Drop
from rwkv.ops.triton.arguments import ChannelWeights, OutputWeights, Rows, TimeWeights, UpWeights
from rwkv.ops.triton.layer import channel_mixing, time_mixing


def time_weights(mixer: TimeMixer, first: bool) -> TimeWeights:
    """first: whether this is the stream's first layer. The gradients flow back to the mixer's weights."""
    # Each map with the number of its interpolation, of r, k, v, d, a, g, k_scale, v_scale.
    maps: list[tuple[nn.Linear, int]] = [(mixer.W_r, 0), (mixer.W_k, 1), (mixer.W_v, 2)]
    maps += [(mixer.d_lora_mlp.A, 3), (mixer.a_lora_simple.A, 4), (mixer.lora_A_g, 5)]
    maps += [] if first else [(mixer.v_lora_simple.A, 2)]
    maps += [(mixer.k_scale_linear, 6), (mixer.v_scale_linear, 7)]
    weight = torch.cat([linear.weight for linear, _ in maps])
    rows = tuple((number, len(linear.weight)) for linear, number in maps)
    # A product copies the rows here and adds up their gradients in one launch, in a fixed order.
    lerp = _one_hot(rows, weight.device, weight.dtype) @ mixer.rkvdag_lerp.view(8, -1)
    return TimeWeights(
        norm_weight=mixer.layer_norm.weight,
        norm_bias=mixer.layer_norm.bias,
        projections=torch.cat([weight, weight * lerp], 1),
        up=_up_weights(mixer, first),
        output=OutputWeights(mixer.bonus.view(mixer.heads, -1), mixer.out_group_norm.weight, mixer.out_group_norm.bias),
        W_o=mixer.W_o.weight,
    )


@cache
@torch.inference_mode(False)  # what an evaluation asks for first may be asked for in training later
def _one_hot(rows: tuple[tuple[int, int], ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """For each (j, n) n rows whose entry j is 1: [sum of n, 8]."""
    numbers = torch.tensor([number for number, count in rows for _ in range(count)])
    return torch.nn.functional.one_hot(numbers, 8).to(device, dtype)


def _up_weights(mixer: TimeMixer, first: bool) -> UpWeights:
    d, a, v = (of.B_and_lamb for of in (mixer.d_lora_mlp, mixer.a_lora_simple, mixer.v_lora_simple))
    maps = [d.weight, a.weight, mixer.lora_B_g.weight] + ([] if first else [v.weight])
    return UpWeights(
        d=d.weight,
        d_bias=d.bias,
        a=a.weight,
        a_bias=a.bias,
        gate=mixer.lora_B_g.weight,
        v_mix=None if first else v.weight,
        v_mix_bias=None if first else v.bias,
        k_scale_bias=mixer.k_scale_linear.bias,
        v_scale_bias=mixer.v_scale_linear.bias,
        whole=torch.block_diag(*(part.detach() for part in maps)),
    )


def channel_weights(mixer: ChannelMixer) -> ChannelWeights:
    """The channel mixer's weights as the kernels take them."""
    norm = mixer.layer_norm
    return ChannelWeights(norm.weight, norm.bias, mixer.lerp_k.view(-1), mixer.W_k.weight, mixer.W_v.weight)


def run_fused(
    time_mixer: TimeMixer,
    channel_mixer: ChannelMixer,
    rates: tuple[float, float],
    x: Tensor,
    v0: Tensor | None,
    layout: StreamLayout,
    source: DropoutSource | None,
) -> tuple[Tensor, Tensor]:
    """A layer over all rows of a stream, every group from an empty state: (x [N, C], v0 [N, C]).

    rates: of the dropouts after the mixers and after the layer. Draws from the source in the order of the plain form.
    """
    rate, layer_rate = rates
    rows = Rows(layout.source, None, layout.groups.runs)
    x, v0 = time_mixing(x, v0, time_weights(time_mixer, v0 is None), rows, _drop(rate, source))
    drop, layer_drop = _drop(rate, source), _drop(layer_rate, source)
    return channel_mixing(x, channel_weights(channel_mixer), layout.source, drop, layer_drop), v0


def _drop(rate: float, source: DropoutSource | None) -> Drop:
    return NO_DROP if source is None or rate == 0 else Drop(rate, source.seed, source.next_use())
