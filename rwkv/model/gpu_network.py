"""The network up to its heads by the kernels for GPUs, as rwkv/model/slices.py has it in plain ops.

The parts of a stream run one after another, carrying on the state of the group that is cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rwkv.model.frozen_weights import once_if_frozen
from rwkv.model.gpu_batch import GpuBatch, GpuPart
from rwkv.model.gpu_layer import channel_weights, time_weights
from rwkv.model.network import Network
from rwkv.model.spec import CODES, CYCLE_DAYS
from rwkv.model.streams import Stream
from rwkv.ops.dropout import NO_DROP
from rwkv.ops.mixers import EPS
from rwkv.ops.triton.arguments import ChannelWeights, EncoderWeights, InputColumns, Rows, StoredRows, TimeWeights


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


@torch.inference_mode()
def rows_before_heads_fused(network: Network, batch: GpuBatch) -> Tensor:
    """What the last stream says of each row: [N, C], in time order, for `Network.read_out`.

    network: whose backend is TRITON. batch: on its device.
    """
    x = encode_fused(network.features2card, batch.rows)
    for stream, parts in zip(network.streams, batch.streams, strict=True):
        x = _run_stream(stream, x, parts)
    return x.index_select(0, batch.back)


def _run_stream(stream: Stream, x: Tensor, parts: Sequence[GpuPart]) -> Tensor:
    """The stream's output [N, C] in its own order. x: [N, C] in the order of the stream before."""
    weights = _layer_weights(stream)
    if len(parts) == 1:
        return _run_part(weights, x.index_select(0, parts[0].places), parts[0], None)[0]
    carried: list[_Carried] | None = None
    result, start = torch.empty_like(x), 0
    for part in parts:
        out, carried = _run_part(weights, x.index_select(0, part.places), part, carried if part.goes_on else None)
        result[start : start + len(out)] = out
        start += len(out)
    return result


def _run_part(
    weights: Sequence[_LayerWeights], x: Tensor, part: GpuPart, before: Sequence[_Carried] | None
) -> tuple[Tensor, list[_Carried]]:
    rows = Rows(part.source, None, part.plan)
    v0, after = None, []
    for number, of in enumerate(weights):
        x, v0, carried = _run_layer(of, x, v0, rows, part, None if before is None else before[number])
        if carried is not None:
            after.append(carried)
    return x, after


def _run_layer(
    weights: _LayerWeights, x: Tensor, v0: Tensor | None, rows: Rows, part: GpuPart, before: _Carried | None
) -> tuple[Tensor, Tensor, _Carried | None]:
    """A layer over the rows of a part: x, the stream's v0, and what is carried on, if its last group is cut."""
    from rwkv.ops.triton.channel_mix import channel_mix_forward  # Triton is there with a GPU only
    from rwkv.ops.triton.time_mix import time_mix_forward

    of_time, of_channel = weights
    time_shift = None if before is None else before.time_shift
    channel_shift = None if before is None else before.channel_shift
    state = None if before is None else before.wkv
    rows = rows._replace(before=time_shift)
    if not part.is_cut:
        mixed, v0, _, _ = time_mix_forward(x, v0, of_time, rows, NO_DROP, state)
        return channel_mix_forward(mixed, of_channel, rows.source, channel_shift, NO_DROP, NO_DROP), v0, None
    time_after = _shift(x, of_time, part, time_shift)  # before x is overwritten
    mixed, v0, state_after, _ = time_mix_forward(x, v0, of_time, rows, NO_DROP, state, final_groups=1)
    carried = _Carried(time_after, _shift(mixed, of_channel, part, channel_shift), state_after)
    return channel_mix_forward(mixed, of_channel, rows.source, channel_shift, NO_DROP, NO_DROP), v0, carried


def _shift(x: Tensor, weights: TimeWeights | ChannelWeights, part: GpuPart, before: Tensor | None) -> Tensor:
    """What the last group's later rows are shifted to: its last review row, normalised, here or before."""
    if part.last_review < 0:
        return x.new_zeros(1, x.shape[1]) if before is None else before
    row = x[part.last_review : part.last_review + 1]
    return F.layer_norm(row, row.shape[1:], weights.norm_weight, weights.norm_bias, EPS)


def encode_fused(features2card: nn.Sequential, rows: StoredRows) -> Tensor:
    """x [N, C]: what `Network.features2card` makes of the rows' inputs (rwkv/model/inputs.py). rows: on the GPU."""
    from rwkv.ops.triton.encode import encode_forward  # Triton is there with a GPU only

    return encode_forward(rows, input_columns(rows.features.device), encoder_weights(features2card))


def encoder_weights(features2card: nn.Sequential) -> EncoderWeights:
    """The encoder's weights as the kernel takes them."""
    inner, outer = (cast(nn.Linear, features2card[place]) for place in (0, 3))
    norm = cast(nn.LayerNorm, features2card[2])
    return EncoderWeights(inner.weight, inner.bias, norm.weight, norm.bias, outer.weight, outer.bias, norm.eps)


@cache
def input_columns(device: torch.device) -> InputColumns:
    """The columns of codes and cycles, on a device."""
    columns = (
        [code.number for code in CODES for _ in range(code.width)],
        [component for code in CODES for component in range(code.width)],
        CYCLE_DAYS,
    )
    return InputColumns(*(torch.tensor(numbers, dtype=torch.int32, device=device) for numbers in columns))
