"""WKV in matrix form against its definition: every result and every gradient, for groups of all shapes."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rwkv.ops.wkv import wkv
from tests.ops.groups import (
    STRONGEST_LOG_DECAY,
    WIDTH,
    Problem,
    assert_close,
    chunked,
    native,
    needs_native,
    problem,
    problems,
    reference,
    results,
)

# Both relative to the largest entry (assert_close): the two forms sum the same terms in another order. Float64 rounds
# at 1e-16; float32 at 6e-8, and the log decays of a chunk of 64, down to -39, at 2e-6.
EXACT = 1e-10
SINGLE = 1e-5

CHUNK_LENGTHS = (1, 2, 7, 16, 64)

GROUPS = {
    "no group": [],
    "an empty group": [""],
    "empty groups between others": ["", "rrq", "", "", "r", ""],
    "single rows": ["r", "q", "r"],
    "all queries": ["qqqq", "q" * 20],
    "query tails": ["r" + "q" * 40, "rrr" + "q" * 16],
    "leading queries": ["q" * 17 + "rrr", "qr", "qqrqr"],
    "one long": ["rqr" * 70],
    "many tiny": ["r", "rq", "", "rqr"] * 25,
    "one long among tiny": ["r", "rqrrqr" * 30, "q", "rr"],
    "lengths around a chunk": ["r" * 15, "r" * 16, "r" * 17, "r" * 32, "r" * 33],
}


@given(p=problems(), chunk_length=st.sampled_from(CHUNK_LENGTHS))
def test_the_chunked_form_equals_the_reference(p: Problem, chunk_length: int) -> None:
    assert_close(results(partial(chunked, chunk_length=chunk_length), p), results(reference, p), EXACT)


@pytest.mark.parametrize("with_state", [False, True], ids=["from nothing", "from a state"])
@pytest.mark.parametrize("name", GROUPS)
def test_the_chunked_form_equals_the_reference_in_groups_of_all_shapes(name: str, with_state: bool) -> None:
    p = problem(GROUPS[name], with_state=with_state)
    expected = results(reference, p)
    for chunk_length in (1, 16, 64):
        op = partial(chunked, chunk_length=chunk_length)
        assert_close(results(op, p), expected, EXACT)
        assert_close(results(op, p.to(torch.float32)), expected, SINGLE)


@needs_native
@given(p=problems())
def test_the_native_form_equals_the_reference(p: Problem) -> None:
    assert_close(results(native, p.to(torch.float32)), results(reference, p), SINGLE)


@needs_native
@pytest.mark.parametrize("with_state", [False, True], ids=["from nothing", "from a state"])
@pytest.mark.parametrize("name", GROUPS)
def test_the_native_form_equals_the_reference_in_groups_of_all_shapes(name: str, with_state: bool) -> None:
    p = problem(GROUPS[name], with_state=with_state)
    assert_close(results(native, p.to(torch.float32)), results(reference, p), SINGLE)


@needs_native
def test_native_does_not_depend_on_the_number_of_threads() -> None:
    p = problem(["rq" * 50, "r" * 33, "q"] * 5).to(torch.float32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = results(native, p)
        torch.set_num_threads(2)
        two = results(native, p)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("chunk_length", [16, 64])
def test_strong_decay_stays_exact_in_float32(chunk_length: int) -> None:
    """At w = 0.545 throughout, a chunk of 64 rows scales by e^39: large, but within float32's range."""
    p = problem(["r" * 200, "rq" * 100], decay=STRONGEST_LOG_DECAY)
    op = partial(chunked, chunk_length=chunk_length)
    assert_close(results(op, p.to(torch.float32)), results(reference, p), SINGLE)


def test_no_decay() -> None:
    p = problem(["rrq" * 40], decay=0.0)
    assert_close(results(chunked, p.to(torch.float32)), results(reference, p), SINGLE)


