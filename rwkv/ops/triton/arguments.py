"""The arguments of the GPU kernels: named tuples of weights and rows."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from rwkv.ops.groups import PackedGroups


class UpWeights(NamedTuple):
    """The maps from the hidden columns of a time mixer's projections, see time_inputs.py.

    The maps d, a, gate and v_mix are [C, rank], their biases [C], and the biases of k_scale and v_scale [H]. v_mix is
    None in a stream's first layer. `whole` has all maps as diagonal blocks, [4 C or 3 C, ranks], without gradient.
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
        """The ranks of d, a, gate and v_mix."""
        return self.d.shape[1], self.a.shape[1], self.gate.shape[1], 0 if self.v_mix is None else self.v_mix.shape[1]


class OutputWeights(NamedTuple):
    """The bonus [H, K], and weight and bias [C] of the GroupNorm with one group for each head."""

    bonus: Tensor
    weight: Tensor
    bias: Tensor


class TimeWeights(NamedTuple):
    """The weights of a time mixer: norm_weight and norm_bias [C], projections [D, 2 C] and W_o [C, C].

    `projections` is [W | W lerp] of r, k, v and hidden, see time_inputs.py.
    """

    norm_weight: Tensor
    norm_bias: Tensor
    projections: Tensor
    up: UpWeights
    output: OutputWeights
    W_o: Tensor


class EncoderWeights(NamedTuple):
    """The weights of the encoder, and `eps` of its norm.

    W_in is [hidden, E], b_in and norm_weight [hidden], W_out [C, hidden]. sums, float32 [C], has the sums over columns
    of W_out times norm_weight, by which a shift of the hidden columns is multiplied; bias, float32 [C], is W_out times
    the norm's bias plus the bias of the last map.
    """

    W_in: Tensor
    b_in: Tensor
    norm_weight: Tensor
    W_out: Tensor
    sums: Tensor
    bias: Tensor
    eps: float


class InputColumns(NamedTuple):
    """The encoded columns, int32: stream number and component of each column of codes, and the periods in days."""

    stream_number: Tensor
    component: Tensor
    period: Tensor


class HiddenHead(NamedTuple):
    """A head with a hidden layer: W [hidden, C] and bias [hidden], then a final map.

    The final map is the sum over terms of `final` [terms, outputs, hidden]; final_bias is float32 [outputs].
    """

    W: Tensor
    bias: Tensor
    final: Tensor
    final_bias: Tensor


class MixtureHead(NamedTuple):
    """The head of the curves' weights: a HiddenHead with a LayerNorm after the hidden layer.

    The norm's weight is contained in `final`. final_sums, float32 [curves], has the sums of `final` over its columns,
    which are multiplied by a row's mean.
    """

    W: Tensor
    bias: Tensor
    final: Tensor
    final_bias: Tensor
    final_sums: Tensor


class HeadWeights(NamedTuple):
    """The weights of all heads, and norm_weight and norm_bias [C] of the LayerNorm before them."""

    norm_weight: Tensor
    norm_bias: Tensor
    mixture: MixtureHead
    ahead: HiddenHead
    ratings: HiddenHead


class CurveGrid(NamedTuple):
    """The fixed numbers of the forgetting curve.

    Attributes:
        rates: The log of recall by each curve after one second, float32 [curves].
        points: The correction points in seconds, float64 [curves].
    """

    rates: Tensor
    points: Tensor


class RowLayout(NamedTuple):
    """How rows follow one another.

    Attributes:
        source: The row from which each row takes its shift, int64 or int32 [N], as in `token_mix`.
        before: Normalised rows of an earlier batch, [M, C], as in `token_mix`.
        groups: The packed groups.
    """

    source: Tensor
    before: Tensor | None
    groups: PackedGroups


@dataclass(frozen=True)
class StoredRows:
    """N rows of S sequences, as in a Batch (rwkv/batches/collate.py) but without labels.

    Attributes:
        features: Stored features, float32 or in the dtype of the network [N, F].
        entities: Entities of the streams with identity codes, in the order of their numbers in the hash, int32
            [codes, N].
        sequence: The sequence of each row, int32 [N].
        prefix: Hash prefix of each sequence's random encodings, int64 [S].
        phases: Phases of each sequence's cycles in days, below their periods, int64 [S, periods].
        day: Days from the first day of the sequence, int32 [N].
        first_day: The day of the card's first row in the sequence, int32 [N].
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
