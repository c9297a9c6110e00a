"""The person's commands where only the base of the package is installed: importing an optional package raises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rwkv.extras import EXTRAS
from tests.benchmark.workspace import REPOSITORY
from tests.data.imports.anki.small import CREATED_S, write_collection_file
from tests.missing_packages import without

DAY_MS = 86_400_000
START_MS = CREATED_S * 1000 + 3_600_000
AT = "2021-01-01T12:00"

# Optional packages are missing; then each list of arguments is a command.
PROGRAM = f"""{without(EXTRAS)}
import json
from rwkv.cli import main
codes = [main(arguments) for arguments in json.loads(sys.argv[1])]
sys.exit(max(codes))
"""


def run(folder: Path, *commands: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reviews = [
        (START_MS + day * DAY_MS + card * 60_000, card + 1, 1 + (card + day) % 4, int(day > 0))
        for day in range(8)
        for card in range(20)
    ]
    return write_collection_file(tmp_path_factory.mktemp("base") / "Ada" / "collection.anki2", reviews)


def test_a_collection_is_predicted_scheduled_and_reported(file: Path, tmp_path: Path) -> None:
    done = run(
        tmp_path,
        ["predict", str(file), "--at", AT],
        ["schedule", str(file), "--at", AT, "--days", "3"],
        ["report", str(file), "--at", AT],
        ["info"],
    )
    assert done.returncode == 0, done.stderr
    assert "160  reviews imported" in done.stderr
    assert 'pip install "rwkv-srs[compare]"' in done.stderr  # the report's FSRS-6 has default parameters
    assert "Ada, 20 cards" in done.stdout
    assert (tmp_path / "report.html").stat().st_size > 1_000_000


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["compare", "FILE"], "compare"),
        (["import", "FILE", "--out", "mine"], "train"),
        (["finetune", "FILE", "--out", "mine.safetensors"], "train"),
        (["predict", "FILE", "--at", AT, "--out", "cards.parquet"], "train"),
        (["simulate", "--users", "1", "--reviews", "100", "--out", "people"], "train"),
        (["demo"], "train"),
        (["download"], "train"),
        (["check", "."], "train"),
    ],
)
def test_other_commands_say_what_to_install(file: Path, tmp_path: Path, arguments: list[str], extra: str) -> None:
    done = run(tmp_path, [str(file) if argument == "FILE" else argument for argument in arguments])
    assert f'pip install "rwkv-srs[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
    assert "reading" not in done.stderr or "import" not in arguments  # before the work


def test_a_folder_that_does_not_exist_comes_before_a_missing_package(tmp_path: Path) -> None:
    done = run(tmp_path, ["check", "nowhere"])
    assert "The path does not exist" in done.stderr
    assert done.returncode == 2


def test_a_simulation_without_its_packages_writes_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, ["simulate", "--users", "1", "--reviews", "100", "--out", "people"]).returncode == 2
    assert not list(tmp_path.glob("people/*"))


def test_programs_are_told_what_to_install(file: Path, tmp_path: Path) -> None:
    done = run(tmp_path, ["import", str(file), "--out", "mine", "--json"])
    answer = json.loads(done.stdout)
    assert "rwkv-srs[train]" in answer["error"]["next"]
    assert answer["exit_code"] == done.returncode == 2


def test_a_public_name_without_its_package_says_what_to_install() -> None:
    program = without(EXTRAS) + "import rwkv\nassert 'Engine' in dir(rwkv)\nrwkv.read_weights"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "InputError" in done.stderr
    assert "rwkv-srs[train]" in done.stderr
