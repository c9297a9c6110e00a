"""The network before its heads on a GPU, like rwkv/model/slices.py in plain ops.

The parts of a stream run one after another and carry over the state of the group that is cut.
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
from rwkv.ops.triton.arguments import ChannelWeights, EncoderWeights, InputColumns, RowLayout, StoredRows, TimeWeights


@dataclass(frozen=True)
class _Carried:
    """The state of one layer that a cut group carries over: both shifts [1, C] and the WKV state [1, H, K, K]."""

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
    """Run the streams over a batch.

    Args:
        network: A network whose backend is TRITON.
        batch: A batch on its device.

    Returns:
        The rows before the heads in time order, [N, C], for `Network.read_out`.
    """
    x = encode_fused(network.features2card, batch.rows)
    for stream, parts in zip(network.streams, batch.streams, strict=True):
        x = _run_stream(stream, x, parts)
    return x.index_select(0, batch.back)


def _run_stream(stream: Stream, x: Tensor, parts: Sequence[GpuPart]) -> Tensor:
    """The stream's output [N, C] in its own order, from x [N, C] in the previous stream's order."""
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
    rows = RowLayout(part.source, None, part.plan)
    v0, after = None, []
    for number, layer in enumerate(weights):
        x, v0, carried = _run_layer(layer, x, v0, rows, part, None if before is None else before[number])
        if carried is not None:
            after.append(carried)
    return x, after


def _run_layer(
    weights: _LayerWeights, x: Tensor, v0: Tensor | None, rows: RowLayout, part: GpuPart, before: _Carried | None
) -> tuple[Tensor, Tensor, _Carried | None]:
    """Run a layer over a part: x, the stream's v0, and the carried state if the last group is cut."""
    from rwkv.ops.triton.channel_mix import channel_mix_forward  # Triton exists only with a GPU
    from rwkv.ops.triton.time_mix import time_mix_forward

    time, channel = weights
    time_shift = None if before is None else before.time_shift
    channel_shift = None if before is None else before.channel_shift
    state = None if before is None else before.wkv
    rows = rows._replace(before=time_shift)
    if not part.is_cut:
        mixed, v0, _, _ = time_mix_forward(x, v0, time, rows, NO_DROP, state)
        return channel_mix_forward(mixed, channel, rows.source, channel_shift, NO_DROP, NO_DROP), v0, None
    time_after = _shift(x, time, part, time_shift)  # before x is overwritten
    mixed, v0, state_after, _ = time_mix_forward(x, v0, time, rows, NO_DROP, state, final_groups=1)
    carried = _Carried(time_after, _shift(mixed, channel, part, channel_shift), state_after)
    return channel_mix_forward(mixed, channel, rows.source, channel_shift, NO_DROP, NO_DROP), v0, carried


def _shift(x: Tensor, weights: TimeWeights | ChannelWeights, part: GpuPart, before: Tensor | None) -> Tensor:
    """The normalised last review row of the last group, in this part or before, to which its later rows are shifted."""
    if part.last_review < 0:
        return x.new_zeros(1, x.shape[1]) if before is None else before
    row = x[part.last_review : part.last_review + 1]
    return F.layer_norm(row, row.shape[1:], weights.norm_weight, weights.norm_bias, EPS)


def encode_fused(features2card: nn.Sequential, rows: StoredRows) -> Tensor:
    """Encode the inputs of stored rows (rwkv/model/inputs.py) and run `Network.features2card` on them: x [N, C]."""
    from rwkv.ops.triton.encode import encode_forward  # Triton exists only with a GPU

    return encode_forward(rows, input_columns(rows.features.device), encoder_weights(features2card))


def encoder_weights(features2card: nn.Sequential) -> EncoderWeights:
    """The weights of the encoder in the form of the kernel."""
    inner, outer = (cast(nn.Linear, features2card[place]) for place in (0, 3))
    norm = cast(nn.LayerNorm, features2card[2])
    return EncoderWeights(inner.weight, inner.bias, norm.weight, norm.bias, outer.weight, outer.bias, norm.eps)


@cache
def input_columns(device: torch.device) -> InputColumns:
    """The columns of identity codes and cycles, on a device."""
    columns = (
        [code.number for code in CODES for _ in range(code.width)],
        [component for code in CODES for component in range(code.width)],
        CYCLE_DAYS,
    )
    return InputColumns(*(torch.tensor(numbers, dtype=torch.int32, device=device) for numbers in columns))
