"""What is made of the weights of a network that never learns is made once."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from torch import nn

Module = TypeVar("Module", bound=nn.Module)
Made = TypeVar("Made")


def once_if_frozen(make: Callable[[Module], Made]) -> Callable[[Module], Made]:
    """make(module), once for a module none of whose weights asks for a gradient, and again when all have been replaced.

    Such weights are not to be written to, nor replaced one by one, see `frozen_network`.
    """
    kept: WeakKeyDictionary[nn.Module, tuple[nn.Parameter, int, Made]] = WeakKeyDictionary()

    @wraps(make)
    def made(module: Module) -> Made:
        # The first weight speaks for all: to go through them takes longer than some of a batch's work.
        first = next(module.parameters())
        found = kept.get(module)
        if found is not None and found[0] is first and found[1] == first.data_ptr() and not first.requires_grad:
            return found[2]
        result = make(module)
        if any(weight.requires_grad for weight in module.parameters()):
            kept.pop(module, None)
        else:
            kept[module] = (first, first.data_ptr(), result)
        return result

    return made
