"""A stream: a stack of layers, each with a time mixer and a channel mixer on a residual (spec 4)."""

from typing import cast

import torch
from torch import Tensor, nn

from rwkv.model.channel_mixer import ChannelMixer
from rwkv.model.dropout import DropoutMasks, add_dropped, dropout
from rwkv.model.gpu_layer import resume_fused, run_fused
from rwkv.model.packing import StreamLayout, StreamPart
from rwkv.model.spec import NetworkSpec, StreamSpec
from rwkv.model.state import LayerState, StreamState
from rwkv.model.time_mixer import TimeMixer
from rwkv.ops.backend import Backend, Kernels, choose_backend


class Layer(nn.Module):
    """y = x + Dropout(TimeMixer(x)); z = y + Dropout(ChannelMixer(y)); LayerDropout(z)."""

    def __init__(self, spec: NetworkSpec, stream: StreamSpec, layer: int) -> None:
        super().__init__()
        self.dropout = stream.dropout
        self.layer_dropout = spec.layer_dropout
        self.time_mixer = TimeMixer(spec, layer, stream.layers)
        self.channel_mixer = ChannelMixer(spec.channels, stream.inner(spec.channels), layer, stream.layers)

    def forward(
        self, x: Tensor, v0: Tensor | None, layout: StreamLayout, backend: Backend, masks: DropoutMasks | None
    ) -> tuple[Tensor, Tensor]:
        """Run rows of a batch from empty states. Returns x [N, C] and v0 [N, C]."""
        if backend.kernels is Kernels.TRITON:
            rates = self.dropout, self.layer_dropout
            return run_fused(self.time_mixer, self.channel_mixer, rates, x, v0, layout, masks)
        mixed, v0, _, _ = self.time_mixer(x, v0, layout.source, layout.groups, backend)
        x = add_dropped(x, mixed, self.dropout, masks)
        mixed, _ = self.channel_mixer(x, layout.source, backend)
        x = add_dropped(x, mixed, self.dropout, masks)
        return dropout(x, self.layer_dropout, masks), v0

    def resume(
        self, x: Tensor, v0: Tensor | None, part: StreamPart, backend: Backend, before: LayerState | None
    ) -> tuple[Tensor, Tensor, LayerState | None]:
        """Run a part of a stream without dropout. Also returns the states after it, of the kept groups.

        `before` has the states of the part's first groups; None for empty ones. x may be overwritten.
        """
        if backend.kernels is Kernels.TRITON:
            return resume_fused(self.time_mixer, self.channel_mixer, x, v0, part, before)
        mixed, v0, time_x, wkv = self.time_mixer(x, v0, part.source, part.groups, backend, before)
        x = x + mixed
        mixed, channel_x = self.channel_mixer(x, part.source, backend, before)
        if part.kept < len(wkv):  # a copy, since a view would keep the states of all groups in memory
            wkv = wkv[len(wkv) - part.kept :].clone()
        return x + mixed, v0, part.state_after(before, time_x[part.last_places], channel_x[part.last_places], wkv)

    def step(self, x: Tensor, v0: Tensor | None, state: LayerState) -> tuple[Tensor, Tensor, LayerState]:
        """Run one row for each of N states. The returned states are those after a review row."""
        mixed, v0, time_x, wkv = self.time_mixer.step(x, v0, state)
        x = x + mixed
        mixed, channel_x = self.channel_mixer.step(x, state)
        return x + mixed, v0, LayerState(time_x.float(), channel_x.float(), wkv, torch.ones_like(state.seen))


class Stream(nn.Module):
    """The layers of one stream; they run on rows in places of the stream."""

    def __init__(self, spec: NetworkSpec, stream: StreamSpec) -> None:
        super().__init__()
        self._sizes = spec.channels, spec.head_width
        self.blocks = nn.ModuleList([Layer(spec, stream, layer) for layer in range(stream.layers)])

    @property
    def layers(self) -> list[Layer]:
        """The layers, in the order in which they run."""
        return cast(list[Layer], list(self.blocks))

    def forward(
        self, x: Tensor, layout: StreamLayout, masks: DropoutMasks | None = None, backend: Backend | None = None
    ) -> Tensor:
        """Run all rows of a batch, every group from an empty state.

        Args:
            x: Rows in places of the stream, [N, C].
            layout: The stream's layout.
            masks: The dropout masks; None for evaluation.
            backend: The network's backend; None for the fastest one that fits x.

        Returns:
            The stream's output, [N, C].
        """
        v0, backend = None, backend or self._backend_for(x)
        for block in self.layers:
            x, v0 = block(x, v0, layout, backend, masks)
        return x

    def resume(self, x: Tensor, part: StreamPart, states: StreamState) -> tuple[Tensor, StreamState]:
        """Run a part of a batch from states, without dropout or gradients.

        Args:
            x: Rows in places of the part, [n, C]; may be overwritten.
            part: The part.
            states: States of the part's first groups; empty if all start from empty ones.

        Returns:
            The stream's output, [n, C], and the states after the part, of the kept groups; empty if none is kept.
        """
        v0, after, backend = None, [], self._backend_for(x)
        for number, block in enumerate(self.layers):
            x, v0, state = block.resume(x, v0, part, backend, states[number] if states else None)
            after += [] if state is None else [state]
        return x, after

    def step(self, x: Tensor, states: StreamState) -> tuple[Tensor, StreamState]:
        """Run one row for each of N states. The returned states are those after a review row."""
        v0, after = None, []
        for block, state in zip(self.layers, states, strict=True):
            x, v0, state = block.step(x, v0, state)
            after.append(state)
        return x, after

    def _backend_for(self, x: Tensor) -> Backend:
        return choose_backend(x.device, x.dtype, *self._sizes)
