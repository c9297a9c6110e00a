"""The network over batches of any length, in bounded memory and without gradients.

Each stream runs over all rows before the next begins, slice by slice along its packed groups. Of all states only that
of the group which a slice boundary cuts is carried on, so the result is that of `Network.forward`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rwkv.model.network import Network
from rwkv.model.packing import StreamLayout, pack_stream
from rwkv.model.state import LayerState, StreamState, empty_state
from rwkv.model.streams import Stream

ROWS_OF_A_SLICE = 16_384


@torch.inference_mode()
def rows_before_heads(
    network: Network,
    encode: Callable[[slice], Tensor],
    layouts: Sequence[StreamLayout],
    device: torch.device,
    slice_rows: int = ROWS_OF_A_SLICE,
) -> Tensor:
    """What the last stream says of each row: [N, C] on `device`, in time order, for `Network.read_out`.

    encode: gives the inputs [n, 92] of a slice of rows. layouts: one a stream, may lie on another device.
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
    carried: StreamState | None = None
    last_group = -1
    for part in slices(len(x), slice_rows):
        places = layout.order[part].to(x.device)
        group = layout.group[part]
        local = pack_stream(group, layout.groups.is_query[part]).to(x.device)
        states = _empty_states(stream, network, local.groups.groups, x.device)
        if carried is not None and int(group[0]) == last_group:
            states = [_with_first(state, first) for state, first in zip(states, carried, strict=True)]
        x[places], after = stream.resume(x[places], local, states)
        carried, last_group = [state[-1:] for state in after], int(group[-1])


def _empty_states(stream: Stream, network: Network, groups: int, device: torch.device) -> StreamState:
    states = empty_state(len(stream.layers), groups, network.spec.channels, network.spec.heads)
    return [LayerState(**{name: value.to(device) for name, value in vars(state).items()}) for state in states]


def _with_first(state: LayerState, first: LayerState) -> LayerState:
    """The state with its first entity replaced."""
    return LayerState(**{name: torch.cat([getattr(first, name), value[1:]]) for name, value in vars(state).items()})
