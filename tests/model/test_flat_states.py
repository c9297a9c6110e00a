"""Flat states of single entities are joined, split and taken apart without loss."""

import torch

from rwkv.model.flat_states import flat_state, join_states, split_states, unflat_state
from rwkv.model.spec import PUBLISHED
from tests.networks import NATIVE


def test_states_are_joined_and_split() -> None:
    """Joined states equal the flat ones of all entities; those of no entities are empty."""
    generator = torch.Generator().manual_seed(3)
    for stream in PUBLISHED.streams:
        own = [torch.randn(1, PUBLISHED.state_size(stream), generator=generator) for _ in range(3)]
        states = [own[0], None, *own[1:]]
        joined = join_states(states, torch.device("cpu"), PUBLISHED, stream)
        assert [bool(seen) for seen in joined[0].seen] == [True, False, True, True]
        whole = torch.cat([torch.zeros_like(own[0]) if state is None else state for state in states])
        assert torch.equal(flat_state(joined), whole)
        split = split_states(joined)
        assert torch.equal(torch.cat(split), whole)
        assert all(state.untyped_storage().nbytes() == 4 * state.numel() for state in split)


def test_flat_states_round_trip() -> None:
    spec = NATIVE
    for stream in spec.streams:
        flat = torch.randn(3, spec.state_size(stream), generator=torch.Generator().manual_seed(1))
        seen = torch.tensor([True, False, True])
        state = unflat_state(flat, seen, spec, stream)
        assert torch.equal(flat_state(state), flat)
        assert all(layer.wkv.shape == (3, spec.heads, spec.head_width, spec.head_width) for layer in state)