def test_gradients_are_those_of_finite_differences() -> None:
    """The reference uses autograd; the matrix form's scan has its own backward pass."""
    p = problem(["rqrr", "", "qrq"], seed=3)
    inputs = [x.clone().requires_grad_() for x in p.inputs.values()]

    def op(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        return chunked(Problem(dict(zip(p.inputs, inputs, strict=True)), p.offsets, p.is_query), chunk_length=2)

    assert torch.autograd.gradcheck(op, inputs, fast_mode=True)


def rows_of(p: Problem, start: int, stop: int, state: Tensor | None) -> Problem:
    """A part of a problem with one group."""
    inputs = {name: x[start:stop] for name, x in p.inputs.items() if name != "initial_state"}
    if state is not None:
        inputs["initial_state"] = state
    return Problem(inputs, torch.tensor([0, stop - start]), p.is_query[start:stop])


@given(p=st.builds(problem, st.lists(st.text("rq", max_size=60), min_size=1, max_size=1)), cut=st.floats(0, 1))
def test_a_state_carried_over_a_cut_gives_the_whole(p: Problem, cut: float) -> None:
    rows = len(p.is_query)
    at = round(cut * rows)
    whole, final_state = chunked(p)
    first, state = chunked(rows_of(p, 0, at, p.inputs.get("initial_state")))
    second, last = chunked(rows_of(p, at, rows, state))
    ours = {"out": torch.cat([first, second]), "final_state": last}
    assert_close(ours, {"out": whole, "final_state": final_state}, EXACT)


@pytest.mark.parametrize("op", [reference, chunked])
def test_queries_change_no_other_row_and_no_state(op: Callable[[Problem], tuple[Tensor, Tensor]]) -> None:
    """The contents of a query row change no other row and no final state."""
    p = problem(["rqrqq", "qr", "rrqr"])
    loud = Problem(
        {
            name: x if name == "initial_state" else torch.where(p.is_query[:, None, None], 0.7 * x, x)
            for name, x in p.inputs.items()
        },
        p.offsets,
        p.is_query,
    )
    (out, final_state), (loud_out, loud_final) = op(p), op(loud)
    assert torch.equal(out[~p.is_query], loud_out[~p.is_query])
    assert torch.equal(final_state, loud_final)
    assert not torch.equal(out[p.is_query], loud_out[p.is_query])


@pytest.mark.parametrize("op", [reference, chunked, pytest.param(native, marks=needs_native)])
def test_a_state_that_is_not_finite_stays_in_its_group(op: Callable[[Problem], tuple[Tensor, Tensor]]) -> None:
    p = problem(["rqr" * 12, "rq" * 20, "r", "qrr" * 9]).to(torch.float32)
    state = p.inputs["initial_state"].clone()
    state[1] = torch.inf
    out, final_state = op(p)
    overflown, overflown_final = op(Problem(p.inputs | {"initial_state": state}, p.offsets, p.is_query))
    of_group = slice(*p.offsets[1:3].tolist())
    assert not overflown[of_group].isfinite().any()
    out[of_group] = overflown[of_group] = final_state[1] = overflown_final[1] = 0
    assert torch.equal(out, overflown)
    assert torch.equal(final_state, overflown_final)


# --- The public op


def call(p: Problem, **replaced: Tensor) -> tuple[Tensor, Tensor]:
    return wkv(**(p.inputs | replaced), groups=p.packed())


@pytest.mark.parametrize(
    ("dtype", "of_state"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_dtypes(dtype: torch.dtype, of_state: torch.dtype) -> None:
    """Outputs have the dtype of the inputs, states at least float32, and bfloat16 costs one rounding."""
    p = problem(["rrq", "q"]).to(dtype)
    state = p.inputs["initial_state"].to(torch.float32)
    out, final_state = call(p, initial_state=state)
    assert (out.dtype, final_state.dtype) == (dtype, of_state)
    wide = p.to(torch.float64)
    wide.inputs["initial_state"] = state.to(torch.float64)
    expected, expected_state = reference(wide)
    # bfloat16 keeps 8 bits: one rounding is at most 2^-9 of a value.
    torch.testing.assert_close(
        out.to(torch.float64), expected, rtol=2**-8 if dtype == torch.bfloat16 else SINGLE, atol=SINGLE
    )
    torch.testing.assert_close(final_state.to(torch.float64), expected_state, rtol=SINGLE, atol=SINGLE)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("log_decay", (3, 2, WIDTH), "log_decay"),
        ("k_hat", (4, 1, WIDTH), "k_hat"),
        ("v", (4, 2, WIDTH + 1), "v has shape"),
        ("b", (4, 2), "b has shape"),
        ("initial_state", (3, 2, WIDTH, WIDTH), "initial_state"),
        ("initial_state", (2, 2, WIDTH, WIDTH + 1), "initial_state"),
    ],
)
def test_other_shapes_are_refused(name: str, shape: tuple[int, ...], message: str) -> None:
    p = problem(["rqr", "r"])
    call(p)
    with pytest.raises(ValueError, match=message):
        call(p, **{name: torch.zeros(shape, dtype=torch.float64)})


def test_other_numbers_of_rows_are_refused() -> None:
    p, other = problem(["rqr", "r"]), problem(["rqr"])
    with pytest.raises(ValueError, match="the groups have 3 rows, the inputs 4"):
        wkv(**p.inputs, groups=other.packed())


def test_inputs_that_are_not_rows_of_heads_are_refused() -> None:
    p = problem(["rqr", "r"])
    with pytest.raises(ValueError, match="r has shape"):
        call(p, r=p.inputs["r"].flatten(1))
