"""A stream: a stack of layers, each a time mixer and a channel mixer on a residual (spec 4)."""

from typing import cast

import torch
from torch import Tensor, nn

from rwkv.model.channel_mixer import ChannelMixer
from rwkv.model.dropout import DropoutSource, add_dropped, dropout
from rwkv.model.gpu_layer import run_fused
from rwkv.model.packing import StreamLayout, last_review
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
        self, x: Tensor, v0: Tensor | None, layout: StreamLayout, backend: Backend, source: DropoutSource | None
    ) -> tuple[Tensor, Tensor]:
        """Rows of a batch from empty states. Returns (x [N, C], v0 [N, C])."""
        if backend.kernels is Kernels.TRITON:
            rates = self.dropout, self.layer_dropout
            return run_fused(self.time_mixer, self.channel_mixer, rates, x, v0, layout, source)
        mixed, v0, _, _ = self.time_mixer(x, v0, layout, backend)
        x = add_dropped(x, mixed, self.dropout, source)
        mixed, _ = self.channel_mixer(x, layout, backend)
        x = add_dropped(x, mixed, self.dropout, source)
        return dropout(x, self.layer_dropout, source), v0

    def resume(
        self, x: Tensor, v0: Tensor | None, layout: StreamLayout, backend: Backend, state: LayerState
    ) -> tuple[Tensor, Tensor, LayerState]:
        """Rows of a batch from the states [G] of its groups, without dropout; also returns the states after it."""
        mixed, v0, time_x, wkv = self.time_mixer(x, v0, layout, backend, state)
        x = x + mixed
        mixed, channel_x = self.channel_mixer(x, layout, backend, state)
        time_shift, seen = last_review(time_x, layout, state.time_shift, state.seen)
        channel_shift, _ = last_review(channel_x, layout, state.channel_shift, state.seen)
        return x + mixed, v0, LayerState(time_shift.float(), channel_shift.float(), wkv, seen)

    def step(self, x: Tensor, v0: Tensor | None, state: LayerState) -> tuple[Tensor, Tensor, LayerState]:
        """One row for each of N states; the new states are those after a review row."""
        mixed, v0, time_x, wkv = self.time_mixer.step(x, v0, state)
        x = x + mixed
        mixed, channel_x = self.channel_mixer.step(x, state)
        return x + mixed, v0, LayerState(time_x.float(), channel_x.float(), wkv, torch.ones_like(state.seen))


class Stream(nn.Module):
    """The layers of one stream over rows in places of the stream."""

    def __init__(self, spec: NetworkSpec, stream: StreamSpec) -> None:
        super().__init__()
        self._sizes = spec.channels, spec.head_width
        self.blocks = nn.ModuleList([Layer(spec, stream, layer) for layer in range(stream.layers)])

    @property
    def layers(self) -> list[Layer]:
        """The layers in the order in which they run."""
        return cast(list[Layer], list(self.blocks))

    def forward(
        self, x: Tensor, layout: StreamLayout, source: DropoutSource | None = None, backend: Backend | None = None
    ) -> Tensor:
        """All rows of a batch, every group from an empty state. x [N, C] -> [N, C].

        backend: of the network, None for the fastest one that takes x.
        """
        v0, backend = None, backend or self._backend_for(x)
        for block in self.layers:
            x, v0 = block(x, v0, layout, backend, source)
        return x

    def resume(self, x: Tensor, layout: StreamLayout, states: StreamState) -> tuple[Tensor, StreamState]:
        """All rows of a batch, every group from its state; returns the states after the batch."""
        v0, after, backend = None, [], self._backend_for(x)
        for block, state in zip(self.layers, states, strict=True):
            x, v0, state = block.resume(x, v0, layout, backend, state)
            after.append(state)
        return x, after

    def step(self, x: Tensor, states: StreamState) -> tuple[Tensor, StreamState]:
        """One row for each of N states [N]; the new states are those after a review row."""
        v0, after = None, []
        for block, state in zip(self.layers, states, strict=True):
            x, v0, state = block.step(x, v0, state)
            after.append(state)
        return x, after

    def _backend_for(self, x: Tensor) -> Backend:
        return choose_backend(x.device, x.dtype, *self._sizes)
