"""A cache of values computed from a frozen network's weights."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from torch import nn

Module = TypeVar("Module", bound=nn.Module)
Result = TypeVar("Result")


def once_if_frozen(make: Callable[[Module], Result]) -> Callable[[Module], Result]:
    """Cache make(module) for a module whose weights require no gradient; compute it again when they are replaced.

    Such weights must not be changed in place, and must be replaced all at once, see `frozen_network`.
    """
    cache: WeakKeyDictionary[nn.Module, tuple[nn.Parameter, int, Result]] = WeakKeyDictionary()

    @wraps(make)
    def cached(module: Module) -> Result:
        # Only the first weight is checked: checking all takes longer than some of a batch's work.
        first = next(module.parameters())
        entry = cache.get(module)
        if entry is not None and entry[0] is first and entry[1] == first.data_ptr() and not first.requires_grad:
            return entry[2]
        result = make(module)
        if any(weight.requires_grad for weight in module.parameters()):
            cache.pop(module, None)
        else:
            cache[module] = (first, first.data_ptr(), result)
        return result

    return cached
