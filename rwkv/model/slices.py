"""The network over batches of any length, in bounded memory and without gradients.

Each stream runs over all rows before the next begins, slice by slice along its packed groups. Of all states only that
of the group which a slice boundary cuts is carried on, so the result is that of `Network.forward`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rwkv.model.network import Network
from rwkv.model.packing import StreamLayout, pack_stream
from rwkv.model.state import StreamState, empty_state
from rwkv.model.streams import Stream

# Few enough rows to bound memory; on a GPU enough of them to hide the launches.
ROWS_OF_A_SLICE = 16_384
ROWS_OF_A_GPU_SLICE = 262_144


@torch.inference_mode()
def rows_before_heads(
    network: Network,
    encode: Callable[[slice], Tensor],
    layouts: Sequence[StreamLayout],
    device: torch.device,
    slice_rows: int = ROWS_OF_A_SLICE,
) -> Tensor:
    """What the last stream says of each row: [N, C] on `device`, in time order, for `Network.read_out`.

    encode: gives the inputs [n, 92] of a slice of rows. layouts: one a stream, on the CPU.
    """
    rows = len(layouts[0].order)
    x = torch.empty(rows, network.spec.channels, dtype=network.dtype, device=device)
    for part in slices(rows, slice_rows):
        x[part] = network.features2card(encode(part).to(device, network.dtype))
    for stream, layout in zip(network.streams, layouts, strict=True):
        _run_stream(stream, network, x, layout, slice_rows)
    return x


def slices(rows: int, slice_rows: int) -> list[slice]:
    """0..rows-1 in slices of at most slice_rows."""
    return [slice(start, min(start + slice_rows, rows)) for start in range(0, rows, slice_rows)]


def _run_stream(stream: Stream, network: Network, x: Tensor, layout: StreamLayout, slice_rows: int) -> None:
    """Replace the rows of x by the stream's output."""
    # Indexing by a tensor copies; a slice would keep the states of all groups alive.
    last = torch.tensor([-1], device=x.device)
    carried: StreamState | None = None
    last_group = -1
    for part in slices(len(x), slice_rows):
        places, group = layout.order[part].to(x.device), layout.group[part]
        local = pack_stream(group, layout.groups.is_query[part]).to(x.device)
        cut = carried if int(group[0]) == last_group else None
        states = _states_before(stream, network, local.groups.groups, cut, x.device)
        x[places], after = stream.resume(x[places], local, states)
        carried, last_group = [state[last] for state in after], int(group[-1])


def _states_before(
    stream: Stream, network: Network, groups: int, first: StreamState | None, device: torch.device
) -> StreamState:
    """Empty states of all groups but the first, which goes on from `first` where there is one."""
    with device:
        states = empty_state(len(stream.layers), groups, network.spec.channels, network.spec.heads)
    if first is not None:
        for state, carried in zip(states, first, strict=True):
            for name, value in vars(state).items():
                value[:1] = getattr(carried, name)
    return states
