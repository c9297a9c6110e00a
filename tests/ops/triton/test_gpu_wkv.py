"""The recurrence on a GPU against its definition in float64: outputs, final states and every gradient."""

from dataclasses import replace

import pytest
import torch

from rwkv.ops.wkv import wkv
from tests.ops.gpu import needs_gpu
from tests.ops.groups import Problem, chunked, problem, reference, results

pytestmark = needs_gpu

# Root mean square error over root mean square. Float32: sums of some thousand terms. bfloat16: the gradients round
# their factors to 8 bits, 1.7e-3 in the mean, several times on the way.
LIMITS = {torch.float32: 1e-5, torch.bfloat16: 7e-3}

GROUPS = {
    "an empty group": [""],
    "empty groups between others": ["", "rrq", "", "", "r", ""],
    "single rows": ["r", "q", "r"],
    "all queries": ["qqqq", "q" * 20],
    "query tails": ["r" + "q" * 40, "rrr" + "q" * 16],
    "leading queries": ["q" * 17 + "rrr", "qr", "qqrqr"],
    "many tiny": ["r", "rq", "", "rqr"] * 25,
    "lengths around a chunk": ["r" * 15, "r" * 16, "r" * 17, "r" * 32, "r" * 33],
    "one long among tiny": ["r", "rqrrqr" * 80, "q", "rr", "", "rqq" * 11],
}
LARGE = {
    "huge": ["rqr" * 6700 + "q"],
    "huge among tiny": ["rq", "r", ""] * 300 + ["rqrrq" * 4001] + ["q", "rqr" * 7, ""] * 300,
    "mixed": ["rq" * (7 * i) for i in range(40)] + ["r" * 3000, "q" * 700, "r" + "q" * 2000] + ["rqrq" * 1001],
}
GROWING = {"one run for each chunk": ["r" * 160], "runs of eight chunks": ["r" * 144] * 500}
# Errors of the first rows grow as the state does.
GROWING_LIMITS = {torch.float32: 1e-5, torch.bfloat16: 6e-2}


def growing(groups: list[str]) -> Problem:
    """Without decay, pairs of rows of which each multiplies the state by 1.25: beyond the 65,504 of float16."""
    p = problem(groups, with_state=False, decay=0.0)
    k_hat, b = torch.zeros_like(p.inputs["k_hat"]), torch.zeros_like(p.inputs["b"])
    k_hat[0::2, :, :2], k_hat[1::2, :, :2] = torch.tensor([0.2, 0.8]).sqrt(), torch.tensor([0.8, 0.2]).sqrt()
    b[0::2, :, 0], b[1::2, :, 1] = k_hat[0::2, :, 0], k_hat[1::2, :, 1]
    return Problem(p.inputs | {"k_hat": k_hat, "b": b}, p.offsets, p.is_query)


def on_gpu(p: Problem, dtype: torch.dtype) -> Problem:
    """The inputs rounded to a dtype; the state stays float32."""
    inputs = {name: x.to("cuda", torch.float32 if name == "initial_state" else dtype) for name, x in p.inputs.items()}
    return Problem(inputs, p.offsets.cuda(), p.is_query.cuda())


def kernel(p: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    return wkv(**p.inputs, groups=p.packed())


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    if theirs.numel() == 0:
        return 0.0
    size = float(theirs.square().mean().sqrt())
    return float((ours.double().cpu() - theirs.cpu()).square().mean().sqrt()) / max(size, 1e-6)


def assert_close(p: Problem, dtype: torch.dtype, large: bool, limits: dict[torch.dtype, float] = LIMITS) -> None:
    ours_p = on_gpu(p, dtype)
    exact = replace(ours_p, inputs={name: x.double() for name, x in ours_p.inputs.items()})
    if not large:
        exact = Problem({name: x.cpu() for name, x in exact.inputs.items()}, p.offsets, p.is_query)
    expected = results(chunked if large else reference, exact)
    ours, again = results(kernel, ours_p), results(kernel, ours_p)
    for name, theirs in expected.items():
        assert error(ours[name], theirs) < limits[dtype], name
        assert torch.equal(ours[name], again[name]), f"{name} differs from run to run"


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("name", GROUPS)
def test_kernel_is_the_reference(name: str, with_state: bool, dtype: torch.dtype) -> None:
    assert_close(problem(GROUPS[name], with_state=with_state), dtype, large=False)


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("name", LARGE)
def test_kernel_is_the_chunked_form_in_large_groups(name: str, dtype: torch.dtype) -> None:
    assert_close(problem(LARGE[name]), dtype, large=True)


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("name", GROWING)
def test_states_may_grow_beyond_the_range_of_float16(name: str, dtype: torch.dtype) -> None:
    _, final_state = chunked(growing(GROWING[name][:1]))
    assert final_state.abs().max() > torch.finfo(torch.float16).max
    assert_close(growing(GROWING[name]), dtype, large=True, limits=GROWING_LIMITS)
