"""Names, shapes and order of the weights equal the published ones."""

from collections.abc import Callable
from pathlib import Path

from rwkv.model.network import Network
from tests.conformance.model_vectors import weight_shapes

PARAMETERS = 2_762_884


def test_weights(vectors: Path, differences: Callable[[str, float], None]) -> None:
    published = list(weight_shapes(vectors).items())
    ours = [(name, tuple(weight.shape)) for name, weight in Network().state_dict().items()]
    differences("weights: names and shapes", len(set(ours) ^ set(published)))
    assert ours == published


def test_number_of_parameters() -> None:
    network = Network()
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS
    assert [name for name, _ in network.named_parameters()] == list(network.state_dict()), "a checkpoint holds them all"
