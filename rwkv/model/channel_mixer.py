"""The channel mixer of RWKV-7 (spec 4)."""

from torch import Tensor, nn

from rwkv.model.initial import channel_lerp
from rwkv.model.packing import source_of_states
from rwkv.model.state import LayerState
from rwkv.ops.backend import Backend, Kernels
from rwkv.ops.channel_mix import ChannelWeights, channel_mix_reference
from rwkv.ops.cpu.mixers import channel_mix


class ChannelMixer(nn.Module):
    """Mixes the channels of each row, after interpolating it with the row it is shifted to.

    Args:
        channels: C.
        inner: Width of the hidden layer.
        layer: Number of the layer in its stream, which sets the initial weights.
        layers: Number of layers of the stream.
    """

    def __init__(self, channels: int, inner: int, layer: int, layers: int) -> None:
        super().__init__()
        self.lerp_k = nn.Parameter(channel_lerp(channels, layer, layers))
        self.layer_norm = nn.LayerNorm(channels)
        self.W_k = nn.Linear(channels, inner, bias=False)
        self.W_v = nn.Linear(inner, channels, bias=False)
        bound = 0.5 * channels**-0.5
        nn.init.uniform_(self.W_k.weight, -bound, bound)
        nn.init.zeros_(self.W_v.weight)

    def forward(
        self, x: Tensor, source: Tensor, backend: Backend, before: LayerState | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run rows in places of a stream at once.

        Args:
            x: Rows in places of the stream, [N, C].
            source: Place from which each takes its token shift, int64 [N]; N + i stands for row i of `before`.
            backend: What runs the network; not TRITON, which runs whole layers.
            before: States of the first groups before the rows; None for empty ones.

        Returns:
            The output [N, C] and the normalised x [N, C].
        """
        shift = None if before is None else before.channel_shift
        mix = channel_mix if backend.kernels is Kernels.NATIVE else channel_mix_reference
        return mix(x, self.weights, source, shift)

    def step(self, x: Tensor, state: LayerState) -> tuple[Tensor, Tensor]:
        """Run one row x [N, C] for each of N states. Returns the same as `forward`."""
        return channel_mix_reference(x, self.weights, source_of_states(state.seen), state.channel_shift)

    @property
    def weights(self) -> ChannelWeights:
        """The weights of all kernels."""
        norm = self.layer_norm
        return ChannelWeights(norm.weight, norm.bias, self.lerp_k.view(-1), self.W_k.weight, self.W_v.weight)
