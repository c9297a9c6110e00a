"""`rwkv compare` and the engine in a process in which PyTorch and other optional packages cannot be imported.

For the other commands, see tests/test_base_installation.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rwkv.model.card import SHIPPED
from rwkv.model.weights_file import load_weights
from tests.benchmark.workspace import REPOSITORY
from tests.collection.people import make_person
from tests.collection.test_cached_import import DAY_MS, START_MS
from tests.data.imports.anki.small import write_collection_file
from tests.missing_packages import without
from tests.ops.groups import needs_native

# Of these packages only `compare` needs the last two.
OPTIONAL = ("torch", "triton", "pyarrow", "lmdb", "safetensors", "fsrs", "scipy", "fsrs_rs_python")

_COMMAND = "from rwkv.cli import main\nsys.exit(main(sys.argv[1:]))"
_ENGINE = """
import rwkv
engine = rwkv.Engine.load(sys.argv[1])
review = dict(card=1, note=1, deck=1, preset=1, note_missing=False, deck_missing=False, preset_missing=False)
engine.answer(rwkv.Review(1, **review, day_offset=0, elapsed_days=-1, elapsed_s=-1, rating=3, state=0, duration_ms=900))
later = rwkv.Review(2, **review, day_offset=2, elapsed_days=2, elapsed_s=172_800, rating=3, state=2, duration_ms=900)
answer = engine.answer(later)
buttons = engine.buttons(rwkv.Question(1, 5, 3, 259_200))
print(answer.p_ahead, answer.p_imm, *(button.curve(86_400.0) for button in buttons))
"""

pytestmark = needs_native


def finished(
    program: str, arguments: list[str], folder: Path, packages: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-c", without(packages) + program, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def run(program: str, arguments: list[str], folder: Path, packages: tuple[str, ...] = OPTIONAL) -> str:
    process = finished(program, arguments, folder, packages)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_a_blocked_package_is_missing(tmp_path: Path) -> None:
    """Otherwise the tests below would prove nothing."""
    for package in OPTIONAL:
        with pytest.raises(AssertionError, match=f"No module named '{package}'"):
            run(f"import {package}", [], tmp_path)


def test_compare(tmp_path: Path) -> None:
    """The benchmark counts no card whose first interval is rare."""
    cards = range(130)
    reviews = [
        (START_MS + day * DAY_MS + card * 1000, card + 1, 1 + (2 if day == 0 else (card + day) % 3), int(day > 0))
        for day in (0, 2, 5)
        for card in cards
    ]
    file = write_collection_file(tmp_path / "Ada.anki2", reviews)
    printed = run(_COMMAND, ["compare", str(file), "--json", "--quiet"], tmp_path, OPTIONAL[:-2])
    (user,) = json.loads(printed)["users"].values()
    assert user["size"] > 100
    assert {"RWKV", "RWKV-P", "FSRS-6"} <= user["metrics"].keys()


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_the_engine(tmp_path: Path, name: str) -> None:
    from rwkv.model.checkpoint import read_weights, write_weights

    write_weights(tmp_path / name, read_weights(SHIPPED))
    printed = [float(number) for number in run(_ENGINE, [str(tmp_path / name)], tmp_path).split()]
    assert len(printed) == 6
    assert all(0 < p < 1 for p in printed)


def test_without_kernels_the_missing_package_is_named(tmp_path: Path) -> None:
    """`info` runs no network."""
    file = write_collection_file(tmp_path / "Ada.anki2", [(START_MS, 1, 3, 0)])
    program = "sys.modules['rwkv._native'] = None\n" + _COMMAND
    process = finished(program, ["predict", str(file)], tmp_path, OPTIONAL)
    assert process.returncode == 2
    assert "without the native kernels requires the package torch" in process.stderr
    assert "rwkv-srs[train]" in process.stderr
    run(program, ["info"], tmp_path)


def test_parquet_is_refused_before_the_work(tmp_path: Path) -> None:
    file = write_collection_file(tmp_path / "Ada.anki2", [(START_MS, 1, 3, 0)])
    process = finished(_COMMAND, ["predict", str(file), "--out", "cards.parquet"], tmp_path, OPTIONAL)
    assert process.returncode == 2
    assert "requires the package pyarrow" in process.stderr
    assert not (tmp_path / "cache").exists(), "the collection was read"


def test_python_names_the_package_that_a_dataset_needs(tmp_path: Path) -> None:
    make_person(tmp_path / "mine")
    program = "from pathlib import Path\nimport rwkv\nrwkv.read_history(Path('mine'), 1)"
    process = finished(program, [], tmp_path, OPTIONAL)
    assert "A parquet file requires the package pyarrow" in process.stderr
    assert 'pip install "rwkv-srs[train]"' in process.stderr


def test_weights_are_the_same_as_with_torch(tmp_path: Path) -> None:
    program = "from rwkv.model.weights_file import load_weights\nfrom pathlib import Path\n"
    printed = run(program + "print(load_weights(Path(sys.argv[1])).fingerprint)", [str(SHIPPED)], tmp_path)
    assert printed.strip() == load_weights(SHIPPED).fingerprint
