"""A training that a signal stops finishes its step and saves a checkpoint, from which it goes on."""

import os
import signal
from pathlib import Path

import pytest

from rwkv.errors import InputError
from rwkv.training.stop import Stop
from rwkv.training.validate import validate
from tests.benchmark.training import OFTEN, Training, set_often, signal_at
from tests.benchmark.workspace import assert_said
from tests.typed import preceded

# Two epochs of 4 steps, with a small network.
SMALL = {"CHANNELS": 32, "LAYERS": [1, 1, 1, 1, 1]}


@pytest.fixture(scope="module")
def undisturbed(stores: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that went through, with a checkpoint every 2 steps."""
    training = Training(stores, tmp_path_factory.mktemp("undisturbed") / "out")
    with pytest.MonkeyPatch.context() as patch:
        set_often(patch)
        assert training.run(**SMALL) == 0
    return training.files()


def signal_in_validation(patch: pytest.MonkeyPatch, number: int, validations: int) -> None:
    """The next runs get a signal in the validation of this number, counted from their start."""
    begun = 0

    def count() -> None:
        nonlocal begun
        begun += 1
        if begun == validations:
            os.kill(os.getpid(), number)

    patch.setattr("rwkv.benchmark.training_checkpoints.validate", preceded(validate, count))


@OFTEN
@pytest.mark.parametrize(
    ("number", "sentence"), [(signal.SIGINT, "interrupted; "), (signal.SIGTERM, "ended by SIGTERM; ")]
)
def test_a_stopped_run_continues_from_its_last_step_bit_for_bit(
    training: Training,
    undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    number: int,
    sentence: str,
) -> None:
    with monkeypatch.context() as patch:
        signal_at(patch, number, 5)
        assert training.run(**SMALL) == 128 + number
    said = capfd.readouterr().err
    for words in (
        "stopping after this step",
        "another Ctrl-C or signal after a second",
        "step 5: saved",
        sentence + "files already written are kept",
    ):
        assert said.count(words) == 1, words
    assert training.steps() == [2, 4, 5]
    assert [line["step"] for line in training.trained()] == [1, 2, 3, 4, 5]
    assert training.run(**SMALL) == 0
    assert_said(capfd, "steps 6 to 8 of 8")
    assert {name: data for name, data in training.files().items() if "_5" not in name} == undisturbed


def test_a_run_is_also_saved_before_its_first_checkpoint(
    training: Training, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        signal_at(patch, signal.SIGINT, 3)
        assert training.run(**SMALL) == 130
    assert training.steps() == [3]
    assert training.run(**SMALL) == 0
    assert_said(capfd, "steps 4 to 8 of 8")


@OFTEN
@pytest.mark.parametrize("validations", [2, 4])
def test_a_stopped_validation_is_repeated(
    training: Training, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, validations: int
) -> None:
    """That in the midst of the run, and the last one."""
    with monkeypatch.context() as patch:
        signal_in_validation(patch, signal.SIGTERM, validations)
        assert training.run(**SMALL) == 128 + signal.SIGTERM
    assert training.steps() == [2, 4, 6, 8][:validations]
    assert len(training.log()) == len(training.trained()) + validations - 1
    # As if it had been killed between the figures and the note.
    last = training.trained()[-1]["step"]
    with (training.out / "p.log.jsonl").open("a") as file:
        file.write(f'{{"step": {last}, "validation_ahead_equalize": 0.5}}\n')
    assert training.run(**SMALL) == 0
    assert training.files() == undisturbed


def test_a_second_signal_stops_at_once(
    training: Training, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rwkv.stopping._TOGETHER_S", 0)
    with monkeypatch.context() as patch:
        signal_at(patch, signal.SIGINT, 3)
        patch.setattr("rwkv.training.run.RunFiles.save", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        assert training.run(**SMALL) == 130
    assert not (training.out / "p.run").exists()
    assert "saved" not in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_checkpoint_that_fails_after_a_signal_is_an_error(
    training: Training, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: int
) -> None:
    """It is said, although the run was to end anyway."""

    def fail(*_: object) -> None:
        raise InputError("The disk is full.")

    signal_at(monkeypatch, number, 3)
    monkeypatch.setattr("rwkv.training.run.RunFiles.save", fail)
    assert training.run(**SMALL) == InputError.exit_code
    assert_said(capfd, "error: The disk is full.")


def test_a_run_that_is_stopped_before_its_first_step_saves_nothing(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("rwkv.training.processes.Processes.stop", _stop_now)
        assert training.run(**SMALL) == 130
    assert training.steps() == []
    assert training.run(**SMALL) == 0
    assert len(training.trained()) == 8


def _stop_now(processes: object, asked: object) -> object:
    return Stop(lambda: signal.SIGINT, None)
