"""All tensors of a batch in a single buffer, which moves between processes and devices in one copy."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor

from rwkv.pytree import map_tensors, named_tensors

# Alignment of each tensor in bytes.
_ALIGNMENT = 128

Sizes = tuple[tuple[int, ...], ...]
T = TypeVar("T")


@dataclass(frozen=True)
class SingleBuffer(Generic[T]):
    """A batch whose tensors share one buffer.

    Attributes:
        data: All tensors one after another, uint8 [bytes].
        template: The batch without its data, on the meta device.
    """

    data: Tensor
    template: T

    @cached_property
    def batch(self) -> T:
        """The batch, as views of the buffer."""
        start = 0

        def view(x: Tensor) -> Tensor:
            nonlocal start
            part = self.data[start : start + x.nbytes].view(x.dtype).view(x.shape)
            start += x.nbytes + -x.nbytes % _ALIGNMENT
            return part

        return map_tensors(view, self.template)

    def pin_memory(self) -> Self:
        """A copy in page-locked memory, from which transfers to a GPU are asynchronous."""
        return replace(self, data=self.data.pin_memory())

    def to(self, device: torch.device) -> Self:
        """A copy on another device."""
        return replace(self, data=self.data.to(device, non_blocking=True))

    @property
    def sizes(self) -> Sizes:
        """The shapes of all tensors."""
        return tuple(tuple(x.shape) for x in named_tensors(self.template).values())


def in_single_buffer(batch: T) -> SingleBuffer[T]:
    """Copy all tensors of a batch on the CPU into one buffer."""
    parts: list[Tensor] = []

    def add(x: Tensor) -> Tensor:
        parts.append(x.contiguous().view(-1).view(torch.uint8))
        parts.append(torch.zeros(-x.nbytes % _ALIGNMENT, dtype=torch.uint8))
        return x.to("meta")

    template = map_tensors(add, batch)
    return SingleBuffer(torch.cat(parts), template)
