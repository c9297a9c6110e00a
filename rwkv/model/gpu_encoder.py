"""The encoder on a GPU: its weights in the form of the kernel, from stored rows to the input of the first stream."""

from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rwkv.model.frozen_weights import once_if_frozen
from rwkv.model.spec import CODES, CYCLE_DAYS
from rwkv.ops.triton.arguments import EncoderWeights, InputColumns, StoredRows


@torch.inference_mode()
def encode_fused(features2card: nn.Sequential, rows: StoredRows) -> Tensor:
    """Encode the inputs of stored rows (rwkv/model/inputs.py) and run `Network.features2card` on them: x [N, C]."""
    from rwkv.ops.triton.encode import encode_forward  # Triton exists only with a GPU

    return encode_forward(rows, input_columns(rows.features.device), encoder_weights(features2card))


def inputs_fused(rows: StoredRows, dtype: torch.dtype) -> Tensor:
    """The inputs of stored rows (rwkv/model/inputs.py) in a dtype, [N, E]."""
    from rwkv.ops.triton.encode import encoded_inputs  # Triton exists only with a GPU

    return encoded_inputs(rows, input_columns(rows.features.device), dtype)


@once_if_frozen
def encoder_weights(features2card: nn.Sequential) -> EncoderWeights:
    """The weights of the encoder in the form of the kernel."""
    inner, outer = (cast(nn.Linear, features2card[place]) for place in (0, 3))
    norm = cast(nn.LayerNorm, features2card[2])
    weight = outer.weight.float()
    bias = linear(norm.bias.float(), weight, outer.bias.float())
    sums = (weight * norm.weight.float()).sum(1)
    return EncoderWeights(inner.weight, inner.bias, norm.weight, outer.weight, sums, bias, norm.eps)


@cache
def input_columns(device: torch.device) -> InputColumns:
    """The columns of identity codes and cycles, on a device."""
    columns = (
        [code.number for code in CODES for _ in range(code.width)],
        [component for code in CODES for component in range(code.width)],
        CYCLE_DAYS,
    )
    return InputColumns(*(torch.tensor(numbers, dtype=torch.int32, device=device) for numbers in columns))
