"""The simulator without a part: only that part changes, and the data of an ablation are continued after a kill."""

from pathlib import Path

import numpy as np
import pytest

from recipes.weights import ablations, train
from recipes.weights.ablations import PARTS
from rwkv.data.revlogs import list_users
from rwkv.data.simulate import Learners, draw_learners, histories
from rwkv.runtime import run_command


@pytest.fixture(scope="module")
def learners() -> Learners:
    return draw_learners(np.arange(1, 41), mean_reviews=150, spread=0.5, seed=3)


@pytest.fixture(scope="module")
def whole(learners: Learners) -> list[np.ndarray]:
    return [user.truth for user in histories(learners)]


@pytest.mark.parametrize("part", PARTS)
def test_without_a_part_learners_differ(part: str, learners: Learners, whole: list[np.ndarray]) -> None:
    """In their probabilities. Plans of cards and days remain, and learners without the part."""
    changed = PARTS[part](learners)
    assert changed.number is learners.number
    assert changed.row_first is learners.row_first
    truth = [user.truth for user in histories(changed)]
    same = [np.array_equal(one, other) for one, other in zip(truth, whole, strict=True)]
    assert all(same) if part == "nothing" else np.mean(same) < (0.95 if part == "carelessness" else 0.5)


def test_the_data_of_parts_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablations, "HELD_OUT", 2)
    monkeypatch.setattr(train, "HELD_OUT", 2)
    monkeypatch.setattr(train, "_MAP_SIZE", 100_000_000)
    arguments = ["--parts", "waves", "decks", "--users", "3", "--reviews", "100", "--processes", "1"]
    monkeypatch.setattr("sys.argv", ["ablations", "data", "--out", str(tmp_path), *arguments])
    assert run_command(ablations.main) == 0
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    assert [list_users(tmp_path / part / "dataset") for part in ("waves", "decks")] == [[1, 2, 3, 4, 5]] * 2
    revlog = next(path for path in files if "revlogs" in str(path))
    revlog.unlink()
    assert run_command(ablations.main) == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == files
    assert all((tmp_path / part / "train_db").is_dir() for part in ("waves", "decks"))
