"""All tensors of a batch in a single buffer, which moves between processes and devices in one copy."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

# Alignment of each tensor in bytes.
_ALIGNMENT = 128


class OfTensors(Protocol):
    """A holder of tensors that can apply a function to all of them, always in the same order."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """A copy with `change` applied to all tensors."""
        ...


T = TypeVar("T", bound=OfTensors)


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

        return self.template.map(view)

    def pin_memory(self) -> Self:
        """A copy in page-locked memory, from which transfers to a GPU are asynchronous."""
        return replace(self, data=self.data.pin_memory())

    def to(self, device: torch.device) -> Self:
        """A copy on another device."""
        return replace(self, data=self.data.to(device, non_blocking=True))


def in_single_buffer(batch: T) -> SingleBuffer[T]:
    """Copy all tensors of a batch on the CPU into one buffer."""
    parts: list[Tensor] = []

    def add(x: Tensor) -> Tensor:
        parts.append(x.contiguous().view(-1).view(torch.uint8))
        parts.append(torch.zeros(-x.nbytes % _ALIGNMENT, dtype=torch.uint8))
        return x.to("meta")

    template = batch.map(add)
    return SingleBuffer(torch.cat(parts), template)
