"""The sizes of the network (spec 4)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rwkv.forgetting_curve import CURVES as CURVES
from rwkv.vocab import FEATURE_NAMES

# Tolerance when a width is computed as a factor times another width.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class StreamSpec:
    """The sizes of one stream.

    Attributes:
        name: Name of the stream.
        layers: Number of layers.
        channel_factor: Width of the channel mixer's hidden layer as a multiple of C.
        dropout: Dropout rate after each mixer.
    """

    name: str
    layers: int
    channel_factor: float
    dropout: float

    def inner(self, channels: int) -> int:
        """Width of the channel mixer's hidden layer for C channels."""
        return int(self.channel_factor * channels + _ROUNDING)


@dataclass(frozen=True)
class CodeSpec:
    """The identity codes of one stream.

    Attributes:
        stream: Name of the stream.
        number: Number of the stream in the hash.
        width: Columns of a code.
    """

    stream: str
    number: int
    width: int


# Blocks of identity codes, in column order (spec 3).
CODES = (CodeSpec("card_id", 0, 12), CodeSpec("note_id", 1, 12), CodeSpec("deck_id", 2, 8), CodeSpec("preset_id", 3, 8))
CYCLE_DAYS = (3, 7, 30, 100, 365, 3650, 36500)
# Interpolations of a time mixer: r, k, v, d, a, g, k_scale and v_scale.
LERPS = 8
# Default channels of a head, the first of them that divide C: the published ones, those of other kernels, the rest.
_HEAD_CHANNELS = (32, 16, *range(31, 7, -1))
# Hidden columns of the encoder and of the heads, as a multiple of C.
_HIDDEN_FACTOR = 4
ENCODED_INPUTS = len(FEATURE_NAMES) + sum(code.width for code in CODES) + 4 * len(CYCLE_DAYS)


@dataclass(frozen=True)
class NetworkSpec:
    """All sizes and dropout rates of a network; the defaults are those of the published one."""

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
        """A copy with all dropout rates multiplied by `share`."""
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
        """A copy of another size; None keeps a size.

        Args:
            channels: C. The hidden columns of the encoder and of the heads become 4 C.
            heads: Number of heads. If only `channels` is given, a head has 32 channels, else 16, else the most below 32
                that divide C.
            layers: Number of layers of each stream.

        Raises:
            ValueError: The channels are not a multiple of the heads, or no default number of heads fits.
        """
        spec = self
        if layers is not None:
            streams = zip(spec.streams, layers, strict=True)
            spec = replace(spec, streams=tuple(replace(stream, layers=count) for stream, count in streams))
        if channels is not None:
            hidden = _HIDDEN_FACTOR * channels
            heads = heads or _default_heads(channels)
            spec = replace(spec, channels=channels, input_hidden=hidden, head_hidden=hidden)
        spec = replace(spec, heads=heads or spec.heads)
        if spec.channels % spec.heads != 0:
            raise ValueError(f"{spec.channels} channels are not a multiple of {spec.heads} heads")
        return spec

    @property
    def head_width(self) -> int:
        """K, the channels of a head."""
        return self.channels // self.heads

    @property
    def layers(self) -> dict[str, int]:
        """The number of layers of each stream."""
        return {stream.name: stream.layers for stream in self.streams}

    def state_size(self, stream: StreamSpec) -> int:
        """The length of the flat state of one entity of a stream."""
        return stream.layers * self.channels * (2 + self.head_width)

    @property
    def sizes(self) -> dict[str, int]:
        """All sizes that determine the shapes of the weights, by name, as in the metadata of a file of weights."""
        names = ("inputs", "channels", "heads", "input_hidden", "head_hidden")
        ranks = ("decay_rank", "a_rank", "v_rank", "gate_rank")
        sizes = {name: getattr(self, name) for name in (*names, *ranks)}
        for stream in self.streams:
            sizes |= {f"{stream.name} layers": stream.layers, f"{stream.name} inner": stream.inner(self.channels)}
        return sizes

    def with_sizes(self, sizes: dict[str, int]) -> "NetworkSpec":
        """A copy with some sizes replaced, by their names in the property `sizes`."""
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


def _default_heads(channels: int) -> int:
    width = next((width for width in _HEAD_CHANNELS if channels % width == 0), None)
    if width is None:
        raise ValueError(f"{channels} channels are not a multiple of any width of a head from 8 to 32")
    return channels // width


PUBLISHED = NetworkSpec()
