"""The network: encode, five streams, heads (spec 4). One set of parameters, for batches and for single reviews."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from rwkv.model.dropout import DropoutSource
from rwkv.model.heads import Heads, Outputs
from rwkv.model.packing import StreamLayout
from rwkv.model.spec import PUBLISHED, NetworkSpec
from rwkv.model.state import StreamState, empty_state
from rwkv.model.streams import Stream
from rwkv.ops.backend import Backend, choose_backend
from rwkv.ops.groups import permute

# Numbers a tensor is filled up to, where many lie side by side: 16 bytes of bfloat16.
_ALIGNED = 8


class Network(Heads):
    """RWKV-7 over the card, deck, note, preset and user streams. Its state_dict has the published names."""

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
        """What the network computes in."""
        return self.prehead_norm.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.prehead_norm.weight.device

    @property
    def backend(self) -> Backend:
        """What runs the network where it lies and in what it computes in."""
        return self.backend_in(self.dtype)

    def backend_in(self, dtype: torch.dtype) -> Backend:
        """What runs it where it lies with weights in another dtype, see `compute_weights`."""
        return choose_backend(self.device, dtype, self.spec.channels, self.spec.head_width)

    @property
    def streams(self) -> list[Stream]:
        """The streams in the order in which they run."""
        return cast(list[Stream], list(self.rwkv_modules))

    def forward(self, inputs: Tensor, layouts: Sequence[StreamLayout], source: DropoutSource | None = None) -> Outputs:
        """All rows of a batch at once.

        inputs: [N, 92], rows in time order within each user. layouts: one a stream, in the order of the spec.
        source: of dropout; None for evaluation. Returns Outputs in the order of the inputs.
        """
        backend = self.backend
        x = self.features2card(inputs.to(self.dtype))
        x = permute(x, layouts[0].order, layouts[0].inverse)
        for stream, layout, following in zip(self.streams, layouts, [*layouts[1:], None], strict=True):
            x = stream(x, layout, source, backend)
            if following is None:
                x = permute(x, layout.inverse, layout.order)
            else:  # from one stream's order straight to the next one's
                x = permute(x, layout.inverse[following.order], following.inverse[layout.order])
        return self.read_out(x, source)

    def step(self, inputs: Tensor, states: Sequence[StreamState]) -> tuple[Outputs, list[StreamState]]:
        """One row for each of N independent combinations of states.

        inputs: [N, 92]. states: per stream the state of each row's entity [N]. Returns the outputs and the states that
        a review row leaves behind; for a query row they are to be dropped. The same formulas as `forward`.
        """
        x = self.features2card(inputs.to(self.dtype))
        after = []
        for stream, state in zip(self.streams, states, strict=True):
            x, new = stream.step(x, state)
            after.append(new)
        return self.read_out(x), after

    def empty_states(self, rows: int) -> list[StreamState]:
        """States of N rows whose entities have no review yet."""
        spec = self.spec
        return [empty_state(stream.layers, rows, spec.channels, spec.heads) for stream in spec.streams]


def new_network(seed: int, spec: NetworkSpec = PUBLISHED) -> Network:
    """A network with the initial weights that `seed` gives; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(spec)


def frozen_network(weights: Mapping[str, Tensor], dtype: torch.dtype, spec: NetworkSpec = PUBLISHED) -> Network:
    """A network that predicts with the given float32 weights, on their device, computing in `dtype`; it never learns.

    Weights that need no other dtype are shared, not copied.
    """
    with torch.device("meta"):  # no initial weights, which would be overwritten
        network = Network(spec)
    network.load_state_dict(compute_weights(weights, dtype), assign=True)
    return network.requires_grad_(False).eval()


def compute_weights(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Weights to compute with: in `dtype`, but for the last linear maps of the heads. Gradients flow to `weights`."""
    names = [name for name, x in weights.items() if x.dtype != dtype and name.split(".")[0] not in Heads.FULL_PRECISION]
    cast = _CastAll.apply(dtype, *(weights[name] for name in names)) if names else ()
    return {**weights, **dict(zip(names, cast, strict=True))}


class _CastAll(torch.autograd.Function):
    """Many tensors of one dtype to another, side by side, and their gradients back: a few launches, not hundreds."""

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
    """The tensors in another dtype as parts of one; each begins at a multiple of 16 bytes, as kernels like it."""
    if not tensors:
        return ()
    sizes = [x.numel() + -x.numel() % _ALIGNED for x in tensors]
    parts = torch.empty(sum(sizes), dtype=dtype, device=tensors[0].device).split(sizes)
    views = tuple(part[: x.numel()].view(x.shape) for part, x in zip(parts, tensors, strict=True))
    # In a few launches, unless one of them is laid out in another way.
    torch._foreach_copy_(views, [x.contiguous() for x in tensors])
    return views
