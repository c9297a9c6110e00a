"""The training command in several processes, which torchrun starts: the same run as one process, and its end."""

import signal
from pathlib import Path

import pytest
import torch

from rwkv.training.processes import Processes
from tests.benchmark.training import OFTEN, Training, interrupt_after, set_often

# A small network in float32 on the CPU, with dropout; 20 steps.
STEPS, PEAK_LR = 20, 2e-4
SMALL = {"CHANNELS": 32, "LAYERS": [1, 1, 1, 1, 1], "EPOCHS": 5, "PEAK_LR": PEAK_LR, "NUM_FETCH_PROCESSES": 2}
# Sums in another order, relative: of figures; of all weights together to what the steps moved them, at most 4.3e-6 in
# stores of simulated learners of eight seeds; and of each weight to one step. AdamW turns the rounding of a tiny
# gradient into a part of a step, so the data decide how far the furthest weight is apart: there from 0.0004 to 0.008
# of a step.
APART, MOVED_APART, STEP_APART = 1e-6, 2e-5, 0.05
# Absolute, of the term w: a tiny difference of logarithms over 128 curves, which float32 rounds by up to 2e-9.
W_APART = 1e-8


@pytest.fixture(scope="module")
def alone(stores: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """The run of one process. Leave it as it is."""
    training = Training(stores, tmp_path_factory.mktemp("alone") / "out")
    with pytest.MonkeyPatch.context() as patch:
        set_often(patch)
        assert training.run(**SMALL) == 0
    return training


def assert_same_run(ours: Training, theirs: Training) -> None:
    """The same checkpoints, log and weights, up to rounding."""
    assert ours.steps() == theirs.steps()
    assert len(ours.trained()) == STEPS
    for line, expected in zip(ours.log(), theirs.log(), strict=True):
        assert line.pop("w", 0) == pytest.approx(expected.pop("w", 0), rel=0, abs=W_APART)
        assert line == pytest.approx(expected, rel=APART, abs=0)
    begin, end = flat(theirs.weights(2)), flat(theirs.weights(STEPS))
    for step, weights in ((2, begin), (STEPS, end)):
        difference = flat(ours.weights(step)) - weights
        assert difference.norm() <= MOVED_APART * (end - begin).norm()
        assert difference.abs().max() <= STEP_APART * PEAK_LR


def flat(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in weights.values()])


def test_two_processes_take_the_steps_of_one(alone: Training, training: Training) -> None:
    """With one writer, and dropout."""
    code, output = training.run_shared(2, SMALL)
    assert code == 0
    assert output.count("step 2: saved") == 1
    assert output.count("validation: ") == STEPS // 2
    assert "Traceback" not in output
    assert_same_run(training, alone)


@OFTEN
def test_after_a_lost_process_a_run_goes_on_with_another_number(
    alone: Training, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes, of which one is killed; one that is interrupted; two, of which one is ended; and one."""
    code, output = training.run_shared(2, SMALL, (1, signal.SIGKILL, 6))
    assert code != 0
    assert output.count("ERROR: Process 1 of the 2 of this training has ended, so the other processes end, too.") == 1
    assert "rerun to continue from the last checkpoint" in output
    assert output.count("Traceback") == 1, "torchrun's own, of a failed process"
    assert training.steps() == [2, 4]
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)
        assert training.run(**SMALL) == 130
    assert training.steps() == [2, 4, 6, 8]
    code, output = training.run_shared(2, SMALL, (1, signal.SIGTERM, 5))
    assert code != 0
    assert output.count("ended by SIGTERM; files already written are kept. Rerun the command to continue.") == 1
    assert output.count("Traceback") == 1
    # The signal comes in step 13, is seen before step 14, and then both take one more step than that.
    assert training.steps() == [2, 4, 6, 8, 10, 12, 14, 15]
    assert training.run(**SMALL) == 0
    for path in training.out.glob("p*_15.pth"):  # left by the stop
        path.unlink()
    assert_same_run(training, alone)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_in_a_validation_ends_both(alone: Training, training: Training, rank: int) -> None:
    """Neither is lost, and the validation is repeated when the run goes on."""
    validating = SMALL | {"VALIDATE_USERS_START": 1}
    code, output = training.run_shared(2, validating, (rank, signal.SIGTERM, 4), in_validation=True)
    assert code != 0
    assert output.count("ended by SIGTERM; files already written are kept. Rerun the command to continue.") == 1
    assert output.count("exitcode  : 143") == 2
    assert "step 4: saved" in output
    assert training.steps() == [2, 4]
    assert (output.count("validation: "), len(training.log())) == (1, 5)


def test_an_error_of_all_processes_is_told_once(training: Training) -> None:
    code, output = training.run_shared(2, SMALL | {"DEVICE": "cuda:0"})
    assert code != 0
    assert output.count("error: Several processes cannot use one GPU.") == 1
    assert output.count("Traceback") == 1


def test_torchrun_starts_lost_processes_again(training: Training) -> None:
    code, output = training.run_shared(2, SMALL | {"EPOCHS": 2}, (1, signal.SIGKILL, 4), restarts=1)
    assert code == 0, output
    assert "steps 3 to 8 of 8" in output
    assert training.steps() == [2, 4, 6, 8]


def test_an_error_that_is_not_expected_ends_all_processes(training: Training) -> None:
    """With its traceback, and though the other one and its workers wait."""
    code, output = training.run_shared(2, SMALL, (0, 0, 4))
    assert code != 0
    assert output.count("ValueError: unexpected") == 1
    assert output.count("ERROR: Process 0 of the 2 of this training has ended, so the other processes end, too.") == 1
    assert training.steps() == [2]


def test_processes_agree_on_the_validation_store(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its histories one would not validate, while another waits for it."""
    settings = []

    def stop(processes: Processes, text: str) -> None:
        settings.append(text)
        raise KeyboardInterrupt

    monkeypatch.setattr(Processes, "check_agreement", stop)
    assert training.run() == 130
    monkeypatch.setattr("rwkv.benchmark.training_batches.history_places", lambda store, users: [])
    assert training.run() == 130
    assert len(set(settings)) == 2
