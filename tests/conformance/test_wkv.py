"""The op in all its forms against the published one: outputs, final states and all gradients."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rwkv.ops.cpu.wkv import wkv_native
from rwkv.ops.groups import PackedGroups
from rwkv.ops.wkv import wkv, wkv_reference
from rwkv.ops.wkv_chunked import wkv_chunked
from tests.conformance.model_vectors import arrays_of, largest_difference
from tests.ops.gpu import needs_gpu
from tests.ops.groups import needs_native

# The vectors' README; entries are of size 1, so this is a few hundred roundings of float64. The kernel has float32
# only, whose roundings are 5e8 times as large; gradients are sums over a row of such entries.
TOLERANCE = 1e-12
FLOAT32_TOLERANCE = 1e-5

Op = Callable[[dict[str, Tensor], Tensor, Tensor], tuple[Tensor, Tensor]]


def reference(inputs: dict[str, Tensor], offsets: Tensor, is_query: Tensor) -> tuple[Tensor, Tensor]:
    return wkv_reference(**inputs, offsets=offsets, is_query=is_query)


def chunked(inputs: dict[str, Tensor], offsets: Tensor, is_query: Tensor) -> tuple[Tensor, Tensor]:
    return wkv_chunked(**inputs, groups=PackedGroups(offsets, is_query))


def native(inputs: dict[str, Tensor], offsets: Tensor, is_query: Tensor) -> tuple[Tensor, Tensor]:
    return wkv_native(**inputs, groups=PackedGroups(offsets, is_query))


@needs_native
def test_wkv_native(vectors: Path, differences: Callable[[str, float], None]) -> None:
    compare_with_file(vectors, native, torch.float32, FLOAT32_TOLERANCE, differences)


def on_gpu(inputs: dict[str, Tensor], offsets: Tensor, is_query: Tensor) -> tuple[Tensor, Tensor]:
    groups = PackedGroups(offsets.cuda(), is_query.cuda())
    out, final_state = wkv(**{name: x.cuda() for name, x in inputs.items()}, groups=groups)
    return out.cpu(), final_state.cpu()


@needs_gpu
def test_wkv_on_a_gpu(vectors: Path, differences: Callable[[str, float], None]) -> None:
    compare_with_file(vectors, on_gpu, torch.float32, FLOAT32_TOLERANCE, differences)


@pytest.mark.parametrize("op", [reference, chunked])
def test_wkv(vectors: Path, op: Op, differences: Callable[[str, float], None]) -> None:
    compare_with_file(vectors, op, torch.float64, TOLERANCE, differences)


def compare_with_file(
    vectors: Path, op: Op, dtype: torch.dtype, tolerance: float, differences: Callable[[str, float], None]
) -> None:
    """Outputs, final states and all gradients of the op, its inputs given in a dtype."""
    file = {name: torch.from_numpy(array) for name, array in arrays_of(vectors / "wkv.npz").items()}
    groups, length, heads, width = file["r"].shape

    def packed(name: str) -> Tensor:
        """[B, T, H, K] -> [N, H, K]."""
        return file[name].reshape(groups * length, heads, width)

    def compare(what: str, ours: Tensor, theirs: Tensor) -> None:
        difference = largest_difference(ours.double(), theirs)
        differences(f"wkv {op.__name__}: {what}", difference)
        assert difference <= tolerance, what

    torch.testing.assert_close(packed("k"), packed("a") * packed("k_deformed"), rtol=0, atol=0)
    leaves = {name: packed(name).to(dtype, copy=True).requires_grad_() for name in ("r", "w", "k_deformed", "v", "a")}
    r, w, k_hat, v, a = leaves.values()
    inputs = {"r": r, "log_decay": w.log(), "k_hat": k_hat, "v": v, "b": a * k_hat}
    out, final_state = op(inputs, torch.arange(groups + 1) * length, file["skip"].reshape(-1))
    compare("out", out, packed("out"))
    compare("final_state", final_state, file["final_state"])

    (out * packed("g").to(dtype)).sum().backward()
    gradient = {name: packed(f"grad_{name}") for name in ("r", "w", "v")}
    # The file treats k, a and k_deformed as independent, but k = a * k_deformed: the chain rule puts them together.
    gradient["a"] = packed("grad_a") + packed("k_deformed") * packed("grad_k")
    gradient["k_deformed"] = packed("grad_k_deformed") + packed("a") * packed("grad_k")
    for name, expected in gradient.items():
        ours = leaves[name].grad
        assert ours is not None
        compare(f"gradient of {name}", ours, expected)
