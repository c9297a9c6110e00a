"""The files of a run: where a stopped run continues, and when it must not."""

import json
from pathlib import Path

import pytest
import torch

from rwkv.errors import CheckpointError, ConfigError, InputError
from rwkv.model.network import Network, new_network
from rwkv.training.optimizer import Optimizer, learning_rate, set_learning_rate, set_peak_rate
from rwkv.training.run import Progress, RunFiles, read_model
from rwkv.training.step import train_step
from tests.training.learners import dropout_masks, optimizer_of, some_batch

KEYS = {
    "EPOCHS": 2.0,
    "SEED": 1,
    "SAVE_MODEL_PREFIX": "p",
    "NUM_FETCH_PROCESSES": 1,
    "THREADS": 0,
    "RESUME": True,
    "USE_WANDB": False,
    "WANDB_PROJECT_NAME": "rwkv",
    "LABEL_FILTER_LMDB_PATH": "keys",
    "TRAIN_DATASET_LMDB_SIZE": 10,
}
TOTAL = 20


def files_of(folder: Path, changed: dict[str, object] | None = None, data: str = "a store") -> RunFiles:
    """The files of a run whose first step has number 5."""
    return RunFiles(folder, "p", 5, KEYS | (changed or {}), data)


def trained_network() -> tuple[Network, Optimizer]:
    network = new_network(1)
    optimizer = optimizer_of(network)
    for n in range(2):
        train_step(network, optimizer, some_batch(users=1, reviews=12), torch.float32, "all", dropout_masks(n))
    return network, optimizer


def assert_same(ours: tuple[Network, Optimizer], theirs: tuple[Network, Optimizer]) -> None:
    for one, other in zip(ours[0].parameters(), theirs[0].parameters(), strict=True):
        assert torch.equal(one, other)
    states = [optimizer.state_dict()["state"] for _, optimizer in (ours, theirs)]
    assert states[0].keys() == states[1].keys()
    for index, moments in states[0].items():
        assert all(torch.equal(value, states[1][index][name]) for name, value in moments.items())


def fresh_network() -> tuple[Network, Optimizer]:
    network = new_network(2)
    return network, optimizer_of(network)


def test_without_a_note_the_run_has_not_begun(tmp_path: Path) -> None:
    assert files_of(tmp_path / "new").progress() is None


def test_a_saved_checkpoint_is_loaded(tmp_path: Path) -> None:
    trained, fresh = trained_network(), fresh_network()
    files_of(tmp_path / "new").save(2, *trained)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["p_6.pth", "p_optim_6.pth"]
    files_of(tmp_path / "new").read(2).restore(*fresh)
    assert_same(fresh, trained)


@pytest.mark.parametrize("is_of_a_gpu", [False, True])
def test_the_published_trainer_warms_up_from_our_checkpoint_to_the_peak(tmp_path: Path, is_of_a_gpu: bool) -> None:
    """It makes its optimiser and schedulers in this way, whatever rate was saved."""
    network, optimizer = trained_network()
    set_peak_rate(optimizer, 7e-4)
    for group in optimizer.param_groups if is_of_a_gpu else ():
        group.update(lr=torch.zeros(()), fused=True, capturable=True)
    set_learning_rate(optimizer, 1.75e-6)
    files_of(tmp_path).save(2, network, optimizer)
    state = torch.load(tmp_path / "p_optim_6.pth", weights_only=True)

    groups = [{"params": group["params"], "lr": 1.0} for group in optimizer.param_groups]
    theirs = torch.optim.AdamW(groups)
    theirs.load_state_dict(state)
    warm_up = torch.optim.lr_scheduler.LinearLR(theirs, start_factor=1e-4, end_factor=1.0, total_iters=10)
    constant = torch.optim.lr_scheduler.ConstantLR(theirs, factor=1.0)
    scheduler = torch.optim.lr_scheduler.SequentialLR(theirs, [warm_up, constant], milestones=[10])
    rates = []
    for _ in range(14):
        rates.append(theirs.param_groups[0]["lr"])
        theirs.step()
        scheduler.step()
    assert rates == pytest.approx([learning_rate("WS", n, 7e-4, 10, 14) for n in range(1, 15)])
    assert [
        (saved_group["fused"], saved_group["capturable"], type(saved_group["lr"]))
        for saved_group in state["param_groups"]
    ] == [(None, False, float)] * 5


