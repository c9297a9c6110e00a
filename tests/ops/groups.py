"""Packed groups for tests of WKV, described by the kinds of their rows, with seeded values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from rwkv.native.library import is_built
from rwkv.ops.cpu.wkv import wkv_native
from rwkv.ops.groups import PackedGroups
from rwkv.ops.wkv import wkv_reference
from rwkv.ops.wkv_chunked import wkv_chunked

needs_native = pytest.mark.skipif(not is_built(), reason="the native kernels were not built: no compiler")

HEADS, WIDTH = 2, 16

# The smallest decay that the network can give, exp(-exp(-0.5)) (spec 4: w lies in (0.545, 1)).
STRONGEST_LOG_DECAY = -torch.tensor(-0.5, dtype=torch.float64).exp().item()

# A group: "r" a review row, "q" a query row.
Rows = str


@dataclass(frozen=True)
class Problem:
    """The arguments of the op: inputs by name (initial_state may be missing) and packed groups."""

    inputs: dict[str, Tensor]
    offsets: Tensor
    is_query: Tensor

    def packed(self, chunk_length: int = 16) -> PackedGroups:
        return PackedGroups(self.offsets, self.is_query, chunk_length)

    def to(self, dtype: torch.dtype) -> "Problem":
        return Problem({name: x.to(dtype) for name, x in self.inputs.items()}, self.offsets, self.is_query)


def problem(groups: Sequence[Rows], seed: int = 0, with_state: bool = True, decay: float | None = None) -> Problem:
    """Float64 values of the size the network gives: v and k_hat below unit length, a in (0, 1), b = a * k_hat.

    decay: one log decay for all; drawn over the network's whole range if None.
    """
    rng = torch.Generator().manual_seed(seed)
    rows = sum(map(len, groups))
    shape = (rows, HEADS, WIDTH)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=rng, dtype=torch.float64)

    def uniform(*sizes: int) -> Tensor:
        return torch.rand(*sizes, generator=rng, dtype=torch.float64)

    def short() -> Tensor:
        return torch.nn.functional.normalize(normal(*shape), dim=-1) * uniform(rows, HEADS, 1)

    k_hat = short()
    inputs = {
        "r": normal(*shape),
        "log_decay": STRONGEST_LOG_DECAY * uniform(*shape) if decay is None else torch.full_like(k_hat, decay),
        "k_hat": k_hat,
        "v": short(),
        "b": uniform(*shape) * k_hat,
    }
    if with_state:
        inputs["initial_state"] = 0.5 * normal(len(groups), HEADS, WIDTH, WIDTH)
    offsets = torch.tensor([0, *map(len, groups)]).cumsum(0)
    return Problem(inputs, offsets, torch.tensor([row == "q" for group in groups for row in group], dtype=torch.bool))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to seven groups, among them empty ones, single rows, and long ones; queries before, between and after."""
    length = st.one_of(st.integers(0, 1), st.integers(2, 6), st.integers(14, 18), st.integers(0, 50))
    kinds = st.sampled_from(["r", "rq", "qr", "rrrq", "rqqq", "q"])
    part = st.builds(lambda kind, count: (kind * count)[:count], kinds, length)
    group = st.builds("".join, st.lists(part, max_size=3))
    return problem(draw(st.lists(group, max_size=7)), draw(st.integers(0, 2**31)), draw(st.booleans()))


def reference(p: Problem) -> tuple[Tensor, Tensor]:
    """The results of the definition."""
    return wkv_reference(**p.inputs, offsets=p.offsets, is_query=p.is_query)


def chunked(p: Problem, chunk_length: int = 16) -> tuple[Tensor, Tensor]:
    """The results of the matrix form."""
    return wkv_chunked(**p.inputs, groups=p.packed(chunk_length))


def native(p: Problem) -> tuple[Tensor, Tensor]:
    """The results of the native kernel, which supports only float32."""
    return wkv_native(**p.inputs, groups=p.packed())


def results(op: Callable[[Problem], tuple[Tensor, Tensor]], p: Problem) -> dict[str, Tensor]:
    """Outputs, final states, and the gradients to all inputs of a fixed random combination of both."""
    leaves = {name: x.clone().requires_grad_() for name, x in p.inputs.items()}
    out, final_state = op(Problem(leaves, p.offsets, p.is_query))
    rng = torch.Generator().manual_seed(1)
    score = out.new_zeros(())
    for x in (out, final_state):
        score = score + (x * torch.randn(x.shape, generator=rng, dtype=torch.float64).to(x)).sum()
    if score.requires_grad:
        score.backward()
    values = {"out": out.detach(), "final_state": final_state.detach()}
    for name, leaf in leaves.items():
        values[f"gradient of {name}"] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return values


def assert_close(ours: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Every result within `tolerance` times the largest entry of its kind, at least 1."""
    assert ours.keys() == expected.keys()
    for name, wanted in expected.items():
        _assert_one_close(name, ours[name].to(torch.float64), wanted, tolerance)


def _assert_one_close(name: str, ours: Tensor, wanted: Tensor, tolerance: float) -> None:
    scale = max(1.0, float(wanted.abs().max())) if wanted.numel() else 1.0
    torch.testing.assert_close(ours, wanted, rtol=0, atol=tolerance * scale, msg=lambda message: f"{name}: {message}")
