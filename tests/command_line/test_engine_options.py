"""The options --engine and --address where there is no cluster."""

import sys

import pytest

from tests.benchmark.workspace import Workspace, add_users, assert_said


@pytest.fixture
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    add_users(workspace.dataset, [1])
    return workspace


def test_an_address_needs_the_engine(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert workspace.find_keys("--address", "127.0.0.1:6379") == 2
    assert_said(capsys, "An address needs --engine ray", "where: --address", "127.0.0.1:6379")
    assert not (workspace.root / "keys_db").exists()


def test_the_default_engine_may_be_named(workspace: Workspace) -> None:
    assert workspace.find_keys("--engine", "local") == 0
    assert workspace.users_with_keys() == [1]


def test_without_ray_the_extra_is_named(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "rwkv.ray_pool", raising=False)
    assert workspace.find_keys("--engine", "ray") == 2
    assert_said(capsys, "--engine ray requires the package ray", 'pip install "rwkv-srs[ray]"')


def test_other_engines_are_refused(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        workspace.find_keys("--engine", "dask")
    assert caught.value.code == 2
    assert_said(capsys, "--engine", "'dask'")
