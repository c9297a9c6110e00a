"""The whole published network in training, with dropout: loss and all gradients against float64 on the CPU."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from rwkv.batches.collate import Batch
from rwkv.model.dropout import DropoutMasks
from rwkv.model.network import Network
from rwkv.model.spec import PUBLISHED
from rwkv.ops.backend import plain_ops
from rwkv.training.step import clipped_gradients, read_report
from tests.model.test_gpu_layer import distance
from tests.networks import recipe_network
from tests.ops.gpu import needs_gpu
from tests.training.learners import some_batch

CPU, GPU = torch.device("cpu"), torch.device("cuda")
DEVICES = pytest.mark.parametrize("device", [CPU, pytest.param(GPU, marks=needs_gpu)], ids=["cpu", "gpu"])

# Relative. float32 on the CPU: loss 4e-8, all gradients together 5e-7; the worst of a parameter is 1e-5, a sum over
# all rows that nearly cancels. A GPU adds up in another order: gradient norms of the vectors are 7e-6 apart there.
LOSS, TOGETHER, ALONE = 1e-6, 1e-5, 1e-4
# bfloat16: the plain form on the CPU is 5e-5 off in the loss, 8e-4 in the norm, 0.03 in all gradients together (cosine
# 0.9994), and 0.004 to 0.07 in those of a part. Of the plain form's distance on the same GPU this share and this much
# more is allowed.
ROUGH_LOSS, ROUGH_NORM, COSINE, SHARE, MORE = 2e-3, 0.02, 0.99, 1.5, 0.02


class StepGradients(NamedTuple):
    """The norm of all gradients before clipping, and the gradients after it."""

    loss: float
    norm: float
    gradients: dict[str, Tensor]

    def together(self, part: str = "") -> Tensor:
        """The gradients of a part of the network, by default all of it, as one vector."""
        return torch.cat([x.flatten() for name, x in self.gradients.items() if name.startswith(part)])


def step_gradients(network: Network, batch: Batch, dtype: torch.dtype) -> StepGradients:
    """The gradients, computed on the network's device and copied to the CPU."""
    device = network.device
    masks = DropoutMasks(torch.tensor([7], device=device))
    report = read_report(clipped_gradients(network, batch.to(device), dtype, "all", masks))
    gradients = {name: p.grad.cpu() for name, p in network.named_parameters() if p.grad is not None}
    assert report.loss is not None
    return StepGradients(report.loss, report.norm, gradients)


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Five users, 1,460 rows."""
    return some_batch(1, users=5, reviews=150)


@pytest.fixture(scope="module")
def exact(batch: Batch) -> StepGradients:
    return step_gradients(recipe_network(PUBLISHED).double(), batch, torch.float64)


@DEVICES
def test_float32(batch: Batch, exact: StepGradients, device: torch.device) -> None:
    ours = step_gradients(recipe_network(PUBLISHED).to(device), batch, torch.float32)
    assert ours.loss == pytest.approx(exact.loss, rel=LOSS)
    assert ours.norm == pytest.approx(exact.norm, rel=TOGETHER)
    assert distance(ours.together(), exact.together()) < TOGETHER
    assert ours.gradients.keys() == exact.gradients.keys()
    for name, expected in exact.gradients.items():
        assert distance(ours.gradients[name], expected) < ALONE, name


@DEVICES
def test_bfloat16(batch: Batch, exact: StepGradients, device: torch.device) -> None:
    ours = step_gradients(recipe_network(PUBLISHED).to(device), batch, torch.bfloat16)
    assert ours.loss == pytest.approx(exact.loss, rel=ROUGH_LOSS)
    assert ours.norm == pytest.approx(exact.norm, rel=ROUGH_NORM)
    assert ours.gradients.keys() == exact.gradients.keys()
    assert torch.cosine_similarity(ours.together().double(), exact.together(), dim=0) > COSINE


@needs_gpu
def test_bfloat16_part_by_part(batch: Batch, exact: StepGradients) -> None:
    """On a GPU only, since the CPU has no bfloat16 kernels."""
    ours = step_gradients(recipe_network(PUBLISHED).to(GPU), batch, torch.bfloat16)
    with plain_ops():
        rough = step_gradients(recipe_network(PUBLISHED).to(GPU), batch, torch.bfloat16)
    # Not parameter by parameter: the error of a sum of a few terms is a matter of luck, up to three times as large.
    for part in parts(exact):
        limit = SHARE * distance(rough.together(part), exact.together(part)) + MORE
        assert distance(ours.together(part), exact.together(part)) < limit, part


def parts(result: StepGradients) -> list[str]:
    """The prefixes of the streams and of the modules before and after them."""
    depth = {name: 2 if name.startswith("rwkv_modules") else 1 for name in result.gradients}
    return sorted({".".join(name.split(".")[: depth[name]]) + "." for name in result.gradients})
