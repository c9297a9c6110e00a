"""The three heads: curve weights, corrections to the curve, and rating logits (spec 4)."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from rwkv.model.columns import COLUMNS
from rwkv.model.dropout import DropoutMasks, next_drop
from rwkv.model.spec import CURVES, NetworkSpec
from rwkv.ops.activated_norm import activated_norm
from rwkv.ops.heads import hidden_head, linear, two_maps

_RATING_BIAS = (-0.3512, -0.0802, 0.4297, -0.2041)


class Outputs(NamedTuple):
    """The network's outputs of N rows, float32.

    Attributes:
        w_logits: Logits of the curves' weights, [N, 128].
        ahead_logits: Corrections to the curve, [N, 128].
        p_logits: Rating logits, [N, 4].
    """

    w_logits: Tensor
    ahead_logits: Tensor
    p_logits: Tensor


def joined(outputs: Outputs) -> Tensor:
    """Join the outputs of the heads in COLUMNS: [N, outputs]."""
    return torch.cat([getattr(outputs, name) for name in COLUMNS], 1)


class Heads(nn.Module):
    """The heads, from the last stream's rows to Outputs. The final linear maps always keep full precision."""

    FULL_PRECISION = ("w_linear", "ahead_linear", "p_linear")

    def add_heads(self, spec: NetworkSpec) -> None:
        """Register the heads, after all modules that come before them in the published order."""
        channels, hidden = spec.channels, spec.head_hidden
        self.head_dropout = spec.head_dropout
        self.curve_dropout = spec.curve_dropout
        self.prehead_norm = nn.LayerNorm(channels)
        self.head_ahead_logits = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU())
        # Index 3 was a dropout without weights; the identity preserves the published names.
        self.head_w = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), nn.LayerNorm(channels), nn.Identity(), nn.Linear(channels, hidden)
        )
        self.head_p = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU())
        self.ahead_linear = nn.Linear(hidden, CURVES)
        self.w_linear = nn.Linear(hidden, CURVES)
        self.p_linear = nn.Linear(hidden, len(_RATING_BIAS))
        for final in (self.ahead_linear, self.w_linear, self.p_linear):
            nn.init.zeros_(final.weight)
            nn.init.zeros_(final.bias)
        self.p_linear.bias.data.copy_(torch.tensor(_RATING_BIAS))

    def read_out(self, x: Tensor, masks: DropoutMasks | None = None) -> Outputs:
        """Run all heads on the rows of the last stream, x [N, C]; `masks` are those of dropout."""
        x = self._normed(x, masks)
        return Outputs(*self._curve(x, masks), p_logits=self._ratings(x))

    def read_curve(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The curve's heads alone, without dropout: w_logits and ahead_logits [N, 128] of rows x [N, C]."""
        return self._curve(self._normed(x, None), None)

    def read_ratings(self, x: Tensor) -> Tensor:
        """The rating head alone, without dropout: p_logits [N, 4] of rows x [N, C]."""
        return self._ratings(self._normed(x, None))

    def _normed(self, x: Tensor, masks: DropoutMasks | None) -> Tensor:
        norm = self.prehead_norm
        return activated_norm(x, "none", norm.weight, norm.bias, next_drop(self.head_dropout, masks))

    def _curve(self, x: Tensor, masks: DropoutMasks | None) -> tuple[Tensor, Tensor]:
        first, inner = cast(nn.Linear, self.head_w[0]), cast(nn.Linear, self.head_w[4])
        norm, hidden = cast(nn.LayerNorm, self.head_w[2]), linear(x, first.weight, first.bias)
        hidden = activated_norm(hidden, "relu", norm.weight, norm.bias, next_drop(self.curve_dropout, masks))
        w_logits = two_maps(hidden, inner.weight, inner.bias, self.w_linear.weight, self.w_linear.bias)
        return w_logits, _hidden_head(x, self.head_ahead_logits, self.ahead_linear)

    def _ratings(self, x: Tensor) -> Tensor:
        return _hidden_head(x, self.head_p, self.p_linear)


def _hidden_head(x: Tensor, layers: nn.Sequential, final: nn.Linear) -> Tensor:
    first = cast(nn.Linear, layers[0])
    return hidden_head(x, first.weight, first.bias, final.weight, final.bias)
