"""Packed groups: which rows belong together, with the plans by which each form of the recurrence cuts them up."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from rwkv.ops.chunks import ChunkPlan, plan_chunks
from rwkv.ops.wkv_triton_plan import RunPlan, plan_runs

DEFAULT_CHUNK_LENGTH = 16


@dataclass(frozen=True)
class PackedGroups:
    """Rows side by side, group after group; a group may have any number of rows, also none.

    offsets int64 [G + 1]: group g is rows offsets[g] to offsets[g + 1] - 1. is_query bool [N]: rows that only read.
    Plans are made when first asked for, and move along.
    """

    offsets: Tensor
    is_query: Tensor
    chunk_length: int = DEFAULT_CHUNK_LENGTH

    @property
    def groups(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def chunks(self) -> ChunkPlan:
        """The plan of the chunked form in plain PyTorch."""
        return plan_chunks(self.offsets, self.is_query, self.chunk_length)

    @cached_property
    def runs(self) -> RunPlan:
        """The plan of the kernels for GPUs."""
        return plan_runs(self.offsets, self.is_query)

    def map(self, change: Callable[[Tensor], Tensor]) -> "PackedGroups":
        """The same with all its tensors changed, those of the plans that were made included."""
        changed = PackedGroups(change(self.offsets), change(self.is_query), self.chunk_length)
        for name in ("chunks", "runs"):
            if name in vars(self):
                vars(changed)[name] = vars(self)[name].map(change)
        return changed
