"""RWKV for spaced repetition."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rwkv.recurrent.engine import Engine

__version__ = "0.1.0"
__all__ = ["Engine"]


def __getattr__(name: str) -> object:
    """`rwkv.Engine`, imported when it is asked for: the commands of the data layer do without torch."""
    if name == "Engine":
        from rwkv.recurrent.engine import Engine

        return Engine
    raise AttributeError(f"module 'rwkv' has no attribute {name!r}")
