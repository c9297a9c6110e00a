"""Packed groups: which rows belong together, how they are brought there, and the plans by which each form of the
recurrence cuts them up."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rwkv.ops.triton.run_plan import RunPlan, extended, plan_runs

DEFAULT_CHUNK_LENGTH = 16


@dataclass(frozen=True)
class ChunkPlan:
    """How packed groups are cut into B chunks of T rows.

    Chunks are ordered by step (a group's first chunk has step 0), within a step by groups from long to short.
    chunk_row int64 [B, T]: the row at each place, 0 where there is none. writes bool [B, T]: there is a review row.
    place int64 [N]: where in [B * T] each row lies. chunks_of_step: how many chunks each step has.
    group_order int64 [G]: the groups from long to short.
    """

    chunk_row: Tensor
    writes: Tensor
    place: Tensor
    chunks_of_step: tuple[int, ...]
    group_order: Tensor


def plan_chunks(offsets: Tensor, is_query: Tensor, chunk_length: int) -> ChunkPlan:
    """Plan the chunks of packed groups. offsets: int64 [G + 1]; is_query: bool [N]; on any one device.

    Raises ValueError for offsets that do not go from 0 to N, or decrease.
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
    """The plans of packed groups that were made so far, see `PackedGroups`."""

    chunks: ChunkPlan | None = None
    runs: RunPlan | None = None


@dataclass(frozen=True)
class PackedGroups:
    """Rows side by side, group after group; a group may have any number of rows, also none.

    offsets int64 [G + 1]: group g is rows offsets[g] to offsets[g + 1] - 1. is_query bool [N]: rows that only read.
    plans: made when `chunks` and `runs` are first asked for, and kept; they move along.
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
        """The plan of the kernels for GPUs."""
        if self.plans.runs is None:
            self.plans.runs = plan_runs(self.offsets, self.is_query)
        return self.plans.runs

    def padded(self, rows: int, groups: int) -> "PackedGroups":
        """The same followed by one group of query rows up to `rows`, and by empty ones up to `groups`, at least one.

        Runs that do nothing belong to the last group. See `RunPlan.padded` for the plan.
        """
        filled, is_query = torch.cat([self.offsets, torch.tensor([rows])]), extended(self.is_query, rows, True)
        offsets = extended(filled, groups + 1, rows)
        plans = Plans(runs=plan_runs(filled, is_query).padded(offsets, is_query))
        return PackedGroups(offsets, is_query, self.chunk_length, plans)


def permute(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """x[order] for x [N, ...] and a permutation with its inverse, int64 [N]."""
    return _Permute.apply(x, order, inverse)


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (inverse,) = ctx.saved_tensors
        return gradients[0].index_select(0, inverse), None, None
