"""The shape of the network (spec 4)."""

from dataclasses import dataclass, replace

from rwkv.vocab import FEATURE_NAMES


@dataclass(frozen=True)
class StreamSpec:
    """One stack of layers. channel_factor: width of the channel mixer as a multiple of C."""

    name: str
    layers: int
    channel_factor: float
    dropout: float


@dataclass(frozen=True)
class CodeSpec:
    """Identity codes of one stream: `number` names the stream in the hash, `width` columns."""

    stream: str
    number: int
    width: int


# Blocks of identity codes, in column order (spec 3).
CODES = (CodeSpec("card_id", 0, 12), CodeSpec("note_id", 1, 12), CodeSpec("deck_id", 2, 8), CodeSpec("preset_id", 3, 8))
CYCLE_DAYS = (3, 7, 30, 100, 365, 3650, 36500)
ENCODED_INPUTS = len(FEATURE_NAMES) + sum(code.width for code in CODES) + 4 * len(CYCLE_DAYS)


@dataclass(frozen=True)
class NetworkSpec:
    """All sizes and dropout rates. The defaults are the published network; tests use smaller ones."""

    inputs: int = ENCODED_INPUTS
    channels: int = 128
    heads: int = 4
    input_hidden: int = 512
    head_hidden: int = 512
    curves: int = 128
    decay_rank: int = 16
    a_rank: int = 16
    v_rank: int = 8
    gate_rank: int = 16
    layer_dropout: float = 0.01
    head_dropout: float = 0.02
    curve_dropout: float = 0.1
    streams: tuple[StreamSpec, ...] = (
        StreamSpec("card_id", 3, 1.5, 0.02),
        StreamSpec("deck_id", 4, 2.0, 0.05),
        StreamSpec("note_id", 2, 1.5, 0.02),
        StreamSpec("preset_id", 3, 2.0, 0.05),
        StreamSpec("user_id", 4, 2.0, 0.05),
    )

    def with_dropout(self, share: float) -> "NetworkSpec":
        """The same network, all rates of dropout times `share`."""
        return replace(
            self,
            layer_dropout=share * self.layer_dropout,
            head_dropout=share * self.head_dropout,
            curve_dropout=share * self.curve_dropout,
            streams=tuple(replace(stream, dropout=share * stream.dropout) for stream in self.streams),
        )

    @property
    def head_width(self) -> int:
        """K, the channels of one head."""
        return self.channels // self.heads


PUBLISHED = NetworkSpec()
