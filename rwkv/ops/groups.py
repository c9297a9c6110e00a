"""Packed groups of rows: contiguous rows, group after group, and the plans by which the kernels cut them up."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rwkv.ops.backend import Kernels, kernels_for
from rwkv.ops.triton.run_plan import RunPlan, extended, plan_padded_runs, plan_runs

DEFAULT_CHUNK_LENGTH = 16
# Rows of a group of added rows, at most: those of one run in a batch of 66,000 rows, see `plan_runs`.
PADDED_GROUP = 128


@dataclass(frozen=True)
class ChunkPlan:
    """How packed groups are cut into B chunks of T rows.

    Chunks are ordered by step (a group's first chunk has step 0), and within a step by groups from long to short.

    Attributes:
        chunk_row: The row at each place, int64 [B, T]; 0 at places without a row.
        writes: Whether each place has a review row, bool [B, T].
        place: Place of each row in the flattened chunks, int64 [N].
        chunks_of_step: Number of chunks of each step.
        group_order: The groups from long to short, int64 [G].
    """

    chunk_row: Tensor
    writes: Tensor
    place: Tensor
    chunks_of_step: tuple[int, ...]
    group_order: Tensor


def plan_chunks(offsets: Tensor, is_query: Tensor, chunk_length: int) -> ChunkPlan:
    """Plan the chunks of packed groups.

    Args:
        offsets: Start of each group and N, int64 [G + 1].
        is_query: Whether each row is a query, bool [N], on the same device.
        chunk_length: T.

    Raises:
        ValueError: The offsets do not ascend from 0 to N.
    """
    device = offsets.device
    lengths = offsets.diff()
    ends = offsets[[0, -1]].tolist() if len(offsets) else None
    if ends != [0, len(is_query)] or (lengths < 0).any():
        raise ValueError(f"offsets must go from 0 to {len(is_query)} rows and never decrease, got {offsets.tolist()}")
    group_order = torch.argsort(lengths, descending=True, stable=True)
    chunks = (lengths[group_order] + chunk_length - 1) // chunk_length
    steps = int(chunks.max()) if len(chunks) else 0
    # Groups are sorted, so those with more than s chunks are the first chunks_of_step[s] of them.
    chunks_of_step = torch.bincount(chunks, minlength=steps + 1).flip(0).cumsum(0).flip(0)[1:]
    step_start = torch.cat([chunks_of_step.new_zeros(1), chunks_of_step.cumsum(0)])

    rank = torch.empty_like(group_order)
    rank[group_order] = torch.arange(len(group_order), device=device)
    group = torch.repeat_interleave(torch.arange(len(lengths), device=device), lengths)
    position = torch.arange(len(is_query), device=device) - offsets[group]
    place = (step_start[position // chunk_length] + rank[group]) * chunk_length + position % chunk_length

    chunk_row = torch.zeros(int(step_start[-1]) * chunk_length, dtype=torch.int64, device=device)
    chunk_row[place] = torch.arange(len(is_query), device=device)
    writes = torch.zeros(len(chunk_row), dtype=torch.bool, device=device)
    writes[place] = ~is_query
    return ChunkPlan(
        chunk_row=chunk_row.view(-1, chunk_length),
        writes=writes.view(-1, chunk_length),
        place=place,
        chunks_of_step=tuple(chunks_of_step.tolist()),
        group_order=group_order,
    )


@dataclass
class Plans:
    """The plans made so far for packed groups, see `PackedGroups`."""

    chunks: ChunkPlan | None = None
    runs: RunPlan | None = None


@dataclass(frozen=True)
class PackedGroups:
    """N contiguous rows, group after group; a group may be empty.

    Attributes:
        offsets: int64 [G + 1]; group g has the rows offsets[g] to offsets[g + 1] - 1.
        is_query: Whether each row only reads the state, bool [N].
        chunk_length: Rows of a chunk in `chunks`.
        plans: Cache of `chunks` and `runs`, which moves between devices with the groups.
    """

    offsets: Tensor
    is_query: Tensor
    chunk_length: int = DEFAULT_CHUNK_LENGTH
    plans: Plans = field(default_factory=Plans)

    @property
    def groups(self) -> int:
        return len(self.offsets) - 1

    @property
    def chunks(self) -> ChunkPlan:
        """The plan of the chunked form in plain PyTorch."""
        if self.plans.chunks is None:
            self.plans.chunks = plan_chunks(self.offsets, self.is_query, self.chunk_length)
        return self.plans.chunks

    @property
    def runs(self) -> RunPlan:
        """The plan of the GPU kernels."""
        if self.plans.runs is None:
            self.plans.runs = plan_runs(self.offsets, self.is_query)
        return self.plans.runs

    def padded(self, rows: int, groups: int) -> "PackedGroups":
        """A copy with groups of query rows added up to `rows`, and then empty groups up to `groups`, at least one.

        The added groups are short, so that they need no scan in a full batch. Runs without rows belong to the last
        group, see `plan_padded_runs`.
        """
        is_query = extended(self.is_query, rows, True)
        filled = torch.cat([self.offsets, _added_groups(len(self.is_query), rows)])
        offsets = extended(filled, groups + 1, rows)
        plans = Plans(runs=plan_padded_runs(filled, is_query, rows, groups))
        return PackedGroups(offsets, is_query, self.chunk_length, plans)


def _added_groups(start: int, end: int) -> Tensor:
    """The ends of the groups of added rows from `start` to `end`, int64, at least one."""
    return torch.cat([torch.arange(min(start + PADDED_GROUP, end), end, PADDED_GROUP), torch.tensor([end])])


def permute(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """x[order] for x [N, C], by a permutation and its inverse, int64 [N] each; with gradients."""
    return _Permute.apply(x, order, inverse)


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return take_rows(x, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (inverse,) = ctx.saved_tensors
        return take_rows(gradients[0], inverse), None, None


def take_rows(x: Tensor, order: Tensor) -> Tensor:
    """x[order] for x [M, C] and order, int64 or int32 [N]; without gradients on a GPU."""
    if kernels_for(x) is Kernels.TRITON:
        from rwkv.ops.triton.rows import take_rows as on_gpu  # Triton exists only with a GPU

        return on_gpu(x.contiguous(), order)
    return x.index_select(0, order)
