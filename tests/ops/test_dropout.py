"""Dropout by a hash: the native kernel against its definition, and properties of the masks."""

from collections.abc import Callable

import pytest
import torch

from rwkv.model.dropout import mask_seed
from rwkv.ops.dropout import dropout_reference, hash_dropout
from tests.ops.groups import needs_native

pytestmark = needs_native


@pytest.mark.parametrize("rate", [0.01, 0.5])
def test_dropout(rate: float) -> None:
    x = torch.randn(70, 1000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for seed, site in ((0, 1), (2**32 - 1, 7)):
        seeds = torch.tensor([seed])
        ours = hash_dropout(x.float(), rate, seeds, site)
        # One float32 product each.
        torch.testing.assert_close(ours.double(), dropout_reference(x, rate, seeds, site), rtol=2e-7, atol=0)
        # 70,000 draws: the standard deviation of a share is at most 0.002.
        assert float((ours == 0).double().mean()) == pytest.approx(rate, abs=0.008)


def test_dropout_drops_the_gradient_where_it_drops_the_value() -> None:
    x = torch.ones(50, 64, requires_grad=True)
    y = hash_dropout(x, 0.3, torch.tensor([5]), 2)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


def test_dropout_masks_of_other_seeds_and_sites_are_independent() -> None:
    """Two masks agree in a share of 0.5; its deviation is 0.0014 for 131,072 entries."""
    x = torch.ones(1024, 128)
    masks = [hash_dropout(x, 0.5, torch.tensor([seed]), site) > 0 for seed in (1, 2, 3) for site in (1, 2, 3)]
    for index, one in enumerate(masks):
        for other in masks[index + 1 :]:
            assert float((one == other).double().mean()) == pytest.approx(0.5, abs=0.008)


@pytest.mark.parametrize("width", [1, 7, 128])
@pytest.mark.parametrize("drop", [hash_dropout, dropout_reference], ids=["native", "definition"])
def test_rows_of_a_part_have_their_masks_of_the_whole(drop: Callable[..., torch.Tensor], width: int) -> None:
    """Also where the index of an entry exceeds 32 bits."""
    x = torch.ones(100, width)
    whole = drop(x, 0.5, torch.tensor([mask_seed(-3, 0)]), 4)
    for first in (1, 40, 99):
        part = drop(x[first:], 0.5, torch.tensor([mask_seed(-3, first)]), 4)
        assert torch.equal(part, whole[first:])
    late = torch.tensor([mask_seed(-3, 2**31 - 50)])
    assert torch.equal(drop(x, 0.5, late, 4), dropout_reference(x, 0.5, late, 4))
