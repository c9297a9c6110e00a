"""How states are written to disk: as they are, or in a few per cent of their size with a small loss."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class StateForm(Protocol):
    """A way to write states, and to read them back."""

    def encode(self, states: Tensor) -> list[bytes]:
        """Flat states of one kind, float32 [n, S] on the CPU, as bytes each."""
        ...

    def decode(self, data: bytes) -> Tensor:
        """A state [1, S] from its bytes."""
        ...


@dataclass(frozen=True)
class ExactForm:
    """All numbers in float32."""

    def encode(self, states: Tensor) -> list[bytes]:
        return [state.tobytes() for state in states.numpy()]

    def decode(self, data: bytes) -> Tensor:
        return torch.from_numpy(np.frombuffer(bytearray(data), np.float32)[None])


# Above so many factors a matrix of 32 x 32 takes less room whole.
_WHOLE = 255
# What rounding to bfloat16 errs by, of the largest entry of a matrix.
_TOLERANCE = 2.0**-8


@dataclass(frozen=True)
class CompactForm:
    """In bfloat16, the state of each head as a sum of outer products: after n reviews its rank is at most n.

    A state is flat as `rwkv.model.native_step.flat_state` makes it. The bytes: the number of matrices, of outer
    products of each, _WHOLE where the matrix itself is there; the shifts; the columns and the rows of the products;
    whole matrices.
    The error of an entry is at most 2^-8 of the largest of its matrix, as if all were rounded.
    """

    channels: int
    heads: int

    @property
    def width(self) -> int:
        """K, the channels of a head."""
        return self.channels // self.heads

    def encode(self, states: Tensor) -> list[bytes]:
        shifts, matrices = self._parts(states)
        columns, rows, found = _outer_products(matrices.flatten(0, 1), _most_factors(self.width))
        shape = len(states), matrices.shape[1]
        ranks = found.view(shape).numpy().astype(np.uint8)
        taken = np.arange(columns.shape[1]) < np.where(ranks == _WHOLE, 0, ranks)[..., None]
        bits = [_bits(x).reshape(*shape, *x.shape[1:]) for x in (columns, rows)]
        whole, of_shifts = _bits(matrices), _bits(shifts)
        return [
            bytes([shape[1]])
            + ranks[i].tobytes()
            + of_shifts[i].tobytes()
            + b"".join(x[i][taken[i]].tobytes() for x in bits)
            + whole[i][ranks[i] == _WHOLE].tobytes()
            for i in range(len(states))
        ]

    def decode(self, data: bytes) -> Tensor:
        K, matrices = self.width, data[0]
        ranks = np.frombuffer(data, np.uint8, matrices, 1)
        layers = matrices // self.heads
        counts = np.where(ranks == _WHOLE, 0, ranks)
        factors, most = int(counts.sum()) * K, max(1, int(counts.max()))
        values = _floats(data[1 + matrices :])
        shifts, columns, rows, whole = values.split(
            [2 * layers * self.channels, factors, factors, len(values) - 2 * layers * self.channels - 2 * factors]
        )
        taken = torch.from_numpy(np.arange(most) < counts[:, None])
        padded = torch.zeros(2, matrices, most, K)
        padded[0][taken], padded[1][taken] = columns.view(-1, K), rows.view(-1, K)
        state = padded[0].mT @ padded[1]
        state[torch.from_numpy(ranks == _WHOLE)] = whole.view(-1, K, K)
        return torch.cat([shifts.view(layers, -1), state.view(layers, -1)], 1).view(1, -1)

    def _parts(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The shifts [n, layers, 2 C] and the matrices [n, layers * H, K, K] of flat states [n, S]."""
        by_layer = states.view(len(states), -1, self.channels * (2 + self.width))
        shifts, wkv = by_layer.split([2 * self.channels, self.channels * self.width], 2)
        return shifts, wkv.reshape(len(states), -1, self.width, self.width)


def _most_factors(width: int) -> int:
    return min(width // 2 - 1, _WHOLE - 1)


def _outer_products(matrices: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """columns, rows [M, most, K], of which the first ranks [M] add up to each of matrices [M, K, K] within tolerance.

    Cross approximation with full pivoting; each step also takes in the rounding of those before it.
    """
    residual, index = matrices.clone(), torch.arange(len(matrices))
    width = matrices.shape[-1]
    bound = _TOLERANCE * matrices.abs().amax((1, 2))
    columns, rows = (torch.zeros(len(matrices), most, width) for _ in range(2))
    ranks = torch.zeros(len(matrices), dtype=torch.int64)
    for step in range(most):
        largest, place = residual.abs().flatten(1).max(1)
        open_ = largest > bound
        if not open_.any():
            return columns, rows, ranks
        i, j = place // width, place % width
        pivot = residual[index, i, j]
        scale = largest.sqrt().clamp(min=1e-30)
        column = _rounded(residual[index, :, j] / scale[:, None]) * open_[:, None]
        row = _rounded(residual[index, i, :] * (scale / torch.where(open_, pivot, 1))[:, None]) * open_[:, None]
        columns[:, step], rows[:, step] = column, row
        residual -= column[:, :, None] * row[:, None, :]
        ranks += open_
    ranks[residual.abs().amax((1, 2)) > bound] = _WHOLE
    return columns, rows, ranks


def _rounded(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16).to(torch.float32)


def _bits(x: Tensor) -> np.ndarray:
    return x.to(torch.bfloat16).contiguous().view(torch.int16).numpy()


def _floats(data: bytes) -> Tensor:
    bits = torch.from_numpy(np.frombuffer(bytearray(data), np.int16))
    return bits.view(torch.bfloat16).to(torch.float32)
