"""Running the network over long batches in plain ops, in bounded memory and without gradients.

Each stream runs over all rows before the next begins, slice by slice along its packed groups. Only the state of the
group that a slice boundary cuts is carried over, so the result equals that of `Network.forward`. See
rwkv/model/gpu_network.py for the same on a GPU.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rwkv.model.network import Network
from rwkv.model.packing import StreamPart
from rwkv.model.state import StreamState, empty_state
from rwkv.model.streams import Stream

# Rows of a slice: few enough to bound the memory, and on a GPU enough to hide the launches.
ROWS_OF_A_SLICE = 16_384
ROWS_OF_A_GPU_SLICE = 262_144


def rows_of_a_slice(device: torch.device) -> int:
    """The rows of a slice on a device."""
    return ROWS_OF_A_GPU_SLICE if device.type == "cuda" else ROWS_OF_A_SLICE


@torch.inference_mode()
def rows_before_heads(
    network: Network,
    encode: Callable[[slice], Tensor],
    streams: Sequence[Sequence[StreamPart]],
    rows: int,
    slice_rows: int,
) -> Tensor:
    """Run the streams over a batch.

    Args:
        network: The network, ready to predict.
        encode: Gives the inputs [n, E] of a slice of rows.
        streams: The parts of each stream, see `cut_stream`.
        rows: Number of rows N.
        slice_rows: Rows that are encoded at a time.

    Returns:
        The rows before the heads in time order, [N, C], for `Network.read_out`.
    """
    device = network.device
    x = torch.empty(rows, network.spec.channels, dtype=network.dtype, device=device)
    for part in slices(rows, slice_rows):
        x[part] = network.features2card(encode(part).to(device, network.dtype))
    for stream, parts in zip(network.streams, streams, strict=True):
        _run_parts(stream, x, parts)
    return x


def slices(rows: int, slice_rows: int) -> list[slice]:
    """Slices of at most slice_rows that cover 0..rows-1."""
    return [slice(start, min(start + slice_rows, rows)) for start in range(0, rows, slice_rows)]


def _run_parts(stream: Stream, x: Tensor, parts: Sequence[StreamPart]) -> None:
    """Replace the rows of x by the stream's output."""
    # Indexing by a tensor copies. A slice would keep the states of all groups in memory.
    last = torch.tensor([-1], device=x.device)
    carried: StreamState | None = None
    for part in parts:
        places, layout = part.places.to(x.device), part.layout.to(x.device)
        states = _states_before(stream, x, layout.groups.groups, carried if part.goes_on else None)
        x[places], after = stream.resume(x[places], layout, states)
        carried = [state[last] for state in after]


def _states_before(stream: Stream, x: Tensor, groups: int, first: StreamState | None) -> StreamState:
    """The states before a part: empty, except that the first group continues from `first` if given."""
    layers = stream.layers
    with x.device:
        states = empty_state(len(layers), groups, x.shape[1], layers[0].time_mixer.heads)
    if first is not None:
        for state, carried in zip(states, first, strict=True):
            for name, value in vars(state).items():
                value[:1] = getattr(carried, name)
    return states
