"""Identity codes, phases and cycles (spec 3): the specification's check values, and arrays and tensors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwkv.model import inputs
from rwkv.model.inputs import SequenceDraw, as_int64, counter_hash, draw_sequence, training_draw
from rwkv.model.spec import CYCLE_DAYS
from rwkv.model.tensor_inputs import cycles, encode_inputs, identity_codes, row_codes
from rwkv.vocab import STREAMS

FIRST_CARD = [1.5, 0.5, -0.5, 0.5, 1.5, -1.5, 0.5, 0.5, 1.5, -1.5, -0.5, -0.5]
PHASES = (0, 3, 24, 49, 348, 458, 19642)

WORDS = st.integers(0, 2**64 - 1)


def test_the_specifications_hash() -> None:
    assert counter_hash(1234, 0, 1, 0, 0, 0) == 0x1E9C6CF1B49D96F3


def test_the_specifications_code_of_user_1s_first_card() -> None:
    prefix = torch.tensor([as_int64(draw_sequence(1).prefix)])
    assert identity_codes(prefix, 0, torch.tensor([0]), 12).tolist() == [FIRST_CARD]


def test_the_specifications_phases_of_user_1() -> None:
    assert draw_sequence(1).phases == PHASES


@given(
    seed=WORDS,
    draw=WORDS,
    user=st.integers(0, 2**31),
    stream=st.integers(0, 3),
    entities=st.lists(st.integers(0, 2**31 - 1)),
)
def test_codes_of_tensors_are_those_of_plain_numbers(
    seed: int, draw: int, user: int, stream: int, entities: list[int]
) -> None:
    prefix = draw_sequence(user, seed, draw).prefix
    column = torch.full((len(entities),), as_int64(prefix))
    codes = identity_codes(column, stream, torch.tensor(entities, dtype=torch.int32), 5)
    assert codes.dtype == torch.float32
    assert codes.shape == (len(entities), 5)
    of_arrays = inputs.identity_codes(as_int64(prefix), stream, np.array(entities, np.int32), 5)
    assert of_arrays.dtype == np.float32
    np.testing.assert_array_equal(of_arrays, codes)
    assert codes.tolist() == [
        [counter_hash(seed, draw, user, stream, entity, component) % 4 - 1.5 for component in range(5)]
        for entity in entities
    ]


def test_codes_are_uniform() -> None:
    prefix = torch.full((5000,), as_int64(draw_sequence(3).prefix))
    codes = identity_codes(prefix, 1, torch.arange(5000), 12)
    share = torch.stack([(codes == value).float().mean(0) for value in (-1.5, -0.5, 0.5, 1.5)])
    # 5000 draws: the standard deviation of a share of a quarter is 0.006.
    torch.testing.assert_close(share, torch.full_like(share, 0.25), rtol=0, atol=0.03)


def test_blocks_of_codes_are_in_order() -> None:
    """Card 12, note 12, deck 8 and preset 8 columns, each with its number in the hash; the user has none."""
    prefix = draw_sequence(9, seed=7, draw=3).prefix
    entities = {stream: torch.tensor([number]) for number, stream in enumerate(STREAMS, start=40)}
    blocks = row_codes(torch.tensor([as_int64(prefix)]), entities)
    expected = [("card_id", 0, 12), ("note_id", 1, 12), ("deck_id", 2, 8), ("preset_id", 3, 8)]
    assert len(blocks) == len(expected)
    for block, (stream, number, width) in zip(blocks, expected, strict=True):
        entity = int(entities[stream])
        wanted = [counter_hash(number, entity, c, start=prefix) % 4 - 1.5 for c in range(width)]
        assert block.tolist() == [wanted], stream


@given(a=WORDS, b=WORDS)
def test_a_hash_can_be_continued(a: int, b: int) -> None:
    assert counter_hash(a, b) == counter_hash(b, start=counter_hash(a))
    assert as_int64(a) % 2**64 == a
    assert -(2**63) <= as_int64(a) < 2**63


def test_training_draws() -> None:
    assert training_draw(2, 5) == counter_hash(2, 5) + 1
    draws = {training_draw(epoch, segment) for epoch in range(20) for segment in range(20)}
    assert len(draws) == 400
    assert 0 not in draws, "the draw of evaluation"


@given(user=st.integers(0, 2**31), seed=WORDS, draw=WORDS)
def test_phases_lie_within_their_periods(user: int, seed: int, draw: int) -> None:
    phases = draw_sequence(user, seed, draw).phases
    assert list(phases) == [
        counter_hash(seed, draw, user, 4, number, 0) % period for number, period in enumerate(CYCLE_DAYS)
    ]


def test_cycles() -> None:
    rng = np.random.default_rng(1)
    day, first_day = rng.integers(0, 40_000, (2, 60)).astype(np.int32)
    phases = np.stack([draw_sequence(user).phases for user in range(60)])
    ours = cycles(torch.from_numpy(day), torch.from_numpy(first_day), torch.from_numpy(phases))
    columns = []
    for number, period in enumerate((3, 7, 30, 100, 365, 3650, 36500)):
        for days in (day, first_day):
            angle = 2 * math.pi * ((phases[:, number] + days) % period) / period
            columns += [np.sin(angle), np.cos(angle)]
    assert ours.dtype == torch.float32
    of_arrays = inputs.cycles(day, first_day, phases)
    assert of_arrays.dtype == np.float32
    for calendar in (ours, of_arrays):
        # Rounded to float32: 6e-8 of at most 1.
        np.testing.assert_allclose(calendar, np.stack(columns, 1), rtol=0, atol=1e-7)


def test_inputs_are_in_order() -> None:
    features, calendar = torch.zeros(2, 24), torch.full((2, 28), 5.0)
    codes = [torch.full((2, width), float(value)) for value, width in ((1, 12), (2, 12), (3, 8), (4, 8))]
    encoded = encode_inputs(features, codes, calendar)
    assert encoded[0].tolist() == [0.0] * 24 + [1.0] * 12 + [2.0] * 12 + [3.0] * 8 + [4.0] * 8 + [5.0] * 28


@pytest.mark.parametrize("other", [{"user": 2}, {"seed": 1235}, {"draw": 1}])
def test_user_seed_and_draw_all_matter(other: dict[str, int]) -> None:
    draws: list[SequenceDraw] = [draw_sequence(**{"user": 1, **change}) for change in ({}, other)]
    assert draws[0].prefix != draws[1].prefix
    assert draws[0].phases != draws[1].phases