@pytest.mark.parametrize("kind", ["weights", "optimizer"])
def test_a_run_does_not_continue_from_a_damaged_checkpoint(tmp_path: Path, kind: str) -> None:
    """One bit of the largest tensor is flipped, which torch does not detect."""
    files = files_of(tmp_path)
    files.save(3, *trained_network())
    path: Path = getattr(files, kind)(3)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    torch.load(path, weights_only=True)
    with pytest.raises(CheckpointError, match=path.name):
        files.read(3).restore(*fresh_network())


@pytest.mark.parametrize(
    ("optimizer_name", "name"), [("p_optim_6.pth", "p_6"), ("p_6_optim.pth", "p_6"), ("RWKV_optim.pth", "RWKV")]
)
def test_a_model_is_loaded_by_either_name_of_its_optimiser(tmp_path: Path, optimizer_name: str, name: str) -> None:
    trained, fresh = trained_network(), fresh_network()
    files = files_of(tmp_path)
    files.save(2, *trained)
    files.weights(2).rename(tmp_path / f"{name}.pth")
    files.optimizer(2).rename(tmp_path / optimizer_name)
    read_model(tmp_path, name).restore(*fresh)
    assert_same(fresh, trained)


@pytest.mark.parametrize(
    ("name", "paths"),
    [("p_6", ["p_6_optim.pth", "p_optim_6.pth"]), ("RWKV", ["RWKV_optim.pth"]), ("_6", ["_6_optim.pth"])],
)
def test_a_missing_optimiser_state_names_the_searched_paths(tmp_path: Path, name: str, paths: list[str]) -> None:
    files_of(tmp_path).save(2, *fresh_network())
    files_of(tmp_path).weights(2).rename(tmp_path / f"{name}.pth")
    files_of(tmp_path).optimizer(2).unlink()
    with pytest.raises(CheckpointError) as caught:
        read_model(tmp_path, name).restore(*fresh_network())
    assert f"where: {' or '.join(str(tmp_path / path) for path in paths)}\n" in str(caught.value)


def test_a_recorded_note_is_read(tmp_path: Path) -> None:
    for progress in (Progress(3, TOTAL, 1), Progress(TOTAL, TOTAL, 2)):
        files_of(tmp_path).record(progress)
        assert files_of(tmp_path).progress() == progress
    assert progress.finished
    assert not Progress(3, TOTAL, 0).finished


def test_begin_removes_the_earlier_note(tmp_path: Path) -> None:
    files_of(tmp_path).begin()
    files_of(tmp_path).record(Progress(3, TOTAL, 0))
    files_of(tmp_path).begin()
    assert files_of(tmp_path).progress() is None


@pytest.mark.parametrize(
    ("progress", "faults"),
    [
        (Progress(5, 5, 2), ""),
        (Progress(4, 4, 2), ""),
        (Progress(5, 5, 3), "3 of 5 steps were skipped"),
        (Progress(5, 5, 0, is_valid=False), "its last validation is not finite"),
        (Progress(0, 5, 0), ""),
    ],
)
def test_most_steps_skipped_or_a_validation_without_numbers_are_faults(progress: Progress, faults: str) -> None:
    assert progress.faults() == faults


