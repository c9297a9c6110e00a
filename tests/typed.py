"""Values and calls with their exact types."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

Value = TypeVar("Value")
Arguments = ParamSpec("Arguments")


def not_none(value: Value | None) -> Value:
    """A value that has to be there."""
    assert value is not None
    return value


def preceded(function: Callable[Arguments, Value], act: Callable[[], None]) -> Callable[Arguments, Value]:
    """A function before each call of which something else is done."""

    def act_and_call(*arguments: Arguments.args, **named: Arguments.kwargs) -> Value:
        act()
        return function(*arguments, **named)

    return act_and_call
