"""Simulated datasets: complete, reproducible, continued after a kill, never mixed with another."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from rwkv.benchmark.simulate import simulate
from rwkv.data.revlogs import list_users, read_history, read_truth
from rwkv.errors import InputError

USERS, REVIEWS, SEED = 6, 80, 3


def files(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    assert simulate(USERS, REVIEWS, SEED, root) == 0
    return root


def test_the_written_dataset_is_readable(dataset: Path) -> None:
    assert list_users(dataset) == list(range(1, USERS + 1))
    for user in range(1, USERS + 1):
        history, truth = read_history(dataset, user), read_truth(dataset, user)
        assert len(truth) >= history.review_th[-1]
        assert np.all((truth > 0) & (truth < 1))


def test_users_may_begin_anywhere(dataset: Path, tmp_path: Path) -> None:
    """A user does not depend on the others."""
    simulate(2, REVIEWS, SEED, tmp_path / "part", first_user=4)
    assert list_users(tmp_path / "part") == [4, 5]
    for user in (4, 5):
        name = f"revlogs/user_id={user}/data.parquet"
        assert files(tmp_path / "part")[name] == files(dataset)[name]


def test_a_second_run_with_the_same_arguments_writes_nothing(dataset: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in dataset.rglob("*.parquet")}
    assert simulate(USERS, REVIEWS, SEED, dataset) == 0
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*.parquet")} == times


def test_a_killed_run_continues(dataset: Path) -> None:
    """Killed while it wrote user 4, whose revlog comes last."""
    whole = files(dataset)
    for user in (5, 6):
        for kind in ("revlogs", "cards", "decks"):
            shutil.rmtree(dataset / kind / f"user_id={user}")
        (dataset / "truth" / f"user_id={user}.parquet").unlink()
    revlog = dataset / "revlogs" / "user_id=4" / "data.parquet"
    revlog.rename(revlog.with_name(revlog.name + ".tmp"))
    first = dataset / "revlogs" / "user_id=1" / "data.parquet"
    written = first.stat().st_mtime_ns
    assert simulate(USERS, REVIEWS, SEED, dataset) == 0
    assert files(dataset) == whole
    assert first.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "other", [{"users": 7}, {"reviews": 81}, {"seed": 4}, {"first_user": 2}], ids=lambda other: next(iter(other))
)
def test_other_arguments_are_refused(dataset: Path, other: dict[str, int]) -> None:
    before = files(dataset)
    arguments = {"users": USERS, "reviews": REVIEWS, "seed": SEED, "first_user": 1} | other
    with pytest.raises(InputError, match="another dataset") as caught:
        simulate(**arguments, out=dataset)
    name, value = next(iter(other.items()))
    assert f'"{name}": {value}' in str(caught.value)
    assert files(dataset) == before


def test_a_dataset_from_elsewhere_is_refused(dataset: Path) -> None:
    (dataset / "simulated.json").unlink()
    before = files(dataset)
    with pytest.raises(InputError, match="another dataset") as caught:
        simulate(USERS, REVIEWS, SEED, dataset)
    assert str(dataset) in str(caught.value)
    assert files(dataset) == before


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="cannot be written"):
        simulate(USERS, REVIEWS, SEED, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("name", ["users", "reviews", "first_user"])
def test_impossible_numbers_are_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    arguments = {"users": 1, "reviews": 1, "seed": 0, "first_user": 1} | {name: 0}
    with pytest.raises(InputError, match="out of range") as caught:
        simulate(**arguments, out=tmp_path / "out")
    assert f"where: `{name}`\n" in str(caught.value)
    assert not (tmp_path / "out").exists()
