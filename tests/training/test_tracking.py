"""The log of a run, also after a kill, and Weights & Biases by a stand-in module."""

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rwkv.errors import InputError, RwkvError
from rwkv.runtime import log
from rwkv.training.tracking import Tracker, WandbSettings

SETTINGS = WandbSettings("a project", "")
KEYS: dict[str, object] = {"SEED": 1}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "run.log.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def write(path: Path, steps: range, first_step: int) -> None:
    with Tracker(path, None, KEYS, first_step) as tracker:
        for step in steps:
            tracker.write(step, {"loss": step / 2})


def test_figures_are_written_at_once(path: Path) -> None:
    with Tracker(path, None, KEYS, 1) as tracker:
        tracker.write(1, {"loss": 0.5, "norm": 1.0})
        tracker.write(2, {"loss": None, "norm": math.nan, "ahead": math.inf})
        assert lines(path) == [
            {"step": 1, "loss": 0.5, "norm": 1.0},
            {"step": 2, "loss": None, "norm": None, "ahead": None},
        ]


def test_a_continued_run_drops_the_lines_of_repeated_steps(path: Path) -> None:
    write(path, range(1, 8), 1)
    write(path, range(4, 10), 4)
    assert [line["step"] for line in lines(path)] == list(range(1, 10))


def test_a_new_run_starts_a_new_log(path: Path) -> None:
    write(path, range(5, 8), 5)
    write(path, range(1, 3), 1)
    assert [line["step"] for line in lines(path)] == [1, 2]


@pytest.mark.parametrize(
    "rest",
    [b'{"step": 2, "lo', b'{"step": 2}', b"\xff\xfe\n", b"[]\n", b'{"loss": 1}\n', b"\n", b"[" * 100_000 + b"\n"],
)
def test_a_line_cut_by_a_kill_is_dropped(path: Path, rest: bytes) -> None:
    write(path, range(1, 3), 1)
    with path.open("ab") as file:
        file.write(rest)
    write(path, range(3, 5), 3)
    assert [line["step"] for line in lines(path)] == [1, 2, 3, 4]


def test_an_unwritable_log_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(InputError, match="cannot be read or written"):
        write(tmp_path / "folder" / "log", range(1), 0)


class _Error(Exception):
    pass


class FakeWandb:
    """The functions of the module wandb that are called; others, such as a prompt, are missing."""

    Error = _Error

    def __init__(self, error: str = "") -> None:
        self.error = error
        self.settings: dict[str, object] = {}
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.exit_codes: list[int] = []

    def init(self, **settings: object) -> SimpleNamespace:
        if self.error:
            raise _Error(self.error)
        self.settings = settings
        return SimpleNamespace(
            log=lambda figures, step: self.logged.append((step, figures)),
            finish=lambda exit_code: self.exit_codes.append(exit_code),
        )


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeWandb:
    """The stand-in, on a machine without a login."""
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(variable, raising=False)
    return fake


@pytest.fixture
def notices(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", log.name)
    return caplog


def test_without_the_package_there_is_a_notice(
    path: Path, notices: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with Tracker(path, SETTINGS, KEYS, 1) as tracker:
        tracker.write(1, {"loss": 0.5})
    assert [record.message for record in notices.records] == [
        "the package wandb is not installed: the run is logged in its folder only"
    ]
    assert lines(path) == [{"step": 1, "loss": 0.5}]


def test_without_a_login_the_run_is_offline_with_one_notice(
    path: Path, wandb: FakeWandb, notices: pytest.LogCaptureFixture
) -> None:
    with Tracker(path, WandbSettings("a project", "abc"), KEYS, 1) as tracker:
        tracker.write(1, {"loss": 0.5})
        tracker.write(2, {"loss": None})
    assert wandb.settings == {"project": "a project", "id": "abc", "resume": None, "mode": "offline", "config": KEYS}
    assert wandb.logged == [(1, {"loss": 0.5}), (2, {"loss": None})]
    assert wandb.exit_codes == [0]
    assert len(notices.records) == 1
    assert "offline" in notices.text


@pytest.mark.parametrize("where", ["variable", "netrc", "other netrc", "own server"])
def test_with_a_login_wandb_chooses_the_mode(
    path: Path, wandb: FakeWandb, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = "wandb.example.org" if where == "own server" else "api.wandb.ai"
    if where == "variable":
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    else:
        name = "elsewhere" if where == "other netrc" else ".netrc"
        (tmp_path / name).write_text(f"machine {host}\n  login user\n  password {'0' * 40}\n")
        (tmp_path / name).chmod(0o600)
    if where == "other netrc":
        monkeypatch.setenv("NETRC", str(tmp_path / "elsewhere"))
    if where == "own server":
        monkeypatch.setenv("WANDB_BASE_URL", f"https://{host}:8080")
    with Tracker(path, WandbSettings("a project", "abc"), KEYS, 1):
        pass
    assert (wandb.settings["mode"], wandb.settings["resume"]) == (None, "must")
    with Tracker(path, SETTINGS, KEYS, 1):
        pass
    assert (wandb.settings["id"], wandb.settings["resume"]) == (None, None)


@pytest.mark.parametrize("content", ["machine other.example.org login a password b", "machine", ""])
def test_logins_of_other_hosts_do_not_count(path: Path, wandb: FakeWandb, tmp_path: Path, content: str) -> None:
    (tmp_path / ".netrc").write_text(content)
    (tmp_path / ".netrc").chmod(0o600)
    with Tracker(path, SETTINGS, KEYS, 1):
        pass
    assert wandb.settings["mode"] == "offline"


def test_a_run_that_fails_is_finished_as_failed(path: Path, wandb: FakeWandb) -> None:
    with pytest.raises(KeyboardInterrupt), Tracker(path, SETTINGS, KEYS, 1):
        raise KeyboardInterrupt
    assert wandb.exit_codes == [1]


def test_an_error_of_wandb_is_reported(path: Path, wandb: FakeWandb) -> None:
    wandb.error = "run abc does not exist"
    with pytest.raises(RwkvError, match=r"got: run abc does not exist\n.*USE_WANDB = false"):
        Tracker(path, SETTINGS, KEYS, 1)
