"""The network over batches of any length in plain ops, in bounded memory and without gradients.

Each stream runs over all rows before the next begins, slice by slice along its packed groups. Of all states only that
of the group which a slice boundary cuts is carried on, so the result is that of `Network.forward`. The same by the
kernels for GPUs: rwkv/model/gpu_network.py.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rwkv.model.network import Network
from rwkv.model.packing import StreamPart
from rwkv.model.state import StreamState, empty_state
from rwkv.model.streams import Stream

# Few enough rows to bound memory; on a GPU enough of them to hide the launches.
ROWS_OF_A_SLICE = 16_384
ROWS_OF_A_GPU_SLICE = 262_144


def rows_of_a_slice(device: torch.device) -> int:
    """How many rows run at a time on a device."""
    return ROWS_OF_A_GPU_SLICE if device.type == "cuda" else ROWS_OF_A_SLICE


@torch.inference_mode()
def rows_before_heads(
    network: Network,
    encode: Callable[[slice], Tensor],
    streams: Sequence[Sequence[StreamPart]],
    rows: int,
    slice_rows: int,
) -> Tensor:
    """What the last stream says of each row: [N, C], in time order, for `Network.read_out`.

    encode: gives the inputs [n, 92] of a slice of rows. streams: the parts of each, see `cut_stream`.
    """
    device = network.device
    x = torch.empty(rows, network.spec.channels, dtype=network.dtype, device=device)
    for part in slices(rows, slice_rows):
        x[part] = network.features2card(encode(part).to(device, network.dtype))
    for stream, parts in zip(network.streams, streams, strict=True):
        _run_parts(stream, x, parts)
    return x


def slices(rows: int, slice_rows: int) -> list[slice]:
    """0..rows-1 in slices of at most slice_rows."""
    return [slice(start, min(start + slice_rows, rows)) for start in range(0, rows, slice_rows)]


def _run_parts(stream: Stream, x: Tensor, parts: Sequence[StreamPart]) -> None:
    """Replace the rows of x by the stream's output."""
    # Indexing by a tensor copies; a slice would keep the states of all groups alive.
    last = torch.tensor([-1], device=x.device)
    carried: StreamState | None = None
    for part in parts:
        places, layout = part.places.to(x.device), part.layout.to(x.device)
        states = _states_before(stream, x, layout.groups.groups, carried if part.goes_on else None)
        x[places], after = stream.resume(x[places], layout, states)
        carried = [state[last] for state in after]


def _states_before(stream: Stream, x: Tensor, groups: int, first: StreamState | None) -> StreamState:
    """Empty states of all groups but the first, which goes on from `first` where there is one."""
    layers = stream.layers
    with x.device:
        states = empty_state(len(layers), groups, x.shape[1], layers[0].time_mixer.heads)
    if first is not None:
        for state, carried in zip(states, first, strict=True):
            for name, value in vars(state).items():
                value[:1] = getattr(carried, name)
    return states
