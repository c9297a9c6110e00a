"""The training command on two GPUs: the steps of one, and its end when a process is lost."""

import signal

import pytest
import torch

from tests.benchmark.test_gpu_commands import FIRST_LOSS, LOSSES
from tests.benchmark.training import OFTEN, Training

pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs")

GPUS = {"DEVICE": "cuda", "NUM_FETCH_PROCESSES": 2}


@OFTEN
@pytest.mark.parametrize("dtype", ["float", "bfloat16"])
def test_two_gpus_take_the_steps_of_one(training: Training, dtype: str) -> None:
    """Eight recorded steps with dropout, and validations."""
    one = Training(training.stores, training.out.parent / "one")
    assert one.run(DEVICE="cuda:0", DTYPE=dtype) == 0
    code, output = training.run_shared(2, GPUS | {"DTYPE": dtype})
    assert code == 0, output
    assert "Traceback" not in output
    assert training.steps() == one.steps()
    assert [line.keys() for line in training.log()] == [line.keys() for line in one.log()]
    losses, expected = ([line["loss"] for line in run.trained()] for run in (training, one))
    assert losses[0] == pytest.approx(expected[0], rel=FIRST_LOSS[dtype])
    assert losses == pytest.approx(expected, rel=LOSSES[dtype])
    name = "validation_ahead_equalize"
    assert training.log()[-1][name] == pytest.approx(one.log()[-1][name], rel=LOSSES[dtype])


@OFTEN
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_after_a_lost_process_a_run_goes_on(training: Training, number: signal.Signals) -> None:
    """Though the GPU of the other one waits for it."""
    code, output = training.run_shared(2, GPUS, (1, number, 6))
    assert code != 0
    sentence = {
        signal.SIGKILL: "Process 1 of the 2 of this training has ended",
        signal.SIGTERM: "ended by SIGTERM; files already written are kept",
    }
    assert output.count(sentence[number]) == 1, output
    assert output.count("Traceback") == 1, "torchrun's own, of a failed process"
    assert training.steps() == [2, 4]
    assert training.run(**GPUS) == 0
    assert training.steps() == [2, 4, 6, 8]