@pytest.mark.parametrize(
    "changed",
    [
        {"NUM_FETCH_PROCESSES": 9, "THREADS": 2, "RESUME": False},
        {"USE_WANDB": True, "WANDB_PROJECT_NAME": "other", "SAVE_MODEL_PREFIX": "moved"},
        {"LABEL_FILTER_LMDB_PATH": "other", "TRAIN_DATASET_LMDB_SIZE": 11},
    ],
)
def test_keys_that_do_not_change_the_result_may_differ(tmp_path: Path, changed: dict[str, object]) -> None:
    files_of(tmp_path).record(Progress(3, TOTAL, 0))
    assert files_of(tmp_path, changed).progress() == Progress(3, TOTAL, 0)


def test_another_configuration_is_an_error_that_names_the_keys(tmp_path: Path) -> None:
    files_of(tmp_path).record(Progress(3, TOTAL, 0))
    with pytest.raises(ConfigError) as caught:
        files_of(tmp_path, {"EPOCHS": 3.0, "SEED": 7, "DTYPE": "float32"}).progress()
    lines = str(caught.value).splitlines()
    assert lines[1:4] == [
        f"  where: {tmp_path / 'p.run'}",
        '  got: EPOCHS = 3.0, SEED = 7, DTYPE = "float32"',
        "  expected: EPOCHS = 2.0, SEED = 1, no DTYPE",
    ]
    assert "RESUME = false" in lines[4]


def test_a_finished_run_is_not_overwritten_by_another_configuration(tmp_path: Path) -> None:
    files_of(tmp_path).record(Progress(TOTAL, TOTAL, 0))
    with pytest.raises(ConfigError, match=r"SEED = 2(.|\n)*SAVE_MODEL_PREFIX"):
        files_of(tmp_path, {"SEED": 2}).progress()


def test_an_older_note_without_a_key_means_its_old_value(tmp_path: Path) -> None:
    files_of(tmp_path).record(Progress(3, TOTAL, 0))
    assert files_of(tmp_path, {"DROPOUT": 1.0}).progress() == Progress(3, TOTAL, 0)
    assert files_of(tmp_path, {"OPTIMIZER": "adamw"}).progress() == Progress(3, TOTAL, 0)
    with pytest.raises(ConfigError, match=r"DROPOUT = 0\.5(.|\n)*DROPOUT = 1\.0"):
        files_of(tmp_path, {"DROPOUT": 0.5}).progress()


def test_another_store_is_an_error(tmp_path: Path) -> None:
    files_of(tmp_path).record(Progress(3, TOTAL, 0))
    with pytest.raises(InputError, match=r"training store has changed(.|\n)*another store(.|\n)*a store"):
        files_of(tmp_path, data="another store").progress()


def test_an_older_note_without_a_fingerprint_of_histories_is_accepted(tmp_path: Path) -> None:
    files_of(tmp_path, data="a store").record(Progress(3, TOTAL, 0))
    assert files_of(tmp_path, data="a store, histories 12ab").progress() == Progress(3, TOTAL, 0)
    files_of(tmp_path, data="a store, histories 12ab").record(Progress(3, TOTAL, 0))
    for other in ("a store, histories 34cd", "a store"):
        with pytest.raises(InputError, match="training store has changed"):
            files_of(tmp_path, data=other).progress()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "\udcff",
        json.dumps({"progress": {}, "config": {}}),
        json.dumps({"progress": [], "config": 3}),
        "[" * 100_000,
        json.dumps({"progress": {"done": "3", "total": 4, "skipped": 0}, "config": {}, "data": ""}),
        json.dumps({"progress": {"done": 5, "total": 4, "skipped": 0}, "config": {}, "data": ""}),
        json.dumps({"progress": {"done": 1e999, "total": 4, "skipped": 0}, "config": {}, "data": ""}),
        json.dumps({"progress": {"done": 3, "total": 4, "skipped": 0}, "config": {"SEED": [[1]]}, "data": ""}),
    ],
)
def test_a_damaged_note_is_an_error(tmp_path: Path, content: str) -> None:
    files_of(tmp_path).note.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"note of the run is damaged(.|\n)*p\.run"):
        files_of(tmp_path).progress()
