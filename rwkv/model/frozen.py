"""What is made of the weights of a network that never learns is made once."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from torch import nn

Module = TypeVar("Module", bound=nn.Module)
Made = TypeVar("Made")


def once_if_frozen(make: Callable[[Module], Made]) -> Callable[[Module], Made]:
    """make(module), once for a module none of whose weights asks for a gradient, and again when it has been moved.

    Such weights are not to be written to, see `frozen_network`.
    """
    kept: WeakKeyDictionary[nn.Module, tuple[nn.Parameter, int, Made]] = WeakKeyDictionary()

    @wraps(make)
    def made(module: Module) -> Made:
        found = kept.get(module)
        # One weight speaks for all: to go through them takes longer than some of a batch's work.
        if found is not None and found[0].data_ptr() == found[1] and not found[0].requires_grad:
            return found[2]
        weights = list(module.parameters())
        result = make(module)
        if not any(weight.requires_grad for weight in weights):
            kept[module] = (weights[0], weights[0].data_ptr(), result)
        return result

    return made
