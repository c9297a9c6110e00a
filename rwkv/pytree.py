"""Values that hold tensors, however deep: dataclasses, tuples, named tuples, lists and dicts."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

Value = TypeVar("Value")


def map_tensors(change: Callable[[Tensor], Tensor], value: Value) -> Value:
    """The same value with each of its tensors changed, in the order of fields and entries; all else stays."""
    changed: Value = _mapped(change, value)
    return changed


def _mapped(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(change, entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        entries = [_mapped(change, entry) for entry in value]
        # A named tuple takes its entries one by one.
        return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _mapped(change, getattr(value, field.name)) for field in fields(value)}
        return replace(value, **parts)
    return value
