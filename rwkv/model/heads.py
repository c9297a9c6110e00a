"""The three heads: curve weights, corrections to the curve, and rating logits (spec 4)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rwkv.model.dropout import DropoutSource, dropout
from rwkv.model.spec import CURVES, NetworkSpec
from rwkv.vocab import RATINGS

_RATING_BIAS = (-0.3512, -0.0802, 0.4297, -0.2041)


class Outputs(NamedTuple):
    """What the network says of each row, in float32: w_logits [N, 128], ahead_logits [N, 128], p_logits [N, 4]."""

    w_logits: Tensor
    ahead_logits: Tensor
    p_logits: Tensor


# What the engine keeps of a row's outputs side by side: the columns of each head. A head that is not here is not kept.
COLUMNS = {
    "w_logits": slice(0, CURVES),
    "ahead_logits": slice(CURVES, 2 * CURVES),
    "p_logits": slice(2 * CURVES, 2 * CURVES + len(RATINGS)),
}
KEPT_COLUMNS = max(columns.stop for columns in COLUMNS.values())


def joined(outputs: Outputs) -> Tensor:
    """The outputs in COLUMNS side by side, [N, 260]."""
    return torch.cat([getattr(outputs, name) for name in COLUMNS], 1)


def columns_of(joined: Tensor, name: str) -> Tensor:
    """One head's part of `joined`, by its name in COLUMNS."""
    return joined[:, COLUMNS[name]]


class Heads(nn.Module):
    """From the last stream's rows to Outputs. The final linear maps keep full precision whatever the rest runs in."""

    FULL_PRECISION = ("w_linear", "ahead_linear", "p_linear")

    def add_heads(self, spec: NetworkSpec) -> None:
        """Register the heads, after all modules that come before them in the published order."""
        channels, hidden = spec.channels, spec.head_hidden
        self.head_dropout = spec.head_dropout
        self.curve_dropout = spec.curve_dropout
        self.prehead_norm = nn.LayerNorm(channels)
        self.head_ahead_logits = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU())
        # The dropout at place 3 has no weights; the place is kept for the published names.
        self.head_w = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), nn.LayerNorm(channels), nn.Identity(), nn.Linear(channels, hidden)
        )
        self.head_p = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU())
        self.ahead_linear = nn.Linear(hidden, CURVES)
        self.w_linear = nn.Linear(hidden, CURVES)
        self.p_linear = nn.Linear(hidden, len(_RATING_BIAS))
        for linear in (self.ahead_linear, self.w_linear, self.p_linear):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.p_linear.bias.data.copy_(torch.tensor(_RATING_BIAS))

    def read_out(self, x: Tensor, source: DropoutSource | None = None) -> Outputs:
        """x [N, C], the rows of the last stream -> Outputs."""
        x = dropout(self.prehead_norm(x), self.head_dropout, source)
        return Outputs(*self._curve(x, source), p_logits=self._ratings(x))

    def read_curve(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """w_logits and ahead_logits [N, 128] of rows x [N, C], without dropout and without the ratings."""
        return self._curve(self.prehead_norm(x), None)

    def read_ratings(self, x: Tensor) -> Tensor:
        """p_logits [N, 4] of rows x [N, C], without dropout and without the other heads."""
        return self._ratings(self.prehead_norm(x))

    def _curve(self, x: Tensor, source: DropoutSource | None) -> tuple[Tensor, Tensor]:
        precise = self.p_linear.weight.dtype
        w = self.head_w[4](dropout(self.head_w[:3](x), self.curve_dropout, source))
        return self.w_linear(w.to(precise)), self.ahead_linear(self.head_ahead_logits(x).to(precise))

    def _ratings(self, x: Tensor) -> Tensor:
        return self.p_linear(self.head_p(x).to(self.p_linear.weight.dtype))
