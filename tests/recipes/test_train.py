"""The training of the package's weights, on a few small learners and a CPU: resumed, moved, exported."""

import json
import subprocess
from pathlib import Path

import pytest

from recipes.weights import export, train
from rwkv.evaluation.scores import read_scores
from rwkv.model.card import read_card
from rwkv.model.checkpoint import read_weights
from rwkv.runtime import run_command

SIZES = ["--users", "5", "--reviews", "250", "--spread", "0.3", "--rows", "600", "--segment-rows", "500"]
STEPS = ["--stable-steps", "3", "--decay-steps", "2", "--warmup-steps", "1"]
PLACE = ["--processes", "1", "--device", "cpu", "--dtype", "float"]


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "HELD_OUT", 3)
    monkeypatch.setattr(train, "VALIDATED", 2)
    monkeypatch.setattr(train, "_MAP_SIZE", 100_000_000)


def run(monkeypatch: pytest.MonkeyPatch, place: Path, *arguments: str) -> int:
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", ["train", "--out", "work", *SIZES, *STEPS, *PLACE, *arguments])
    return run_command(train.main)


def times(folder: Path) -> dict[str, int]:
    """When each checkpoint, log, result and history was written."""
    files = [path for ending in ("pth", "jsonl", "parquet") for path in folder.rglob(f"*.{ending}")]
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def test_every_stage_runs_once_and_a_run_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two stages, in parts under 16 MiB, and without its learners."""
    begun, moved, parts = (tmp_path / name for name in ("begun", "moved", "parts"))
    for folder in (begun, moved, parts):
        folder.mkdir()
    for stage in ("data", "stable"):
        assert run(monkeypatch, begun, "--only", stage) == 0
    subprocess.run(f"tar -cf - work/runs | split -b 15M - {parts}/runs.tar.", shell=True, cwd=begun, check=True)
    sizes = [part.stat().st_size for part in parts.iterdir()]
    assert len(sizes) > 1
    assert max(sizes) < 16 * 2**20
    subprocess.run(f"cat {parts}/runs.tar.* | tar -xf -", shell=True, cwd=moved, check=True)
    work = moved / "work"
    before = times(work)
    assert run(monkeypatch, moved) == 0
    done = times(work)
    assert before.items() <= done.items()
    names = {path.name for path in (work / "runs" / "weights").glob("*.pth")}
    assert {"stable_3.pth", "stable_optim_3.pth", "decay_2.pth", "decay_optim_2.pth"} <= names
    assert read_scores(work / "result" / "RWKV-weights.jsonl").keys() <= {1, 2, 3}
    assert run(monkeypatch, moved) == 0
    assert times(work) == done

    shipped = tmp_path / "package" / "rwkv.safetensors"
    monkeypatch.setattr(export, "SHIPPED", shipped)
    checkpoints = [work / "runs" / "weights" / name for name in ("stable_3.pth", "decay_2.pth")]
    monkeypatch.setattr("sys.argv", ["export", *map(str, checkpoints)])
    assert export.main() == 0
    assert shipped.stat().st_size < 6_000_000
    assert read_card(shipped) == json.loads(Path(export.__file__).with_name("card.json").read_text())
    one, other = (read_weights(path)["p_linear.bias"] for path in checkpoints)
    mean = read_weights(shipped)["p_linear.bias"].float()
    assert mean.tolist() == pytest.approx(((one + other) / 2).tolist(), rel=2**-8)
