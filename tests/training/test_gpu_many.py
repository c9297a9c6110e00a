"""Recorded steps in parts, with sums by NCCL between them, equal steps recorded as a whole."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist

from rwkv.model.spec import PUBLISHED
from rwkv.ops.dropout import dropout_reference, hash_dropout
from rwkv.training.graphs import RecordedSteps
from rwkv.training.optimizer import make_optimizer
from rwkv.training.processes import Processes
from rwkv.training.shared_step import SharedGradients
from tests.model.test_gpu_layer import distance
from tests.networks import recipe_network
from tests.ops.gpu import needs_gpu
from tests.training.test_gpu_recorded import GPU, LOSS, TOGETHER, gradients, pair, together

pytestmark = needs_gpu


@pytest.fixture
def processes() -> Iterator[Processes]:
    """A process that is alone, but connected as one of several."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield Processes()
    dist.destroy_process_group()


@pytest.mark.parametrize("dtype", LOSS)
def test_steps_in_parts_equal_whole_ones(processes: Processes, dtype: torch.dtype) -> None:
    """Two batches of one size and one of another, each twice."""
    padded = [*pair("short")[1], pair("long")[1][0]]
    networks = [recipe_network(PUBLISHED).to(GPU) for _ in range(2)]
    optimizers = [make_optimizer(dict(network.named_parameters())) for network in networks]
    shared = SharedGradients(networks[0])
    processes.connect(GPU, shared.sums())
    in_parts = RecordedSteps(networks[0], optimizers[0], dtype, "all", shared.parts, processes.add)
    whole = RecordedSteps(networks[1], optimizers[1], dtype, "all")
    for seed, which in enumerate((0, 2, 1, 0, 2, 1)):
        ours, theirs = (steps.launch(padded[which].to(GPU), seed)() for steps in (in_parts, whole))
        assert ours.loss == pytest.approx(theirs.loss, rel=LOSS[dtype])
        assert ours.terms == pytest.approx(theirs.terms, rel=LOSS[dtype], abs=1e-9)
        assert ours.rows == theirs.rows
        assert ours.norm == pytest.approx(theirs.norm, rel=TOGETHER[dtype])
        computed, expected = (gradients(network) for network in networks)
        assert computed.keys() == expected.keys()
        assert distance(together(computed), together(expected)) < TOGETHER[dtype]


@pytest.mark.parametrize("width", [1, 48, 128])
def test_rows_of_a_part_have_their_masks_of_the_whole(width: int) -> None:
    x = torch.ones(100, width, device=GPU)
    for first in (0, 1, 40, 2**31 - 50):
        seed = torch.tensor([first << 32 | 7], device=GPU)
        assert torch.equal(hash_dropout(x, 0.5, seed, 3), dropout_reference(x, 0.5, seed, 3))
