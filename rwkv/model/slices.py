"""Running streams in parts, in bounded memory and without gradients, on any backend.

Each stream runs over all rows before the next begins, part by part along its packed groups. Only the states of groups
that go on are carried over, so the result equals that of `Network.forward`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rwkv.model.network import Network
from rwkv.model.packing import CutStreams, StreamPart
from rwkv.model.state import StreamState
from rwkv.model.streams import Stream
from rwkv.ops.groups import take_rows

# Rows of a slice: few enough to bound the memory, and on a GPU enough to hide the launches.
ROWS_OF_A_SLICE = 16_384
ROWS_OF_A_GPU_SLICE = 262_144


def rows_of_a_slice(device: torch.device) -> int:
    """The rows of a slice on a device."""
    return ROWS_OF_A_GPU_SLICE if device.type == "cuda" else ROWS_OF_A_SLICE


@torch.inference_mode()
def encode_rows(network: Network, encode: Callable[[slice], Tensor], rows: int, slice_rows: int) -> Tensor:
    """The input of the first stream, [N, C], slice by slice in plain ops.

    Args:
        network: The network, ready to predict.
        encode: Gives the inputs [n, E] of a slice of rows.
        rows: Number of rows N.
        slice_rows: Rows that are encoded at a time.
    """
    x = torch.empty(rows, network.spec.channels, dtype=network.dtype, device=network.device)
    for part in slices(rows, slice_rows):
        x[part] = network.encode(encode(part).to(network.device))
    return x


@torch.inference_mode()
def run_streams(network: Network, x: Tensor, streams: CutStreams) -> Tensor:
    """Run all streams over rows x [N, C] in time order, which are overwritten.

    Returns:
        The rows before the heads in time order, [N, C], for `Network.read_out`.
    """
    with network.backend.threads():
        for stream, parts in zip(network.streams, streams.parts, strict=True):
            x, _ = run_stream(stream, x, parts)
    return x if streams.back is None else take_rows(x, streams.back.to(x.device))


def run_stream(
    stream: Stream, x: Tensor, parts: Sequence[StreamPart], states: StreamState | None = None
) -> tuple[Tensor, StreamState]:
    """Run a stream over its parts.

    Args:
        stream: The stream.
        x: All rows, [N, C]; several parts overwrite them.
        parts: The parts of the stream, which cover all rows.
        states: States of the first part's first groups, if it goes on from any.

    Returns:
        The rows after the stream, see `CutStreams`, and the states that the last part keeps.
    """
    states = states or []
    for part in parts:
        part = part.to(x.device)
        out, states = stream.resume(take_rows(x, part.order), part, states if part.goes_on else [])
        if len(parts) == 1:
            return out, states
        x[part.order] = out
    return x, states


def slices(rows: int, slice_rows: int) -> list[slice]:
    """Slices of at most slice_rows that cover 0..rows-1."""
    return [slice(start, min(start + slice_rows, rows)) for start in range(0, rows, slice_rows)]
