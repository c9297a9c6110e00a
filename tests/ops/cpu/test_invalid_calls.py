"""Invalid calls end in an exception with a message, never in a signal or in data from other memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rwkv.native.library import OPERATORS, native
from rwkv.ops.dropout import hash_dropout
from rwkv.ops.groups import plan_chunks
from tests.ops.cpu.valid_calls import Call, valid_calls
from tests.ops.groups import needs_native

REPOSITORY = Path(__file__).resolve().parents[3]

pytestmark = needs_native


def call_of(name: str) -> Call:
    return next(call for call in valid_calls() if call.name == name)


def refusal(name: str, **changed: object) -> str:
    call = call_of(name)
    with pytest.raises(RuntimeError) as caught:
        call.run(*(call.arguments | changed).values())
    return str(caught.value)


def test_every_operator_is_called() -> None:
    assert {call.name.split(" ")[0] for call in valid_calls()} >= set(OPERATORS)


@pytest.mark.parametrize("seed", [1])
def test_spoiled_calls_raise(seed: int) -> None:
    """Hundreds of calls of each operator in a separate process, whose last line names a failure."""
    command = [sys.executable, "-m", "tests.ops.cpu.invalid_calls", str(seed), "400"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    lines = done.stdout.splitlines()
    accepted = [lines[i - 1] for i, line in enumerate(lines) if line == "accepted"]
    assert not accepted
    assert (done.returncode, lines[-1]) == (0, "all made"), done.stderr[-2000:]


def test_an_error_states_the_value() -> None:
    """If the compiler links its own C++ library, writing a number to a stream would end the process."""
    sizes = call_of("network_step").arguments["sizes"]
    assert "writes must be 0 to 3, got 4" in refusal("network_step", writes=4)
    assert "at most 4096 rows, got 5000" in refusal("network_step", inputs=torch.zeros(5000, 92))
    assert "must be 1 to 65536, got 70000" in refusal("network_step", sizes=[70_000, *sizes[1:]])
    assert "source[0] = 12345 is neither" in refusal("channel_mix_forward", source=torch.full((7,), 12_345))
    assert "[7, 32] of float32, got [7, 31] of float32" in refusal("time_mix_backward", of_y=torch.zeros(7, 31))
    assert "0 to 7 rows, got 0 to 8" in refusal("wkv_forward", offsets=torch.tensor([0, 8]))
    assert "twice 4 columns, at least 4, got 7" in refusal("curve_recall", curves=torch.zeros(6, 7))
    assert "below 2^32, got 4294967296" in refusal("hash_dropout", threshold=2**32)


def test_heads_of_other_widths_are_refused() -> None:
    rows = {name: torch.zeros(7, 2, 8) for name in ("r", "log_decay", "k_hat", "v", "b")}
    assert "a head must have 16, 32 or 64 channels, got 8" in refusal("wkv_forward", **rows)


def test_values_that_are_not_arrays_are_type_errors() -> None:
    arguments = call_of("wkv_forward").arguments
    for wrong in (None, "x", 3, [1.0]):
        with pytest.raises(TypeError, match="argument 1 must be an array"):
            call_of("wkv_forward").run(*(arguments | {"r": wrong}).values())
    with pytest.raises(TypeError, match="10 arguments expected, got 1"):
        native().wkv_forward(1)


def test_memory_that_is_not_aligned_is_refused() -> None:
    arguments = [
        call_of("curve_recall").arguments[name].numpy() for name in ("curves", "elapsed", "stabilities", "points")
    ]
    shifted = np.frombuffer(b"\0" + arguments[1].tobytes(), np.float64, offset=1)
    with pytest.raises(TypeError, match="argument 2 must be an aligned array"):
        native().curve_recall(arguments[0], shifted, *arguments[2:], 1e-5, 1)


def test_memory_that_is_read_only_is_only_read() -> None:
    arguments = [
        call_of("curve_recall").arguments[name].numpy() for name in ("curves", "elapsed", "stabilities", "points")
    ]
    expected = np.asarray(native().curve_recall(*arguments, 1e-5, 1))
    for array in arguments:
        array.flags.writeable = False
    np.testing.assert_array_equal(np.asarray(native().curve_recall(*arguments, 1e-5, 1)), expected)


def test_strided_and_borrowed_memory_is_refused() -> None:
    assert "contiguous" in refusal("curve_recall", elapsed=torch.ones(12).double()[::2])
    shrunk = torch.ones(6).double()
    shrunk.untyped_storage().resize_(8)
    assert "less memory" in refusal("curve_recall", elapsed=shrunk)


@pytest.mark.parametrize("offsets", [[0, 3], [1, 4], [0, 3, 2, 4], [-1, 4], []])
def test_offsets_of_the_plain_form_are_checked_too(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets must go from 0 to 4 rows"):
        plan_chunks(torch.tensor(offsets, dtype=torch.int64), torch.zeros(4, dtype=torch.bool), 16)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_invalid_dropout_rates_are_refused(rate: float, dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="rate"):
        hash_dropout(torch.ones(4, dtype=dtype), rate, torch.tensor([1]), 1)
