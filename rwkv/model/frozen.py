"""What is made of the weights of a network that never learns is made once."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from torch import nn

Module = TypeVar("Module", bound=nn.Module)
Made = TypeVar("Made")


def once_if_frozen(make: Callable[[Module], Made]) -> Callable[[Module], Made]:
    """make(module), once for a module none of whose weights asks for a gradient, as long as they lie where they lay.

    Such weights are not to be written to, see `frozen_network`.
    """
    kept: WeakKeyDictionary[nn.Module, tuple[list[int], Made]] = WeakKeyDictionary()

    @wraps(make)
    def made(module: Module) -> Made:
        weights = list(module.parameters())
        if any(weight.requires_grad for weight in weights):
            return make(module)
        places = [weight.data_ptr() for weight in weights]
        before = kept.get(module)
        if before is None or before[0] != places:
            before = kept[module] = (places, make(module))
        return before[1]

    return made
