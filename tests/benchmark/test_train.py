"""The training command over a few simulated learners: runs, checkpoints, continuing after a kill, and its errors."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rwkv.benchmark.training_steps import _shown, is_checkpoint
from rwkv.model.checkpoint import read_weights
from rwkv.training.optimizer import learning_rate
from rwkv.training.step import StepReport
from tests.benchmark.training import OFTEN, SEGMENT_ROWS, Training, interrupt_after, is_same, set_often
from tests.benchmark.workspace import Workspace, assert_said

# What the learners' segments make.
GROUPS = 4

# A checkpoint every 2 steps.
STEPS = [2, 4, 6, 8]


@pytest.fixture(scope="module")
def undisturbed(stores: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A run of two epochs that went through, with a checkpoint every 2 steps. Leave it as it is."""
    training = Training(stores, tmp_path_factory.mktemp("undisturbed") / "out")
    with pytest.MonkeyPatch.context() as patch:
        set_often(patch)
        assert training.run() == 0
    return training


@pytest.fixture
def copied(undisturbed: Training, training: Training) -> Training:
    """The same in a folder of its own, to go on in."""
    shutil.copytree(undisturbed.out, training.out)
    return training


def test_a_run_leaves_checkpoints_and_a_log(undisturbed: Training) -> None:
    assert undisturbed.steps() == STEPS
    assert not is_same(undisturbed.weights(6), undisturbed.weights(8))
    assert [line["step"] for line in undisturbed.trained()] == list(range(1, 2 * GROUPS + 1))
    validated = [line for line in undisturbed.log() if "validation_ahead_equalize" in line]
    assert [line["step"] for line in validated] == STEPS
    for line in undisturbed.log():
        assert all(math.isfinite(value) for value in line.values())
    assert all(line["skipped_steps"] == 0 for line in undisturbed.trained())
    assert all(0 < line[f"validation_{name}_equalize"] < 2 for line in validated for name in ("ahead", "imm_binary"))


def test_rates_of_the_warm_up(undisturbed: Training) -> None:
    rates = [line["learning_rate"] for line in undisturbed.trained()]
    assert rates == [learning_rate("WS", n, 1e-3, 2, 2 * GROUPS) for n in range(1, 2 * GROUPS + 1)]


def test_training_learns(undisturbed: Training) -> None:
    """Both epochs see the same segments."""
    losses = [line["loss"] for line in undisturbed.trained()]
    assert np.mean(losses[GROUPS:]) < np.mean(losses[:GROUPS]) - 0.05


def test_the_progress_shows_a_loss_where_there_is_one() -> None:
    shown = [_shown(StepReport(loss, {}, 1.0, rows)) for loss, rows in ((0.25, 9), (None, 9), (0.0, 0))]
    assert shown == ["0.2500", "not finite", "none"]


def test_checkpoints_come_at_step_50_every_500_of_an_epoch_and_last() -> None:
    points = [n for n in range(1, 2601) if is_checkpoint(n, 1200, 2600, first=1)]
    assert points == [50, 500, 1000, 1700, 2200, 2600]
    assert [n for n in range(1, 31) if is_checkpoint(n, 7, 30, first=1)] == [30]
    assert [n for n in range(1, 1201) if is_checkpoint(n, 7, 1200, first=1)] == [50, 500, 1000, 1200]


def test_step_50_is_a_number_and_epochs_begin_with_the_run() -> None:
    points = [40 + n - 1 for n in range(1, 2601) if is_checkpoint(n, 1200, 2600, first=40)]
    assert points == [50, 539, 1039, 1739, 2239, 2639]
    assert 50 not in [51 + n - 1 for n in range(1, 101) if is_checkpoint(n, 1200, 100, first=51)]


# --- The same, and not the same


@OFTEN
def test_the_number_of_workers_changes_nothing(undisturbed: Training, training: Training) -> None:
    """Also: a run is decided by its configuration; torch's own random numbers have no say."""
    torch.manual_seed(99)
    assert training.run(NUM_FETCH_PROCESSES=2) == 0
    assert training.files() == undisturbed.files()


