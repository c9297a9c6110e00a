"""What the hub refuses: `rwkv download` says what to do."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.benchmark.downloads import USERS, download, of_users, written
from tests.benchmark.hub import Hub
from tests.benchmark.workspace import assert_said


@pytest.mark.parametrize(
    ("error", "exit_code", "words"),
    [
        ((401, "GatedRepo"), 2, ("only after a login", "hf auth login", "HF_TOKEN", "accept its terms at https://")),
        ((401, "RepoNotFound"), 2, ("only after a login", "hf auth login")),
        ((404, "RepoNotFound"), 2, ("only after a login", "hf auth login")),
        ((429, ""), 1, ("refuses further requests", "wait some minutes")),
        ((500, ""), 1, ("failed to answer", "status 500", "rerun later")),
    ],
)
def test_refusals_without_a_token(
    hub: Hub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    error: tuple[int, str],
    exit_code: int,
    words: tuple[str, ...],
) -> None:
    hub.error = error
    assert download(tmp_path / "data") == exit_code
    assert_said(capsys, "error: The hub", *words)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ((403, "GatedRepo"), ("Your account has no access", "accept its terms at https://")),
        ((404, "RepoNotFound"), ("not on the hub, or hidden from you", "in a browser")),
        ((403, ""), ("refuses your token", "correct HF_TOKEN")),
        ((401, "Invalid credentials in Authorization header"), ("refuses your token", "status 401", "hf auth login")),
    ],
)
def test_refusals_with_a_token(
    hub: Hub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: tuple[int, str],
    words: tuple[str, ...],
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    hub.error = error
    assert download(tmp_path / "data") == 2
    assert_said(capsys, "error: ", *words)


@pytest.mark.parametrize("is_login", [True, False])
def test_the_token_of_the_environment_or_of_the_login(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_login: bool
) -> None:
    hub.token = "hf_secret"
    if is_login:
        Path(constants.HF_TOKEN_PATH).parent.mkdir()
        Path(constants.HF_TOKEN_PATH).write_text("hf_secret")
    else:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert download(tmp_path / "data") == 0
    assert written(tmp_path / "data") == of_users(hub.files, *USERS)


def test_no_network(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    assert download(tmp_path / "data") == 1
    assert_said(capsys, "error: The hub cannot be reached.", "http://127.0.0.1:1", "check the network")
    assert not (tmp_path / "data").exists()


def test_the_clients_offline_mode(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert download(tmp_path / "data") == 2
    assert_said(capsys, "error: HF_HUB_OFFLINE forbids downloads.", "unset it")


def test_a_repository_without_a_dataset(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.files = {"README.md": b""}
    assert download(tmp_path / "data") == 2
    assert_said(capsys, "error: The repository on the hub has no dataset.", "revlogs/user_id=N/*.parquet")
