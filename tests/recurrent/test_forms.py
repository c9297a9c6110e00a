"""States on disk in a few per cent of their size: the loss is that of bfloat16, the size that of their rank."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rwkv.recurrent.forms import CompactForm, ExactForm
from tests.recurrent.engines import answered, engine_for, now, some_history

CHANNELS, HEADS, WIDTH, LAYERS = 64, 2, 32, 3
FORM = CompactForm(CHANNELS, HEADS)
# bfloat16 has 8 bits: rounding errs by 2^-8 of a number; and float32's own errors beside it.
ROUNDING = 1.0001 * 2.0**-8


def states(rank: int, count: int = 5) -> tuple[Tensor, Tensor]:
    """Flat states [count, S] after `rank` reviews, with decay; and their matrices [count, layers, heads, K, K]."""
    rng = torch.Generator().manual_seed(rank)
    shape = (count, LAYERS, HEADS)
    matrices = torch.zeros(*shape, WIDTH, WIDTH)
    for _ in range(rank):
        decay = 0.6 + 0.4 * torch.rand(*shape, WIDTH, 1, generator=rng)
        b, v = (torch.randn(*shape, *size, generator=rng) for size in ((WIDTH, 1), (1, WIDTH)))
        matrices = decay * matrices + 0.1 * b * v
    shifts = torch.randn(count, LAYERS, 2 * CHANNELS, generator=rng)
    return torch.cat([shifts, matrices.flatten(2)], 2).flatten(1).contiguous(), matrices


def decoded(data: list[bytes]) -> tuple[Tensor, Tensor]:
    """Shifts [n, layers, 2 C] and matrices."""
    flat = torch.cat([FORM.decode(one) for one in data]).view(len(data), LAYERS, -1)
    shifts, matrices = flat.split([2 * CHANNELS, CHANNELS * WIDTH], 2)
    return shifts, matrices.reshape(len(data), LAYERS, HEADS, WIDTH, WIDTH)


@pytest.mark.parametrize("rank", [0, 1, 2, 5, 14, 15, 16, 60])
def test_the_loss_is_that_of_bfloat16(rank: int) -> None:
    flat, matrices = states(rank)
    shifts, ours = decoded(FORM.encode(flat))
    expected_shifts = flat.view(len(flat), LAYERS, -1)[:, :, : 2 * CHANNELS]
    torch.testing.assert_close(shifts, expected_shifts, rtol=ROUNDING, atol=0)
    largest = matrices.abs().amax((-1, -2), keepdim=True)
    assert ((ours - matrices).abs() <= ROUNDING * largest).all()


def test_the_size_is_that_of_the_rank() -> None:
    """Two bytes for each number of the shifts and of a few outer products, never more than for the whole matrix."""
    shifts, matrix, product = 2 * LAYERS * 2 * CHANNELS, 2 * WIDTH * WIDTH, 2 * 2 * WIDTH
    heads = LAYERS * HEADS
    small = 1 + heads + shifts
    for rank in (0, 1, 3, 60):
        for data in FORM.encode(states(rank)[0]):
            # A product more than the rank takes in the rounding of those before it.
            assert len(data) <= small + heads * min(matrix, (rank + 1) * product)
    assert max(map(len, FORM.encode(states(1)[0]))) < 0.15 * 4 * (shifts + heads * matrix) / 2


def test_states_of_one_kind_do_not_depend_on_their_neighbours() -> None:
    flat, _ = states(4)
    assert FORM.encode(flat) == [data for row in flat.split(1) for data in FORM.encode(row)]


def test_the_exact_form_is_exact() -> None:
    flat, _ = states(7)
    read = torch.cat([ExactForm().decode(data) for data in ExactForm().encode(flat)])
    assert torch.equal(read, flat)


@pytest.mark.parametrize("memory", [0, 10**9])
def test_an_engine_with_compact_states(memory: int) -> None:
    """Near the exact one, and no different from it as long as nothing is written."""
    table = some_history(95, reviews=150, cards=20)
    exact, compact = answered(table), answered(table, memory=memory, compact=True)
    p = np.array([[engine.predict(now(table, card)).p_imm for card in exact.cards] for engine in (exact, compact)])
    difference = np.abs(p[1] - p[0]).max()
    assert difference <= (0.01 if memory == 0 else 0)
    assert (difference > 0) == (memory == 0)
    np.testing.assert_allclose(
        engine_for(table, memory=memory, compact=True).feed(table).p_all, engine_for(table).feed(table).p_all, atol=0.01
    )
    compact.close()
