"""The shape of the network (spec 4)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rwkv.vocab import FEATURE_NAMES

# A factor that is a quotient of widths, times the one, gives the other but for this.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class StreamSpec:
    """One stack of layers. channel_factor: width of the channel mixer as a multiple of C."""

    name: str
    layers: int
    channel_factor: float
    dropout: float

    def inner(self, channels: int) -> int:
        """The inner width of the channel mixer."""
        return int(self.channel_factor * channels + _ROUNDING)


@dataclass(frozen=True)
class CodeSpec:
    """Identity codes of one stream: `number` names the stream in the hash, `width` columns."""

    stream: str
    number: int
    width: int


# Blocks of identity codes, in column order (spec 3).
CODES = (CodeSpec("card_id", 0, 12), CodeSpec("note_id", 1, 12), CodeSpec("deck_id", 2, 8), CodeSpec("preset_id", 3, 8))
CYCLE_DAYS = (3, 7, 30, 100, 365, 3650, 36500)
# Curves of which a forgetting curve is made: their stabilities are fixed, see `curve_stabilities`.
CURVES = 128
# Channels of a head, where nobody gives the heads.
HEAD_CHANNELS = 32
# Hidden columns of the encoder and of the heads, as a multiple of C.
_HIDDEN_FACTOR = 4
ENCODED_INPUTS = len(FEATURE_NAMES) + sum(code.width for code in CODES) + 4 * len(CYCLE_DAYS)


@dataclass(frozen=True)
class NetworkSpec:
    """All sizes and dropout rates. The defaults are the published network."""

    inputs: int = ENCODED_INPUTS
    channels: int = 128
    heads: int = 4
    input_hidden: int = 512
    head_hidden: int = 512
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

    def resized(
        self, channels: int | None = None, heads: int | None = None, layers: Sequence[int] | None = None
    ) -> "NetworkSpec":
        """The same network with C channels, heads of 32 channels or so many `heads`, and so many layers by stream.

        None: as here. The hidden columns of the encoder and of the heads become 4 C. Raises ValueError where the
        channels cannot be shared out among the heads.
        """
        spec = self
        if layers is not None:
            streams = zip(spec.streams, layers, strict=True)
            spec = replace(spec, streams=tuple(replace(stream, layers=count) for stream, count in streams))
        if channels is not None:
            hidden = _HIDDEN_FACTOR * channels
            heads = heads or max(1, channels // HEAD_CHANNELS)
            spec = replace(spec, channels=channels, input_hidden=hidden, head_hidden=hidden)
        spec = replace(spec, heads=heads or spec.heads)
        if spec.channels % spec.heads != 0:
            raise ValueError(f"{spec.channels} channels cannot be shared out among {spec.heads} heads")
        return spec

    @property
    def head_width(self) -> int:
        """K, the channels of one head."""
        return self.channels // self.heads

    @property
    def sizes(self) -> dict[str, int]:
        """All that decides the shapes of the weights, by name: what a file of weights says of its network."""
        names = ("inputs", "channels", "heads", "input_hidden", "head_hidden")
        ranks = ("decay_rank", "a_rank", "v_rank", "gate_rank")
        sizes = {name: getattr(self, name) for name in (*names, *ranks)}
        for stream in self.streams:
            sizes |= {f"{stream.name} layers": stream.layers, f"{stream.name} inner": stream.inner(self.channels)}
        return sizes

    def with_sizes(self, sizes: dict[str, int]) -> "NetworkSpec":
        """The same with other sizes, each by its name in `sizes`; those that are not named are as here."""
        sizes = self.sizes | sizes
        streams = tuple(
            replace(
                stream,
                layers=sizes.pop(f"{stream.name} layers"),
                channel_factor=sizes.pop(f"{stream.name} inner") / sizes["channels"],
            )
            for stream in self.streams
        )
        return replace(self, **sizes, streams=streams)


PUBLISHED = NetworkSpec()
