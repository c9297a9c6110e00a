"""The network: encoder, five streams and heads, with the same weights for batches and single reviews (spec 4)."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rwkv.model.dropout import DropoutMasks
from rwkv.model.heads import Heads, Outputs
from rwkv.model.packing import StreamLayout
from rwkv.model.spec import PUBLISHED, NetworkSpec
from rwkv.model.state import StreamState, empty_state
from rwkv.model.streams import Stream
from rwkv.ops.activated_norm import activated_norm
from rwkv.ops.backend import Backend, choose_backend
from rwkv.ops.dropout import NO_DROP
from rwkv.ops.groups import permute
from rwkv.ops.heads import linear

# Alignment in elements of tensors that share a buffer: 16 bytes in bfloat16.
_ALIGNMENT = 8


class Network(Heads):
    """RWKV-7 over the card, deck, note, preset and user streams; its state_dict has the published names."""

    def __init__(self, spec: NetworkSpec = PUBLISHED) -> None:
        super().__init__()
        self.spec = spec
        self.features2card = nn.Sequential(
            nn.Linear(spec.inputs, spec.input_hidden),
            nn.SiLU(),
            nn.LayerNorm(spec.input_hidden),
            nn.Linear(spec.input_hidden, spec.channels),
            nn.SiLU(),
        )
        self.rwkv_modules = nn.ModuleList([Stream(spec, stream) for stream in spec.streams])
        self.add_heads(spec)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which the network computes."""
        return self.prehead_norm.weight.dtype

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.prehead_norm.weight.device

    @property
    def backend(self) -> Backend:
        """The backend for the network's device, dtype and sizes."""
        return self.backend_in(self.dtype)

    def backend_in(self, dtype: torch.dtype) -> Backend:
        """The backend if the network computes in another dtype, see `compute_weights`."""
        return choose_backend(self.device, dtype, self.spec.channels, self.spec.head_width)

    @property
    def streams(self) -> list[Stream]:
        """The streams, in the order in which they run."""
        return cast(list[Stream], list(self.rwkv_modules))

    def encode(self, inputs: Tensor) -> Tensor:
        """The input of the first stream, [N, C], from inputs [N, E] in any dtype."""
        first, second = (cast(nn.Linear, self.features2card[place]) for place in (0, 3))
        norm = cast(nn.LayerNorm, self.features2card[2])
        hidden = linear(inputs.to(self.dtype), first.weight, first.bias)
        hidden = activated_norm(hidden, "silu", norm.weight, norm.bias, NO_DROP)
        return F.silu(linear(hidden, second.weight, second.bias))

    def forward(self, inputs: Tensor, layouts: Sequence[StreamLayout], masks: DropoutMasks | None = None) -> Outputs:
        """Run all rows of a batch at once.

        Args:
            inputs: The inputs, [N, E], in time order within each sequence.
            layouts: The layout of each stream, in the order of the network.
            masks: The dropout masks; None for evaluation.

        Returns:
            The outputs in the order of the inputs.
        """
        backend = self.backend
        x = self.encode(inputs)
        x = permute(x, layouts[0].order, layouts[0].inverse)
        for stream, layout, following in zip(self.streams, layouts, [*layouts[1:], None], strict=True):
            x = stream(x, layout, masks, backend)
            if following is None:
                x = permute(x, layout.inverse, layout.order)
            else:  # from this stream's order directly to the next one's
                x = permute(x, layout.inverse[following.order], following.inverse[layout.order])
        return self.read_out(x, masks)

    def step(self, inputs: Tensor, states: Sequence[StreamState]) -> tuple[Outputs, list[StreamState]]:
        """Run one row for each of N independent combinations of states, by the same formulas as `forward`.

        Args:
            inputs: The inputs, [N, E].
            states: For each stream, the states of the N rows' entities.

        Returns:
            The outputs, and for each stream the states after the rows as review rows. Discard those of query rows.
        """
        x = self.encode(inputs)
        new_states = []
        for stream, state in zip(self.streams, states, strict=True):
            x, new_state = stream.step(x, state)
            new_states.append(new_state)
        return self.read_out(x), new_states

    def empty_states(self, rows: int) -> list[StreamState]:
        """The states of entities without a review, for each stream and `rows` rows."""
        spec = self.spec
        return [empty_state(stream.layers, rows, spec.channels, spec.heads) for stream in spec.streams]


def new_network(seed: int, spec: NetworkSpec = PUBLISHED) -> Network:
    """Make a network with initial weights from `seed`, without changing torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(spec)


def frozen_network(weights: Mapping[str, Tensor], dtype: torch.dtype, spec: NetworkSpec = PUBLISHED) -> Network:
    """Make a network that only predicts, on the device of the weights. Weights that keep their dtype are shared.

    Args:
        weights: Float32 weights by name.
        dtype: The dtype in which it computes.
        spec: Its sizes.
    """
    with torch.device("meta"):  # skips the initial weights
        network = Network(spec)
    network.load_state_dict(compute_weights(weights, dtype), assign=True)
    return network.requires_grad_(False).eval()


def compute_weights(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Cast weights to `dtype`, except the final linear maps of the heads. Gradients flow back to `weights`."""
    names = [name for name, x in weights.items() if x.dtype != dtype and name.split(".")[0] not in Heads.FULL_PRECISION]
    cast = _CastAll.apply(dtype, *(weights[name] for name in names)) if names else ()
    return {**weights, **dict(zip(names, cast, strict=True))}


class _CastAll(torch.autograd.Function):
    """Casts many tensors of one dtype, and their gradients back, in a few launches instead of hundreds."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.dtype = tensors[0].dtype
        return _side_by_side(tensors, dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        back = iter(_side_by_side([grad for grad in gradients if grad is not None], ctx.dtype))
        return (None, *(None if grad is None else next(back) for grad in gradients))


def _side_by_side(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Cast tensors into views of one buffer, each aligned to 16 bytes for the kernels."""
    if not tensors:
        return ()
    sizes = [x.numel() + -x.numel() % _ALIGNMENT for x in tensors]
    parts = torch.empty(sum(sizes), dtype=dtype, device=tensors[0].device).split(sizes)
    views = tuple(part[: x.numel()].view(x.shape) for part, x in zip(parts, tensors, strict=True))
    # A few launches, if all tensors are contiguous.
    torch._foreach_copy_(views, [x.contiguous() for x in tensors])
    return views
