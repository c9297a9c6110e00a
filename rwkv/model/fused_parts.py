"""The parts of a stream one after another by the kernels for GPUs, carrying on the state of the group that is cut."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from rwkv.model.frozen import once_if_frozen
from rwkv.model.fused import channel_weights, time_weights
from rwkv.model.packing import StreamPart
from rwkv.model.streams import Stream
from rwkv.ops.dropout import NO_DROP
from rwkv.ops.layer_weights import ChannelWeights, Rows, TimeWeights
from rwkv.ops.token_mix import EPS


@dataclass(frozen=True)
class _Carried:
    """Of one layer, what its cut group goes on from: both normalised inputs [1, C] and the state [1, H, K, K]."""

    time_shift: Tensor
    channel_shift: Tensor
    wkv: Tensor


_LayerWeights = tuple[TimeWeights, ChannelWeights]


@once_if_frozen
def _layer_weights(stream: Stream) -> list[_LayerWeights]:
    return [
        (time_weights(layer.time_mixer, first=number == 0), channel_weights(layer.channel_mixer))
        for number, layer in enumerate(stream.layers)
    ]


def run_parts_fused(stream: Stream, x: Tensor, parts: Sequence[StreamPart]) -> None:
    """Replace the rows of x [N, C] by the stream's output; as the plain form of rwkv/model/slices.py."""
    weights = _layer_weights(stream)
    carried: list[_Carried] | None = None
    for part in parts:
        places = part.places.to(x.device, non_blocking=True)
        x[places], carried = _run_part(weights, x[places], part, carried if part.goes_on else None)


def _run_part(
    weights: Sequence[_LayerWeights], x: Tensor, part: StreamPart, before: Sequence[_Carried] | None
) -> tuple[Tensor, list[_Carried]]:
    source = part.source.to(x.device, non_blocking=True)
    plan = part.layout.groups.runs.map(lambda t: t.to(x.device, non_blocking=True))
    rows = Rows(source, None, plan)
    v0, after = None, []
    for number, of in enumerate(weights):
        x, v0, carried = _run_layer(of, x, v0, rows, part, None if before is None else before[number])
        if carried is not None:
            after.append(carried)
    return x, after


def _run_layer(
    weights: _LayerWeights, x: Tensor, v0: Tensor | None, rows: Rows, part: StreamPart, before: _Carried | None
) -> tuple[Tensor, Tensor, _Carried | None]:
    """A layer over the rows of a part: x, the stream's v0, and what is carried on, if its last group is cut."""
    from rwkv.ops.channel_mix_triton import channel_mix_forward  # Triton is there with a GPU only
    from rwkv.ops.time_mix_triton import time_mix_forward

    of_time, of_channel = weights
    time_shift, channel_shift, state = (None, None, None) if before is None else vars(before).values()
    rows = rows._replace(before=time_shift)
    if not part.is_cut:
        mixed, v0, _, _ = time_mix_forward(x, v0, of_time, rows, NO_DROP, state)
        return channel_mix_forward(mixed, of_channel, rows.source, channel_shift, NO_DROP, NO_DROP), v0, None
    time_after = _shift(x, of_time, part, time_shift)  # before x is overwritten
    mixed, v0, state_after, _ = time_mix_forward(x, v0, of_time, rows, NO_DROP, state, final_groups=1)
    carried = _Carried(time_after, _shift(mixed, of_channel, part, channel_shift), state_after)
    return channel_mix_forward(mixed, of_channel, rows.source, channel_shift, NO_DROP, NO_DROP), v0, carried


def _shift(x: Tensor, weights: TimeWeights | ChannelWeights, part: StreamPart, before: Tensor | None) -> Tensor:
    """What the last group's later rows are shifted to: its last review row, normalised, here or before."""
    if part.last_review < 0:
        return x.new_zeros(1, x.shape[1]) if before is None else before
    row = x[part.last_review : part.last_review + 1]
    return F.layer_norm(row, row.shape[1:], weights.norm_weight, weights.norm_bias, EPS)
