"""Weights and rows as the kernels for GPUs take them. Names only: see where each is used."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from rwkv.ops.triton.run_plan import RunPlan


class UpWeights(NamedTuple):
    """What follows the hidden columns of a time mixer's projections, see time_inputs.py.

    d, a, gate, v_mix: [C, rank], v_mix None in a stream's first layer. Their biases, but for the gate's: [C]; those of
    k_scale and v_scale: [H]. whole: all four maps as blocks of one, [4 C or 3 C, ranks], zero elsewhere, a copy to
    which no gradient goes.
    """

    d: Tensor
    d_bias: Tensor
    a: Tensor
    a_bias: Tensor
    gate: Tensor
    v_mix: Tensor | None
    v_mix_bias: Tensor | None
    k_scale_bias: Tensor
    v_scale_bias: Tensor
    whole: Tensor | None

    @property
    def ranks(self) -> tuple[int, int, int, int]:
        """Of d, a, gate and v_mix."""
        return self.d.shape[1], self.a.shape[1], self.gate.shape[1], 0 if self.v_mix is None else self.v_mix.shape[1]


class OutputWeights(NamedTuple):
    """bonus: [H, K]; weight, bias: [C], of the GroupNorm with a group a head. See wkv_output_backward.py."""

    bonus: Tensor
    weight: Tensor
    bias: Tensor


class TimeWeights(NamedTuple):
    """norm_weight, norm_bias: [C]. projections: [D, 2 C], [W | W lerp] of r, k, v and hidden. W_o: [C, C]."""

    norm_weight: Tensor
    norm_bias: Tensor
    projections: Tensor
    up: UpWeights
    output: OutputWeights
    W_o: Tensor

    @property
    def flat(self) -> tuple[Tensor | None, ...]:
        """All of them in a row."""
        return self.norm_weight, self.norm_bias, self.projections, *self.up, *self.output, self.W_o

    @classmethod
    def of_flat(cls, flat: tuple[Tensor, ...]) -> "TimeWeights":
        """The inverse of `flat`."""
        norm_weight, norm_bias, projections, *others, W_o = flat
        ups = len(UpWeights._fields)
        return cls(norm_weight, norm_bias, projections, UpWeights(*others[:ups]), OutputWeights(*others[ups:]), W_o)


class ChannelWeights(NamedTuple):
    """norm_weight, norm_bias, lerp: [C]. W_k: [inner, C]. W_v: [C, inner]. See channel_mix.py."""

    norm_weight: Tensor
    norm_bias: Tensor
    lerp: Tensor
    W_k: Tensor
    W_v: Tensor


class EncoderWeights(NamedTuple):
    """W_in: [hidden, inputs]. b_in, norm_weight, norm_bias: [hidden]. W_out: [C, hidden]. b_out: [C]. eps: of the norm.

    See encode.py.
    """

    W_in: Tensor
    b_in: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    W_out: Tensor
    b_out: Tensor
    eps: float


class InputColumns(NamedTuple):
    """What the encoded columns mean, int32: the stream's number and the component of each identity code, and the
    periods of the calendar in days."""

    stream: Tensor
    component: Tensor
    period: Tensor


class HiddenHead(NamedTuple):
    """A head with a hidden layer: W [hidden, C] and bias [hidden], then the final map.

    final: [terms, outputs, hidden], whose sum over terms it is; final_bias: float32 [outputs].
    """

    W: Tensor
    bias: Tensor
    final: Tensor
    final_bias: Tensor


class MixtureHead(NamedTuple):
    """The head of the curves' weights: the same with a LayerNorm behind the hidden layer, whose weight is in `final`.

    final_sums: float32 [curves], of `final` over its columns, by which a row's mean counts.
    """

    W: Tensor
    bias: Tensor
    final: Tensor
    final_bias: Tensor
    final_sums: Tensor


class HeadWeights(NamedTuple):
    """All heads, see heads.py. norm_weight, norm_bias: [C], of the LayerNorm before them."""

    norm_weight: Tensor
    norm_bias: Tensor
    mixture: MixtureHead
    ahead: HiddenHead
    ratings: HiddenHead


class Rows(NamedTuple):
    """How the rows lie: source (int64 or int32) and before [M, C], as in `token_mix`; the plan of the recurrence."""

    source: Tensor
    before: Tensor | None
    plan: RunPlan


@dataclass(frozen=True)
class StoredRows:
    """N rows of S sequences, as in a Batch (rwkv/batches/collate.py), without what only labels need.

    features float32 [N, F]. entities int32 [E, N]: of the streams that have identity codes, by their number in the
    hash. sequence int32 [N]. prefix int64 [S]. phases int64 [S, P]: each below its period. day, first_day int32 [N].
    """

    features: Tensor
    entities: Tensor
    sequence: Tensor
    prefix: Tensor
    phases: Tensor
    day: Tensor
    first_day: Tensor

    def __len__(self) -> int:
        return len(self.features)
