"""The network: encode, five streams, heads (spec 4). One set of parameters, for batches and for single reviews."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from rwkv.model.heads import Heads, Outputs
from rwkv.model.packing import StreamLayout
from rwkv.model.spec import PUBLISHED, NetworkSpec
from rwkv.model.state import StreamState, empty_state
from rwkv.model.streams import Stream


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
    def streams(self) -> list[Stream]:
        """The streams in the order in which they run."""
        return cast(list[Stream], list(self.rwkv_modules))

    def forward(self, inputs: Tensor, layouts: Sequence[StreamLayout], rng: torch.Generator | None = None) -> Outputs:
        """All rows of a batch at once.

        inputs: [N, 92], rows in time order within each user. layouts: one a stream, in the order of the spec.
        rng: source of dropout; None for evaluation. Returns Outputs in the order of the inputs.
        """
        x = self.features2card(inputs.to(self.dtype))
        for stream, layout in zip(self.streams, layouts, strict=True):
            x = stream(x[layout.order], layout, rng)[layout.inverse]
        return self.read_out(x, rng)

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


def new_network(seed: int) -> Network:
    """A network with the initial weights that `seed` gives; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()


def compute_weights(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Weights to compute with: in `dtype`, but for the last linear maps of the heads. Gradients flow to `weights`."""
    return {
        name: weight if name.split(".")[0] in Heads.FULL_PRECISION else weight.to(dtype)
        for name, weight in weights.items()
    }
