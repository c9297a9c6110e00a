"""Training whose steps or validations are not finite, and how it ends."""

import math
from collections.abc import Callable
from typing import Concatenate, ParamSpec

import pytest

from rwkv.benchmark.training_steps import remedy
from rwkv.model.network import Network, new_network
from rwkv.training.step import StepReport, train_step
from tests.benchmark.training import OFTEN, Training, interrupt_after, is_same
from tests.benchmark.workspace import assert_said

Rest = ParamSpec("Rest")


def _spoil(patch: pytest.MonkeyPatch, steps: range) -> None:
    """In these steps of the run, every gradient is NaN."""
    patch.setattr("rwkv.benchmark.training_steps.train_step", _spoilt(train_step, steps))


def _spoilt(
    take: Callable[Concatenate[Network, Rest], StepReport], steps: range
) -> Callable[Concatenate[Network, Rest], StepReport]:
    taken = 0

    def step(network: Network, /, *rest: Rest.args, **named: Rest.kwargs) -> StepReport:
        nonlocal taken
        taken += 1
        value = math.nan if taken in steps else 1.0
        hook = network.prehead_norm.weight.register_hook(lambda gradient: gradient * value)
        try:
            return take(network, *rest, **named)
        finally:
            hook.remove()

    return step


@OFTEN
def test_steps_that_are_not_finite_are_skipped_and_counted(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        _spoil(patch, range(1, 3))
        assert training.run(EPOCHS=0.5) == 1
    output = (
        "step 1 skipped",
        "(1 so far)",
        "step 2 skipped",
        "(2 so far)",
        "is unusable: 2 of 2 steps were skipped",
        "PEAK_LR",
    )
    assert_said(capsys, *output)
    assert [(line["loss"], line["gradient_norm"], line["skipped_steps"]) for line in training.trained()] == [
        (None, None, 1),
        (None, None, 2),
    ]
    assert is_same(training.weights(2), new_network(1234).state_dict())


@OFTEN
def test_the_count_of_skipped_steps_survives_a_stop(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        _spoil(patch, range(1, 2))
        patch.setattr("rwkv.benchmark.train.is_checkpoint", lambda n, *_: n == 2)
        assert training.run(EPOCHS=0.5) == 0
    note = training.out / "p.run"
    note.write_text(note.read_text().replace('"total": 2', '"total": 4').replace('"EPOCHS": 0.5', '"EPOCHS": 1.0'))
    with monkeypatch.context() as patch:
        _spoil(patch, range(2, 3))
        assert training.run(EPOCHS=1) == 0
    assert [line["skipped_steps"] for line in training.trained()] == [1, 1, 1, 2]


def test_too_many_skipped_steps_in_a_row_end_the_run(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rwkv.benchmark.training_steps._MOST_SKIPPED_STEPS", 2)
    _spoil(monkeypatch, range(2, 9))
    assert training.run(STEP_OFFSET=11, EPOCHS=5) == 1
    assert_said(capsys, "2 steps in a row were not finite", "step 13", "PEAK_LR")
    assert [line["loss"] is None for line in training.trained()] == [False, True, True]


def test_a_run_with_mostly_skipped_steps_fails(training: Training, capsys: pytest.CaptureFixture[str]) -> None:
    """The rate is far too high: weights explode in the first step, and all later ones are skipped."""
    changed = {"PEAK_LR": 1e8, "WARMUP_STEPS": 0, "EPOCHS": 1}
    assert training.run(**changed) == 1
    assert_said(capsys, "is unusable: 3 of 4 steps were skipped; lower PEAK_LR, and start over")
    assert training.run(**changed) == 1, "also when it is asked for again"
    assert_said(capsys, "this run is finished", "is unusable: 3 of 4 steps")


@pytest.mark.parametrize(
    ("device", "dtype", "expected"),
    [
        ("cpu", "bfloat16", "lower PEAK_LR"),
        ("cuda", "float32", "lower PEAK_LR"),
        ("cuda", "bfloat16", "lower PEAK_LR or use DTYPE float32"),
    ],
)
def test_the_remedy_names_a_dtype_only_if_another_could_help(device: str, dtype: str, expected: str) -> None:
    assert remedy(device, dtype) == expected


def test_a_last_validation_that_is_not_finite_is_a_failure(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rwkv.benchmark.training_checkpoints.validate", lambda *arguments: {"ahead_equalize": math.nan})
    assert training.run(EPOCHS=0.25) == 1
    assert_said(capsys, "validation: ahead_equalize nan", "is unusable: its last validation is not finite")


@OFTEN
@pytest.mark.parametrize("name", ["p_2.pth", "p_optim_2.pth"])
def test_a_lost_checkpoint_is_refused_without_naming_load_model(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        assert training.run() == 130
    (training.out / name).unlink()
    capsys.readouterr()
    assert training.run() == 2
    output = capsys.readouterr().err
    assert "checkpoint of step 2" in output
    assert str(training.out / name) in output
    assert "RESUME = false" in output
    assert "LOAD_MODEL" not in output
