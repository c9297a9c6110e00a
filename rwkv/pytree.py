"""Values that hold tensors, however deep: dataclasses, tuples, named tuples, lists and dicts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")

# Stands for each tensor in a structure.
_HOLE = torch.empty(0)


@dataclass(frozen=True)
class Structure(Generic[Value]):
    """A value without its tensors, see `take_apart`.

    Attributes:
        names: Name of each tensor, such as "up.bias", in the order of fields and entries.
        template: The value with holes.
    """

    names: tuple[str, ...]
    template: Value

    def filled(self, tensors: Iterable[Tensor]) -> Value:
        """The value with these tensors, in the order of their names."""
        following = iter(tensors)
        return map_tensors(lambda _: next(following), self.template)


def map_tensors(change: Callable[[Tensor], Tensor], value: Value) -> Value:
    """The same value with each of its tensors changed, in the order of fields and entries; all else stays."""
    changed: Value = _mapped(lambda _, x: change(x), value, ())
    return changed


def named_tensors(value: Any) -> dict[str, Tensor]:
    """The tensors of a value by name, in the order of fields and entries."""
    tensors: dict[str, Tensor] = {}

    def add(path: tuple[str, ...], x: Tensor) -> Tensor:
        tensors[".".join(path)] = x
        return x

    _mapped(add, value, ())
    return tensors


def take_apart(value: Value) -> tuple[tuple[Tensor, ...], Structure[Value]]:
    """Separate the tensors of a value from its structure, for functions that take or save only flat tensors."""
    tensors = named_tensors(value)
    return tuple(tensors.values()), Structure(tuple(tensors), map_tensors(lambda _: _HOLE, value))


def _mapped(change: Callable[[tuple[str, ...], Tensor], Tensor], value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, Tensor):
        return change(path, value)
    if isinstance(value, dict):
        return {key: _mapped(change, entry, (*path, str(key))) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        names = getattr(value, "_fields", None) or map(str, range(len(value)))
        entries = [_mapped(change, entry, (*path, name)) for name, entry in zip(names, value, strict=True)]
        # A named tuple takes its entries one by one.
        return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {
            field.name: _mapped(change, getattr(value, field.name), (*path, field.name)) for field in fields(value)
        }
        return replace(value, **parts)
    return value
