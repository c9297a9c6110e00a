"""All tensors of a batch in one piece of memory, which moves between processes and devices in one copy."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

# Each tensor begins at a multiple of so many bytes.
_ALIGNED = 128


class OfTensors(Protocol):
    """What holds tensors, and gives the same with all of them changed, one after another, always in the same order."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same with all its tensors changed."""
        ...


T = TypeVar("T", bound=OfTensors)


@dataclass(frozen=True)
class OnePiece(Generic[T]):
    """data uint8 [bytes]: all tensors one after another. template: the batch without its data, on the meta device."""

    data: Tensor
    template: T

    @cached_property
    def batch(self) -> T:
        """The batch, as views of the data."""
        start = 0

        def view(x: Tensor) -> Tensor:
            nonlocal start
            found = self.data[start : start + x.nbytes].view(x.dtype).view(x.shape)
            start += x.nbytes + -x.nbytes % _ALIGNED
            return found

        return self.template.map(view)

    def pin_memory(self) -> Self:
        """The same in memory from which copies to a GPU do not wait."""
        return replace(self, data=self.data.pin_memory())

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return replace(self, data=self.data.to(device, non_blocking=True))


def in_one_piece(batch: T) -> OnePiece[T]:
    """Copy all tensors of a batch that lies on the CPU side by side."""
    parts: list[Tensor] = []

    def add(x: Tensor) -> Tensor:
        parts.append(x.contiguous().view(-1).view(torch.uint8))
        parts.append(torch.zeros(-x.nbytes % _ALIGNED, dtype=torch.uint8))
        return x.to("meta")

    template = batch.map(add)
    return OnePiece(torch.cat(parts), template)
