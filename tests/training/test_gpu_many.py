"""Recorded steps in parts, with sums by NCCL between them, equal plain steps."""

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
from tests.training.test_gpu_recorded import GPU, LOSS, TOGETHER, gradients, pair, plain_step, together

pytestmark = needs_gpu


@pytest.fixture
def processes() -> Iterator[Processes]:
    """A process that is alone, but connected as one of several."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield Processes()
    dist.destroy_process_group()


@pytest.mark.parametrize("dtype", LOSS)
def test_steps_in_parts_equal_plain_ones(processes: Processes, dtype: torch.dtype) -> None:
    """Two batches of one size and one of another, each twice; at the rate 0 no weight changes."""
    (first, second), (padded_first, padded_second) = pair("short")
    (long, _), (padded_long, _) = pair("long")
    network, plain = (recipe_network(PUBLISHED).to(GPU) for _ in range(2))
    shared = SharedGradients(network)
    processes.connect(GPU, shared.sums())
    optimizer = make_optimizer(dict(network.named_parameters()))
    steps = RecordedSteps(network, optimizer, dtype, "all", shared.parts, processes.add)
    visits = 2 * [(first, padded_first), (long, padded_long), (second, padded_second)]
    for seed, (batch, padded) in enumerate(visits):
        ours = steps.launch(padded.to(GPU), seed)()
        theirs, expected = plain_step(plain, batch, dtype, seed)
        assert ours.loss == pytest.approx(theirs.loss, rel=LOSS[dtype])
        assert ours.terms == pytest.approx(theirs.terms, rel=LOSS[dtype], abs=1e-9)
        assert ours.rows == theirs.rows
        assert ours.norm == pytest.approx(theirs.norm, rel=TOGETHER[dtype])
        computed = gradients(network)
        assert computed.keys() == expected.keys()
        assert distance(together(computed), together(expected)) < TOGETHER[dtype]


@pytest.mark.parametrize("width", [1, 48, 128])
def test_rows_of_a_part_have_their_masks_of_the_whole(width: int) -> None:
    x = torch.ones(100, width, device=GPU)
    for first in (0, 1, 40, 2**31 - 50):
        seed = torch.tensor([first << 32 | 7], device=GPU)
        assert torch.equal(hash_dropout(x, 0.5, seed, 3), dropout_reference(x, 0.5, seed, 3))
