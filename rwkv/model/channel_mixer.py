"""The channel mixer of RWKV-7 (spec 4)."""

import torch
from torch import Tensor, nn

from rwkv.model.initial import channel_lerp
from rwkv.model.packing import StreamLayout
from rwkv.model.spec import NetworkSpec
from rwkv.model.state import LayerState
from rwkv.model.token_shift import shift


class ChannelMixer(nn.Module):
    """Mixes the channels of a row with those of the row before it. factor: inner width as a multiple of C."""

    def __init__(self, spec: NetworkSpec, factor: float, layer: int, layers: int) -> None:
        super().__init__()
        channels = spec.channels
        inner = int(factor * channels)
        self.lerp_k = nn.Parameter(channel_lerp(channels, layer, layers))
        self.layer_norm = nn.LayerNorm(channels)
        self.W_k = nn.Linear(channels, inner, bias=False)
        self.W_v = nn.Linear(inner, channels, bias=False)
        bound = 0.5 * channels**-0.5
        nn.init.uniform_(self.W_k.weight, -bound, bound)
        nn.init.zeros_(self.W_v.weight)

    def mix(self, x: Tensor, shifted: Tensor) -> Tensor:
        """x, shifted [N, C]: normalised rows and the rows they are shifted to."""
        k = self.W_k(x + self.lerp_k.view(1, -1) * (shifted - x))
        return self.W_v(torch.relu(k).square())

    def forward(self, x: Tensor, layout: StreamLayout, state: LayerState | None = None) -> tuple[Tensor, Tensor]:
        """All rows of a stream at once. Returns (output [N, C], normalised x [N, C])."""
        x = self.layer_norm(x)
        carried = (None, None) if state is None else (state.channel_shift, state.seen)
        return self.mix(x, shift(x, layout, *carried)), x

    def step(self, x: Tensor, state: LayerState) -> tuple[Tensor, Tensor]:
        """One row for each of N states. Returns the same as `forward`."""
        x = self.layer_norm(x)
        return self.mix(x, torch.where(state.seen[:, None], state.channel_shift.to(x.dtype), x)), x
