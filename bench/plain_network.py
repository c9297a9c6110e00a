"""The baseline of training and evaluation: the network in plain PyTorch, its recurrence one step at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from torch import Tensor

from rwkv.model import time_mixer
from rwkv.ops.backend import plain_ops
from rwkv.ops.groups import PackedGroups
from rwkv.ops.wkv import wkv_reference


@contextmanager
def plain_network() -> Iterator[None]:
    """Run every network inside by the definitions of its ops, without kernels."""
    with plain_ops(), patch.object(time_mixer, "wkv", _wkv):
        yield


def _wkv(
    r: Tensor,
    log_decay: Tensor,
    k_hat: Tensor,
    v: Tensor,
    b: Tensor,
    groups: PackedGroups,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    return wkv_reference(r, log_decay, k_hat, v, b, groups.offsets, groups.is_query, initial_state)
