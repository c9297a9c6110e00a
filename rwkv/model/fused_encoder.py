"""The network's encoder by the kernel for GPUs: from stored rows to the input of the first stream."""

from functools import cache
from typing import cast

import torch
from torch import Tensor, nn

from rwkv.model.spec import CODES, CYCLE_DAYS
from rwkv.ops.layer_weights import EncoderWeights, InputColumns
from rwkv.ops.stored_rows import StoredRows


def encode_fused(features2card: nn.Sequential, rows: StoredRows) -> Tensor:
    """x [N, C]: what `Network.features2card` makes of the rows' inputs (rwkv/model/inputs.py). rows: on the GPU."""
    from rwkv.ops.encode_triton import encode_forward  # Triton is there with a GPU only

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
