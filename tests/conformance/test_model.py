"""The network over whole batches: outputs, predictions, loss and gradients in float32."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.heads import Outputs
from rwkv.model.network import Network
from rwkv.training.loss import Loss, compute_loss
from tests.conformance.model_vectors import ModelRows, gradient_norms, largest_difference, read_rows, recipe_network_of
from tests.ops.gpu import needs_gpu

Differences = Callable[[str, float], None]

# The vectors' README: float32 sums taken in another order.
PROBABILITY_TOLERANCE = 1e-5
LOGIT_TOLERANCE = 2e-5
LOSS_TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 1e-4

# Ours -> the file's.
TERMS = {
    "ahead": "ahead_avg",
    "imm": "imm_avg",
    "ahead_raw": "ahead_raw_avg",
    "w": "w_loss_avg",
    "ahead_logits_mag": "ahead_logits_mag_loss_avg",
    "ahead_logits_diff": "ahead_logits_diff_loss_avg",
}
COUNTS = {
    "ahead": "ahead_n",
    "imm": "imm_n",
    "ahead_equalize": "ahead_equalize_n",
    "imm_equalize": "imm_binary_equalize_n",
}


DEVICES = pytest.mark.parametrize(
    "device", [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=needs_gpu)], ids=["cpu", "gpu"]
)


def copy_of(folder: Path) -> Network:
    """A network of the vectors' weights that no other test has."""
    return copy.deepcopy(recipe_network_of(folder))


def outputs_of(data: ModelRows, network: Network, device: torch.device) -> Outputs:
    """What the network says, on the CPU."""
    layouts = [layout.to(device) for layout in data.layouts()]
    outputs = network.to(device)(data.inputs.to(device), layouts)
    return Outputs(*(output.cpu() for output in outputs))


def loss_of(data: ModelRows, network: Network, device: torch.device) -> Loss:
    return compute_loss(outputs_of(data, network, device), data.labels, data.is_query)


@DEVICES
@torch.no_grad()
def test_outputs(vectors: Path, model_file: Path, differences: Differences, device: torch.device) -> None:
    data = read_rows(model_file)
    outputs = outputs_of(data, copy_of(vectors), device)
    curve = curve_logits(outputs.w_logits, outputs.ahead_logits, data.labels.elapsed_s)
    compared: list[tuple[str, Tensor, float]] = [
        ("out_ahead_logits", outputs.ahead_logits, LOGIT_TOLERANCE),
        ("out_p_logits", outputs.p_logits, LOGIT_TOLERANCE),
        ("out_w", outputs.w_logits.softmax(-1), PROBABILITY_TOLERANCE),
        ("p_curve", curve.corrected.sigmoid(), PROBABILITY_TOLERANCE),
        ("p_imm", immediate_recall(outputs.p_logits), PROBABILITY_TOLERANCE),
        ("p_imm_all", outputs.p_logits.softmax(-1), PROBABILITY_TOLERANCE),
    ]
    for name, ours, tolerance in compared:
        difference = largest_difference(ours, data.expected(name))
        differences(f"model on the {device.type}: {name}", difference)
        assert difference <= tolerance, name


@DEVICES
@torch.no_grad()
def test_loss(vectors: Path, model_file: Path, differences: Differences, device: torch.device) -> None:
    data = read_rows(model_file)
    loss = loss_of(data, copy_of(vectors), device)
    ours = {"average_loss": loss.total}
    ours |= {TERMS[name]: value for name, value in loss.terms.items()}
    ours |= {f"{name}_avg": value for name, value in loss.reported.items()}
    published = {name.removeprefix("loss_"): value for name, value in data.arrays.items() if name.startswith("loss_")}
    assert set(published) - set(ours) == {"rows"}
    for name, value in ours.items():
        expected = float(published[name])
        differences(f"loss: {name}, relative", abs(float(value) - expected) / (abs(expected) or 1))
        assert float(value) == pytest.approx(expected, rel=LOSS_TOLERANCE, abs=0), name
    for name, theirs in COUNTS.items():
        differences("loss: counts", abs(int(loss.counts[name]) - int(data.arrays[theirs])))
        assert int(loss.counts[name]) == int(data.arrays[theirs]), name


@DEVICES
def test_gradients(vectors: Path, model_file: Path, differences: Differences, device: torch.device) -> None:
    data = read_rows(model_file)
    network = copy_of(vectors)
    loss_of(data, network, device).total.backward()
    ours = dict(gradient_norms(network))
    expected = dict(zip(data.arrays["grad_names"].tolist(), data.arrays["grad_norms"].tolist(), strict=True))
    assert list(ours) == list(expected)
    for name, norm in expected.items():
        if norm != norm:
            differences("gradients: where there are none", ours[name])
            assert ours[name] == 0, name
            continue
        differences("gradients: norms, relative", abs(ours[name] - norm) / (norm or 1))
        assert ours[name] == pytest.approx(norm, rel=GRADIENT_TOLERANCE, abs=0), name
    total = float(torch.tensor(list(ours.values()), dtype=torch.float64).norm())
    differences("gradients: total, relative", abs(total / float(data.arrays["grad_norm_total"]) - 1))
    assert total == pytest.approx(float(data.arrays["grad_norm_total"]), rel=GRADIENT_TOLERANCE)
