"""Initial weights (spec 4), against the formulas in NumPy."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rwkv.model.network import Network
from rwkv.model.spec import PUBLISHED

# Float32 powers of numbers in [0, 1].
TOLERANCE = 1e-6

LAYERS = [(number, layer) for number, stream in enumerate(PUBLISHED.streams) for layer in range(stream.layers)]
BY_LAYER = pytest.mark.parametrize(("number", "layer"), LAYERS)


def seeded(seed: int) -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Network().state_dict()


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return seeded(11)


def of_layer(weights: dict[str, Tensor], number: int, layer: int) -> dict[str, Tensor]:
    prefix = f"rwkv_modules.{number}.blocks.{layer}."
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def depth(number: int, layer: int) -> tuple[float, float]:
    """q and p of spec 4."""
    layers = PUBLISHED.streams[number].layers
    return layer / (layers - 1), 1 - layer / layers


def close(ours: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(ours.numpy().reshape(expected.shape), expected, rtol=0, atol=TOLERANCE)


def assert_uniform(weight: Tensor, bound: float) -> None:
    """The values fill the range evenly on both sides and have the deviation of uniform values."""
    values = weight.flatten()
    assert 0.99 * bound < float(values.abs().max()) <= bound
    # Of at least 500 values: four standard deviations of a mean and of a standard deviation.
    few = 4 / math.sqrt(len(values))
    assert abs(float(values.mean())) < few * bound / math.sqrt(3)
    assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=few)


def assert_orthogonal(weight: Tensor) -> None:
    """The columns are orthogonal with length 0.1 sqrt(rows / columns); every B has more rows than columns."""
    rows, columns = weight.shape
    assert rows > columns
    close(weight.T @ weight, 0.01 * rows / columns * np.eye(columns))


@BY_LAYER
def test_lerps(weights: dict[str, Tensor], number: int, layer: int) -> None:
    ours = of_layer(weights, number, layer)
    q, p = depth(number, layer)
    ch = np.arange(128) / 128
    fast, slow = ch ** (0.2 * p), ch ** (0.9 * p)
    lerps = {
        "r": 1 - fast,
        "k": 1 - (slow + 0.4 * q),
        "v": 1 - (fast + 0.6 * q),
        "d": 1 - slow,
        "a": 1 - slow,
        "g": 1 - fast,
        "k_scale": 1 - slow,
        "v_scale": 1 - slow,
    }
    assert ours["time_mixer.rkvdag_lerp"].shape == (8, 1, 1, 128)
    close(ours["time_mixer.rkvdag_lerp"], np.stack(list(lerps.values())))
    close(ours["channel_mixer.lerp_k"], 1 - ch ** (p**4))


@BY_LAYER
def test_low_rank_maps(weights: dict[str, Tensor], number: int, layer: int) -> None:
    ours = of_layer(weights, number, layer)
    q, _ = depth(number, layer)
    biases = {
        "v_lora_simple": np.ones(128),
        "a_lora_simple": np.zeros(128),
        "d_lora_mlp": -6.5 + 5 * (np.arange(128) / 127) ** (0.85 + math.sqrt(q)),
    }
    for name, bias in biases.items():
        assert torch.all(ours[f"time_mixer.{name}.A.weight"] == 0)
        assert_orthogonal(ours[f"time_mixer.{name}.B_and_lamb.weight"])
        close(ours[f"time_mixer.{name}.B_and_lamb.bias"], bias)
    assert torch.all(ours["time_mixer.lora_A_g.weight"] == 0)
    assert_orthogonal(ours["time_mixer.lora_B_g.weight"])


@BY_LAYER
def test_linear_maps_of_a_layer(weights: dict[str, Tensor], number: int, layer: int) -> None:
    ours = of_layer(weights, number, layer)
    assert_uniform(ours["time_mixer.W_r.weight"], 0.5 / math.sqrt(128))
    assert_uniform(ours["time_mixer.W_v.weight"], 0.5 / math.sqrt(128))
    assert_uniform(ours["time_mixer.W_k.weight"], 0.05 / math.sqrt(128))
    assert_uniform(ours["channel_mixer.W_k.weight"], 0.5 / math.sqrt(128))
    zero = ["time_mixer.bonus", "time_mixer.W_o.weight", "channel_mixer.W_v.weight"]
    zero += [f"time_mixer.{name}_scale_linear.{part}" for name in "kv" for part in ("weight", "bias")]
    for name in zero:
        assert torch.all(ours[name] == 0), name


def test_norms_start_as_the_identity(weights: dict[str, Tensor]) -> None:
    norms = {name: weight for name, weight in weights.items() if name.endswith(".weight") and weight.dim() == 1}
    assert len(norms) == 1 + 3 * len(LAYERS) + 2
    for name, weight in norms.items():
        assert torch.all(weight == 1), name
        assert torch.all(weights[name.removesuffix("weight") + "bias"] == 0), name


def test_heads(weights: dict[str, Tensor]) -> None:
    for name in ("ahead_linear.weight", "ahead_linear.bias", "w_linear.weight", "w_linear.bias", "p_linear.weight"):
        assert torch.all(weights[name] == 0), name
    close(weights["p_linear.bias"], np.array([-0.3512, -0.0802, 0.4297, -0.2041]))


@pytest.mark.parametrize(
    "name", ["features2card.0", "features2card.3", "head_ahead_logits.0", "head_w.0", "head_w.4", "head_p.0"]
)
def test_other_linear_maps_start_as_pytorchs(weights: dict[str, Tensor], name: str) -> None:
    """PyTorch's default: uniform within 1 / sqrt(columns), the bias too."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    bound = 1 / math.sqrt(weight.shape[1])
    assert_uniform(weight, bound)
    assert 0.9 * bound < float(bias.abs().max()) <= bound


def test_initial_weights_depend_only_on_the_seed(weights: dict[str, Tensor]) -> None:
    again, other = seeded(11), seeded(12)
    assert all(torch.equal(weight, again[name]) for name, weight in weights.items())
    assert not torch.equal(weights["features2card.0.weight"], other["features2card.0.weight"])
