"""The parts of a step that several processes compute, run side by side here, equal the whole step."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rwkv.batches.collate import Batch, collate
from rwkv.data.segments import Segment, unlabelled_row, whole_history
from rwkv.model.dropout import DropoutMasks, mask_seed
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network
from rwkv.training.shared_step import SharedGradients
from rwkv.training.step import Parts, clipped_gradients, read_report
from tests.helpers import make_table, random_revlog
from tests.networks import native_network, small_network
from tests.typed import not_none

SEED = 5
# Relative: sums in another order, and in bfloat16 rounded before they are added.
APART = {torch.float32: 2e-6, torch.bfloat16: 0.02}
# Of the gradient of one weight, relative to its largest entry; sums that nearly cancel show most.
ALONE = {torch.float32: 2e-5, torch.bfloat16: 0.2}

Gradients = dict[str, Tensor | None]


def segments() -> list[Segment]:
    tables = [make_table(random_revlog(user, 20 + 9 * user, cards=8), user=user) for user in range(4)]
    return [whole_history(table, table.review_th % 3 == 0) for table in tables]


def batch_of(some: Sequence[Segment]) -> Batch:
    some = some or [unlabelled_row()]
    return collate(list(some), [draw_sequence(segment.user, SEED) for segment in some])


def gradients(network: Network) -> Gradients:
    return {name: None if p.grad is None else p.grad.clone() for name, p in network.named_parameters()}


def run_together(processes: list[Parts]) -> list[Tensor]:
    """Run the parts of several processes; the figures of each. Sums that are not awaited come as late as possible."""
    late: list[list[Tensor]] = []
    while True:
        sums, figures = [], []
        for parts in processes:
            try:
                sums.append(next(parts))
            except StopIteration as end:
                figures.append(end.value)
        if figures:
            return figures
        late += [list(tensors) for tensors in zip(*(each.tensors for each in sums), strict=True)]
        if sums[0].is_awaited:
            for tensors in late:
                total = torch.stack(tensors).sum(0)
                for tensor in tensors:
                    tensor.copy_(total)
            late.clear()


def shared(
    batches: Sequence[Batch], firsts: Sequence[int], dtype: torch.dtype, mode: str
) -> list[tuple[Tensor, Gradients]]:
    """The figures and the gradients of processes that each have one of the batches."""
    networks = [native_network() for _ in batches]
    parts = [
        SharedGradients(network).parts(batch, dtype, mode, DropoutMasks(torch.tensor([mask_seed(SEED, first)])))
        for network, batch, first in zip(networks, batches, firsts, strict=True)
    ]
    figures = run_together(parts)
    return [(each, gradients(network)) for each, network in zip(figures, networks, strict=True)]


@pytest.mark.parametrize("mode", ["all", "equalize"])
@pytest.mark.parametrize("cuts", [(2,), (0,), (1, 3), (4, 4)], ids=str)
@pytest.mark.parametrize("dtype", APART)
def test_shares_add_up_to_the_whole_step(cuts: tuple[int, ...], dtype: torch.dtype, mode: str) -> None:
    """With dropout, and with shares that have no segments."""
    every = segments()
    network = native_network()
    masks = DropoutMasks(torch.tensor([SEED]))
    expected = read_report(clipped_gradients(network, batch_of(every), dtype, mode, masks))
    of_whole = gradients(network)
    starts, stops = (0, *cuts), (*cuts, len(every))
    batches = [batch_of(every[start:stop]) for start, stop in zip(starts, stops, strict=True)]
    firsts = [sum(map(len, every[:start])) for start in starts]
    for figures, ours in shared(batches, firsts, dtype, mode):
        report = read_report(figures)
        assert report.rows == expected.rows
        assert report.loss == pytest.approx(expected.loss, rel=APART[dtype])
        assert report.norm == pytest.approx(expected.norm, rel=APART[dtype])
        assert report.terms == pytest.approx(expected.terms, rel=APART[dtype])
        assert ours.keys() == of_whole.keys()
        for name, gradient in of_whole.items():
            if gradient is None:
                assert ours[name] is None, name
            else:
                assert (not_none(ours[name]) - gradient).abs().max() <= ALONE[dtype] * gradient.abs().max(), name


def test_all_processes_have_the_same_gradients_bit_for_bit() -> None:
    every = segments()
    (figures, first), (others, second) = shared(
        [batch_of(every[:1]), batch_of(every[1:])], [0, len(every[0])], torch.float32, "all"
    )
    assert torch.equal(figures, others)
    assert all(gradient is None or torch.equal(gradient, not_none(second[name])) for name, gradient in first.items())


def test_a_share_that_is_not_finite_makes_the_step_so_in_all_processes() -> None:
    every = segments()
    broken = batch_of(every[:1])
    broken = replace(broken, features=torch.full_like(broken.features, torch.nan))
    results = shared([broken, batch_of(every[1:])], [0, len(every[0])], torch.float32, "all")
    assert [read_report(figures).loss for figures, _ in results] == [None, None]


def test_the_first_sums_have_the_sizes_of_those_of_a_step() -> None:
    gradients = SharedGradients(small_network())
    step = [x.shape for each in gradients.parts(batch_of(segments()), torch.float32, "all", None) for x in each.tensors]
    assert sorted(step) == sorted(x.shape for each in gradients.sums() for x in each.tensors)
