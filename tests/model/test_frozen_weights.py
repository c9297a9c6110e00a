"""The cache of what is computed from frozen weights."""

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rwkv.model.frozen_weights import once_if_frozen


class Made:
    """A copy of a module's weight."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.detach().clone()


@once_if_frozen
def made(module: nn.Linear) -> Made:
    return Made(module.weight)


def frozen(value: float = 1.0) -> nn.Linear:
    module = nn.Linear(3, 2).requires_grad_(False)
    nn.init.constant_(module.weight, value)
    return module


def test_values_of_frozen_weights_are_computed_once() -> None:
    module = frozen()
    assert made(module) is made(module)
    assert torch.equal(made(module).weight, module.weight)


def test_values_are_computed_every_time_while_a_weight_is_trained() -> None:
    module = frozen()
    module.bias.requires_grad_()
    assert made(module) is not made(module)


def test_modules_have_their_own_values() -> None:
    first, second = frozen(1.0), frozen(2.0)
    of_first = made(first)
    assert torch.equal(made(second).weight, second.weight)
    assert made(first) is of_first


def _moved(module: nn.Linear) -> None:
    module.to(torch.float64)


def _assigned(module: nn.Linear) -> None:
    """Assign all weights; the cache checks only the first."""
    module.weight = nn.Parameter(torch.full((2, 3), 5.0), requires_grad=False)


def _loaded(module: nn.Linear) -> None:
    module.load_state_dict({"weight": torch.full((2, 3), 5.0), "bias": torch.zeros(2)}, assign=True)


@pytest.mark.parametrize("change", [_moved, _assigned, _loaded])
def test_values_are_computed_again_after_a_change_and_kept_from_then_on(change: Callable[[nn.Linear], None]) -> None:
    module = frozen()
    before = made(module)
    change(module)
    after = made(module)
    assert after is not before
    assert after.weight.dtype == module.weight.dtype
    assert torch.equal(after.weight, module.weight)
    assert made(module) is after


def test_values_follow_weights_that_are_trained_and_frozen_again() -> None:
    module = frozen()
    before = made(module)
    module.requires_grad_()
    assert made(module) is not before
    with torch.no_grad():
        module.weight.add_(1.0)
    assert torch.equal(made(module).weight, module.weight)
    module.requires_grad_(False)
    assert torch.equal(made(module).weight, module.weight)
    assert made(module) is made(module)


def test_values_are_freed_with_their_module() -> None:
    module = frozen()
    refs = weakref.ref(module), weakref.ref(made(module))
    gc.collect()
    assert None not in [ref() for ref in refs]
    del module
    gc.collect()
    assert [ref() for ref in refs] == [None, None]