def test_another_seed_is_another_run(undisturbed: Training, training: Training) -> None:
    assert training.run(SEED=77, EPOCHS=0.25) == 0
    assert training.trained()[0]["loss"] != undisturbed.trained()[0]["loss"]


def test_a_finished_run_is_reported_and_not_repeated(copied: Training, capsys: pytest.CaptureFixture[str]) -> None:
    before = copied.files()
    assert copied.run() == 0
    assert_said(capsys, "this run is finished", "p_8.pth", "p.run")
    assert copied.files() == before


@OFTEN
@pytest.mark.parametrize("where", ["step", "validation"])
def test_a_killed_run_continues_bit_for_bit(undisturbed: Training, training: Training, where: str) -> None:
    """Killed in its fourth step, when the third is logged; or while the checkpoint of step 4 is validated."""
    training.kill(where)
    assert training.steps() == ([2] if where == "step" else [2, 4])
    assert len(training.trained()) == (3 if where == "step" else 4)
    assert training.run(NUM_FETCH_PROCESSES=2) == 0
    assert training.files() == undisturbed.files()


@OFTEN
def test_an_unfinished_run_with_another_configuration_is_refused(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is an error that names the key; RESUME = false begins anew."""
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        assert training.run() == 130
        assert training.steps() == [2]
        capsys.readouterr()
        assert training.run(PEAK_LR=2e-3) == 2
        assert_said(capsys, "another configuration", "got: PEAK_LR = 0.002\n", "expected: PEAK_LR = 0.001\n", "RESUME")
    assert training.run(PEAK_LR=2e-3, RESUME=False, EPOCHS=0.5) == 0
    assert [line["learning_rate"] for line in training.trained()] == [
        learning_rate("WS", n, 2e-3, 2, 2) for n in (1, 2)
    ]


def test_a_finished_run_is_not_overwritten_by_another_configuration(
    training: Training, capsys: pytest.CaptureFixture[str]
) -> None:
    assert training.run(EPOCHS=0.5) == 0
    before = (training.out / "p.log.jsonl").read_bytes()
    assert training.run(EPOCHS=0.75) == 2
    assert_said(capsys, "another configuration", "EPOCHS = 0.75", "SAVE_MODEL_PREFIX")
    assert (training.out / "p.log.jsonl").read_bytes() == before


@OFTEN
def test_a_restarted_run_that_is_stopped_does_not_continue_the_earlier_one(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        assert training.run(EPOCHS=1) == 130
        assert training.run(EPOCHS=1, RESUME=False) == 130
    assert training.run(EPOCHS=1) == 0
    assert [line["step"] for line in training.trained()] == [1, 2, 3, 4]


# --- WS, then D


@OFTEN
def test_ws_then_d(copied: Training, undisturbed: Training) -> None:
    """The decay goes on from the model of the first run, under the form of names in which it was saved."""
    keys = {"LOAD_MODEL": True, "LOAD_MODEL_FOLDER": str(copied.out), "LOAD_MODEL_NAME": "p_8"}
    decay = Training(copied.stores, copied.out.parent / "decay")
    assert decay.run(**keys, TRAIN_MODE="D", EPOCHS=3.3, STEP_OFFSET=9) == 0
    assert decay.steps() == [10, 12, 13], "up to step int(3.3 * 4), checkpoints by the run's own epochs"
    rates = [line["learning_rate"] for line in decay.trained()]
    assert rates == [learning_rate("D", n, 1e-3, 2, 13) for n in range(1, 6)]
    assert [line["step"] for line in decay.trained()] == list(range(9, 14))
    moments = torch.load(decay.out / "p_optim_13.pth", weights_only=True)["state"].values()
    assert {float(moment["step"]) for moment in moments} == {8.0 + 5}, "the averages go on, too"
    losses = [line["loss"] for line in decay.trained()]
    assert np.mean(losses) < np.mean([line["loss"] for line in undisturbed.trained()][:GROUPS])


@OFTEN
def test_a_run_with_muon_continues_bit_for_bit_and_differs_from_adamw(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"OPTIMIZER": "muon", "EPOCHS": 1}
    whole = Training(training.stores, training.out.parent / "whole")
    assert whole.run(**keys) == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        assert training.run(**keys) == 130
    capsys.readouterr()
    assert training.run(EPOCHS=1) == 2
    assert_said(capsys, "another configuration", 'got: OPTIMIZER = "adamw"\n', 'expected: OPTIMIZER = "muon"\n')
    assert training.run(**keys) == 0
    assert training.files() == whole.files()
    loaded = {"LOAD_MODEL": True, "LOAD_MODEL_FOLDER": str(whole.out), "LOAD_MODEL_NAME": "p_4"}
    assert training.run(SAVE_MODEL_PREFIX="q", TRAIN_MODE="D", **loaded) == 2
    assert_said(capsys, "state of another optimiser", "got: 'muon'\n", "expected: 'adamw', as OPTIMIZER says\n")


def test_no_optimiser_file_names_both_paths(copied: Training, capsys: pytest.CaptureFixture[str]) -> None:
    (copied.out / "p_optim_8.pth").unlink()
    keys = {
        "LOAD_MODEL": True,
        "LOAD_MODEL_FOLDER": str(copied.out),
        "LOAD_MODEL_NAME": "p_8",
        "SAVE_MODEL_PREFIX": "q",
    }
    assert copied.run(**keys) == 2
    assert_said(capsys, str(copied.out / "p_8_optim.pth"), str(copied.out / "p_optim_8.pth"))


# --- What the keys do


def test_a_checkpoint_is_in_the_published_form(undisturbed: Training) -> None:
    assert is_same(undisturbed.weights(8), read_weights(undisturbed.out / "p_8.pth"))
    assert list(undisturbed.weights(8)) == list(read_weights(undisturbed.out / "p_8.pth"))


def test_bfloat16_on_a_cpu_is_computed_in_float32(
    undisturbed: Training, training: Training, capsys: pytest.CaptureFixture[str]
) -> None:
    assert training.run(EPOCHS=0.5, DTYPE="bfloat16") == 0
    assert_said(capsys, "computes in float32")
    assert training.trained() == undisturbed.trained()[:2]


def test_training_with_the_loss_mode_equalize(undisturbed: Training, training: Training) -> None:
    assert training.run(EPOCHS=0.5, LOSS_MODE="equalize") == 0
    assert training.steps() == [2]
    losses, norms = ([line[name] for line in training.trained()] for name in ("loss", "gradient_norm"))
    assert norms != [line["gradient_norm"] for line in undisturbed.trained()][:2]
    assert all(math.isfinite(loss) and 0 < loss < 4 for loss in losses)
    assert {weight.dtype for weight in training.weights(2).values()} == {torch.float32}


def test_epochs_without_a_step_are_refused(training: Training, capsys: pytest.CaptureFixture[str]) -> None:
    assert training.run(EPOCHS=0.2) == 2
    assert_said(capsys, "no step", "EPOCHS", "0.2, with 4 groups", "at least 1 / 4")
    assert training.run(EPOCHS=2, STEP_OFFSET=9) == 2
    assert_said(capsys, "no step", "2.0, with 4 groups", "number 8", "at least 9 / 4, for STEP_OFFSET = 9")
    assert not training.out.exists()


def test_a_run_that_ends_before_its_warm_up_gives_a_warning(
    training: Training, capsys: pytest.CaptureFixture[str]
) -> None:
    assert training.run(EPOCHS=0.5, WARMUP_STEPS=20_000) == 0
    assert_said(capsys, "the run has 2 steps and ends before the warm-up", "1.5e-07 of 0.001", "WARMUP_STEPS")
    assert training.run(EPOCHS=0.5, WARMUP_STEPS=1, SAVE_MODEL_PREFIX="q") == 0
    assert "warm-up" not in capsys.readouterr().err


def test_a_run_that_ends_before_its_decay_gives_a_warning(
    training: Training, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first step has number 4 of 5, and so it takes two steps of a decay over five."""
    assert training.run(TRAIN_MODE="D", EPOCHS=1.25, STEP_OFFSET=4) == 0
    assert_said(capsys, "ends before the decay", "takes the 5 steps of EPOCHS and the run has 2 of them", "STEP_OFFSET")
    assert training.trained()[-1]["learning_rate"] == learning_rate("D", 2, 1e-3, 2, 5)
    assert training.run(TRAIN_MODE="D", EPOCHS=0.5, SAVE_MODEL_PREFIX="q") == 0
    assert "decay" not in capsys.readouterr().err


def test_without_validation_users_there_is_a_warning(training: Training, capsys: pytest.CaptureFixture[str]) -> None:
    assert training.run(EPOCHS=0.25, VALIDATE_USERS_START=50, VALIDATE_USERS_END=60) == 0
    assert_said(capsys, "no validation: none of its users is in")
    assert training.log() == training.trained()


def test_validation_without_keys_is_reported(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Instead of a loss of 0, on stderr and in the log."""
    monkeypatch.setattr("rwkv.benchmark.training_checkpoints.validate", lambda *arguments: {})
    assert training.run(EPOCHS=0.25) == 0
    assert_said(capsys, "validation: no loss, because none of its users has keys")
    assert training.log() == training.trained()


def test_training_users_that_are_missing_are_counted(training: Training, capsys: pytest.CaptureFixture[str]) -> None:
    assert training.run(EPOCHS=0.4, TRAIN_USERS_START=2, TRAIN_USERS_END=5) == 0
    assert_said(capsys, "not in the store: 2 of 4 training users")


# --- Bad input


def _other_version(training: Training) -> dict[str, object]:
    shutil.copytree(training.stores / "train_db", training.out.parent / "old_db")
    Workspace(training.out.parent).put("old_db", {"meta": b'{"format": "rwkv review store", "version": 99}'})
    return {"TRAIN_DATASET_LMDB_PATH": str(training.out.parent / "old_db")}


def _file_as_folder(training: Training) -> dict[str, object]:
    training.out.parent.joinpath("file").write_text("")
    return {"SAVE_MODEL_FOLDER": str(training.out.parent / "file")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: {"TRAIN_USERS_START": 50, "TRAIN_USERS_END": 60}, ["None of the training users", "users 50 to 60"]),
        (
            lambda _: {"TRAIN_DATASET_LMDB_PATH": "none"},
            ["database does not exist", "none", "run `python -m rwkv.data_processing`"],
        ),
        (lambda _: {"VALIDATE_DATASET_LMDB_PATH": "none"}, ["database does not exist", "none", "rwkv.data_processing"]),
        (_other_version, ["another version", "old_db", "version 99"]),
        (lambda _: {"DEVICE": "cuda:99"}, ["cuda:99", "DEVICE"]),
        (lambda _: {"DTYPE": "float16"}, ["DTYPE", "float16", "bfloat16"]),
        (lambda _: {"TRAIN_MODE": "S"}, ["TRAIN_MODE"]),
        (
            lambda _: {"MAX_TRAIN_GLOBAL_LEN": SEGMENT_ROWS // 3},
            ["exceeds the rows of a training step", "MAX_TRAIN_GLOBAL_LEN"],
        ),
        (lambda _: {"LOAD_MODEL": True, "LOAD_MODEL_NAME": "none"}, ["The file of weights does not exist", "none.pth"]),
        (_file_as_folder, ["cannot be written", "file"]),
        (lambda _: {"EPOCH": 1}, ["EPOCH: unknown key", "EPOCHS"]),
    ],
    ids=["users", "store", "test store", "version", "device", "dtype", "mode", "limit", "model", "folder", "key"],
)
def test_bad_input_ends_with_2_and_a_message(
    training: Training,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Training], dict[str, object]],
    words: list[str],
) -> None:
    assert training.run(**change(training)) == 2
    assert_said(capsys, "error: ", *words)
    assert not training.out.exists()
