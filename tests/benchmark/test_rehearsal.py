"""The rehearsal of the whole benchmark, on a few small learners."""

import json
from pathlib import Path

import pytest

from recipes.rehearsal.figures import Figures
from recipes.rehearsal.run import STAGES, main
from rwkv.errors import InputError
from rwkv.runtime import run_command


def rehearse(out: Path, *arguments: str) -> int:
    sizes = ["--reviews-total", "1000", "--median", "100", "--giant", "400", "--processes", "1"]
    return run_command(lambda: main(["--out", str(out), *sizes, *arguments]))


def test_all_stages_run_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearse(tmp_path, "--only", "simulate") == 0
    table = capsys.readouterr().out
    assert "not finished" not in table
    assert table.count("nan") == 5  # the rate, and time and disk of the whole dataset, also in the line of totals
    assert rehearse(tmp_path) == 0
    table = capsys.readouterr().out
    assert "nan" not in table
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert tuple(figures["stages"]) == STAGES
    assert all(stage["is_done"] and stage["disk"] > 0 for stage in figures["stages"].values())
    assert f"{figures['reviews']:,} reviews" in table
    assert rehearse(tmp_path) == 0
    assert json.loads((tmp_path / "figures.json").read_text()) == figures
    assert rehearse(tmp_path, "--epochs", "2") == 2
    assert "with other options" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [("--processes", "0"), ("--giant", "-1"), ("--median", "0"), ("--epochs", "0"), ("--epochs", "nan")],
)
def test_numbers_that_make_no_sense(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        rehearse(tmp_path, option, value)
    assert ended.value.code == 2
    assert f"{option} must be" in capsys.readouterr().err


def test_a_device_is_tried_before_the_first_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearse(tmp_path, "--device", "abacus") == 2
    assert "The device 'abacus' cannot be used.\n  where: --device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_interrupted_stage_keeps_its_figures(tmp_path: Path) -> None:
    figures = Figures(tmp_path / "figures.json", {"giant": 5})

    def run(fails: bool) -> None:
        with figures.measured("keys", tmp_path):
            if fails:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(fails=True)
    before = figures.stages["keys"].seconds
    figures = Figures(tmp_path / "figures.json", {"giant": 5}).load()
    assert not figures.is_done("keys")
    assert "not finished: keys" in figures.table()
    run(fails=False)
    assert figures.is_done("keys")
    assert figures.stages["keys"].runs == 2
    assert figures.stages["keys"].seconds > before
    with pytest.raises(InputError, match="other options"):
        Figures(tmp_path / "figures.json", {"giant": 6}).load()
