"""The sizes of a network from the shapes of its weights and from metadata, and checks that weights fit."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv.errors import CheckpointError
from rwkv.model.checkpoint import load_network, read_weights, weights_fingerprint, write_weights
from rwkv.model.network import Network
from rwkv.model.shapes import MOST, MOST_LAYERS, differences, different_sizes, spec_of, spec_text, stated_spec
from rwkv.model.spec import PUBLISHED, NetworkSpec
from rwkv.model.stored_weights import Storage, StoredWeight, stored_weight
from rwkv.model.weight_table import weight_shapes
from rwkv.model.weights_file import read_metadata
from rwkv.vocab import STREAMS
from tests.networks import NATIVE, SMALL, recipe_network

CPU = torch.device("cpu")


@st.composite
def specs(draw: st.DrawFn) -> NetworkSpec:
    heads, width, rank = draw(st.integers(1, 4)), draw(st.integers(1, 24)), st.integers(1, 9)
    channels = max(2, heads * width)
    spec = replace(
        PUBLISHED, channels=channels, heads=heads if channels % heads == 0 else 1, input_hidden=draw(rank),
        head_hidden=draw(rank), decay_rank=draw(rank), a_rank=draw(rank), v_rank=draw(rank), gate_rank=draw(rank),
    )  # fmt: skip
    sizes = {f"{stream} layers": draw(st.integers(1, 3)) for stream in STREAMS}
    return spec.with_sizes(sizes | {f"{stream} inner": draw(st.integers(1, 60)) for stream in STREAMS})


@settings(max_examples=25, deadline=None)
@given(specs())
def test_every_size_is_read_from_the_shapes(spec: NetworkSpec) -> None:
    shapes = {name: tuple(weight.shape) for name, weight in Network(spec).state_dict().items()}
    assert list(weight_shapes(spec).items()) == list(shapes.items())
    weights = {name: StoredWeight("float32", shape, Storage("float32", 0)) for name, shape in shapes.items()}
    assert spec_of(weights).sizes == spec.sizes
    assert differences(weights, spec_of(weights)) == []
    assert stated_spec(spec_text(spec)).sizes == spec.sizes


def test_the_published_sizes_are_read_from_published_weights() -> None:
    assert spec_of(recipe_network(PUBLISHED).state_dict()) == PUBLISHED
    assert different_sizes(PUBLISHED, PUBLISHED) == ("", "")
    assert different_sizes(PUBLISHED, replace(PUBLISHED, heads=2)) == ("heads 4", "heads 2")


@pytest.mark.parametrize("spec", [SMALL, NATIVE], ids=["small", "native"])
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_a_network_is_loaded_in_its_size(tmp_path: Path, name: str, spec: NetworkSpec) -> None:
    network = recipe_network(spec)
    write_weights(tmp_path / name, network.state_dict())
    loaded = load_network(tmp_path / name, CPU, torch.float32)
    assert loaded.spec.sizes == spec.sizes
    assert all(torch.equal(weight, network.state_dict()[key]) for key, weight in loaded.state_dict().items())


def stated(path: Path, change: Callable[[dict[str, int]], object]) -> None:
    """Write small weights with changed sizes in the metadata."""
    weights = recipe_network(SMALL).state_dict()
    spec = json.dumps(change(dict(SMALL.sizes)))
    safetensors.torch.save_file(weights, path, {"rwkv.spec": spec, "rwkv.fingerprint": weights_fingerprint(weights)})


def test_weights_are_checked_against_the_stated_sizes(tmp_path: Path) -> None:
    """A missing layer cannot be detected from the shapes alone."""
    path = tmp_path / "model.safetensors"
    stated(path, lambda sizes: sizes)
    assert len(read_weights(path)) == len(Network(SMALL).state_dict())
    stated(path, lambda sizes: sizes | {"user_id layers": 3})
    with pytest.raises(CheckpointError, match=r"missing: rwkv_modules\.4\.blocks\.2\."):
        read_weights(path)
    stated(path, lambda sizes: sizes | {"channels": 32})
    with pytest.raises(CheckpointError, match="of another shape"):
        read_weights(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda sizes: [],
        lambda sizes: {"channels": 16},
        lambda sizes: sizes | {"channels": 0},
        lambda sizes: sizes | {"channels": "16"},
        lambda sizes: sizes | {"heads": 3},
        lambda sizes: sizes | {"inputs": 91},
        lambda sizes: sizes | {"head_hidden": MOST + 1},
        lambda sizes: sizes | {"card_id layers": MOST_LAYERS + 1},
        lambda sizes: sizes | {"more": 1},
    ],
)
def test_sizes_that_no_network_has_are_refused(tmp_path: Path, change: Callable[[dict[str, int]], object]) -> None:
    stated(tmp_path / "model.safetensors", change)
    with pytest.raises(CheckpointError, match="damaged or of another kind"):
        read_weights(tmp_path / "model.safetensors")


def test_weights_without_their_last_layer_are_loaded_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a file looks like a smaller network, unless it states its size."""
    path, whole = tmp_path / "model.pth", recipe_network(PUBLISHED).state_dict()
    write_weights(path, whole)
    load_network(path, CPU, torch.float32)
    assert caplog.text == ""
    write_weights(path, {name: weight for name, weight in whole.items() if "modules.4.blocks.3." not in name})
    assert load_network(path, CPU, torch.float32).spec.layers["user_id"] == 3
    for words in ("does not state the size", "preset_id 3, user_id 3.", "preset_id 3, user_id 4,", "complete"):
        assert words in caplog.text
    caplog.clear()
    write_weights(tmp_path / "small.safetensors", recipe_network(SMALL).state_dict())
    load_network(tmp_path / "small.safetensors", CPU, torch.float32)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("channels", "heads"), [(128, 4), (32, 1), (16, 1), (48, 3), (80, 5), (512, 16), (24, 1), (50, 2), (44, 2)]
)
def test_default_heads(channels: int, heads: int) -> None:
    """They have 32 channels, else 16, else the most below 32 that divide the channels."""
    assert PUBLISHED.resized(channels).heads == heads


def test_channels_without_a_width_for_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="37 channels are not a multiple of any width of a head"):
        PUBLISHED.resized(37)
    assert PUBLISHED.resized(37, heads=1).head_width == 37


def test_written_files_state_their_sizes(tmp_path: Path) -> None:
    write_weights(tmp_path / "model.safetensors", recipe_network(SMALL).state_dict(), {"own": "words"})
    metadata = read_metadata(tmp_path / "model.safetensors")
    assert json.loads(metadata["rwkv.spec"]) == SMALL.sizes
    assert metadata["own"] == "words"


@pytest.mark.parametrize("size", [1 << 40, 1 << 20])
def test_a_huge_shape_allocates_nothing(size: int) -> None:
    """Such a tensor may be a view of a single number."""
    weights = {name: stored_weight("float32", shape, b"") for name, shape in weight_shapes(SMALL).items()}
    assert differences(weights, spec_of(weights)) == []
    weights["prehead_norm.weight"] = StoredWeight("float32", (size,), Storage("float32", 1), 0, (0,))
    assert differences(weights, spec_of(weights)) != []
