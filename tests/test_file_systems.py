"""File systems that machines share: which they are, and what databases and locks do there."""

import os
import platform
from pathlib import Path

import pytest

from rwkv.data.database import Database
from rwkv.errors import BusyError, StoreError
from rwkv.file_systems import SharedFileSystem, shared_file_system
from rwkv.locks import only_writer_in
from tests.benchmark.workspace import SIZE, Workspace, add_users, assert_said
from tests.file_systems import NFS, SSHFS, mount


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "a share"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "options", "has_locks"),
    [
        ("nfs4", "rw,vers=4.2,local_lock=none", True),
        ("nfs", "rw,vers=3,nolock", False),
        ("nfs", "rw,vers=3,local_lock=all", False),
        ("cifs", "rw,vers=3.1.1", True),
        ("cifs", "rw,nobrl", False),
        ("lustre", "rw,flock", True),
        ("lustre", "rw,localflock", False),
        ("fuse.sshfs", "rw", False),
        ("9p", "rw,trans=virtio", False),
    ],
)
def test_shared_file_systems(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options: str, has_locks: bool
) -> None:
    mount(monkeypatch, folder, kind, options)
    assert shared_file_system(folder / "absent" / "file") == SharedFileSystem(kind, has_locks)
    assert shared_file_system(folder.parent) is None


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "overlay", "fuse.mergerfs", "virtiofs"])
def test_local_file_systems(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mount(monkeypatch, folder, kind)
    assert shared_file_system(folder) is None


def test_a_local_disk_mounted_over_a_share_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(monkeypatch, folder, NFS)
    (folder / "scratch").mkdir()
    table = folder.parent / f"{folder.name}.mounts"
    point = str(folder / "scratch").replace(" ", "\\040")
    table.write_text(table.read_text() + f"40 36 8:1 / {point} rw - xfs /dev/sdb rw\n")
    assert shared_file_system(folder / "scratch") is None
    assert shared_file_system(folder / "scratchy") is not None


def test_this_machine_is_read() -> None:
    """Its own table of mounts has at least /proc where it has any."""
    assert shared_file_system(Path("/proc/self/status")) is None


# --- Databases


def test_databases_are_not_written_to_a_share(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace(folder)
    add_users(workspace.dataset, [1])
    mount(monkeypatch, folder, NFS)
    assert workspace.find_keys() == 2
    assert_said(capsys, "LMDB databases cannot be written safely", NFS, "local disk", "RWKV_SHARED_LMDB=1")
    assert not (folder / "keys_db").exists()
    monkeypatch.setenv("RWKV_SHARED_LMDB", "1")
    assert workspace.find_keys() == 0
    assert workspace.users_with_keys() == [1]


def test_a_copied_database_is_read_without_locks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """LMDB's file of locks is neither made nor used, since it holds memory of one machine."""
    with Database(folder, SIZE, "") as database:
        database.put({"key": b"value"})
    (folder / "lock.mdb").unlink()
    mount(monkeypatch, folder, NFS)
    with caplog.at_level("INFO", "rwkv"), Database(folder, SIZE, "", readonly=True) as database:
        assert database.get("key") == b"value"
    assert "no command may write here meanwhile" in caplog.text
    assert not (folder / "lock.mdb").exists()
    with pytest.raises(StoreError, match="cannot be written safely"):
        Database(folder, SIZE, "")


# --- Locks


def leave_lock(folder: Path, machine: str) -> str:
    """The name that a command on a machine wrote into its lock; the lock itself is not held here."""
    holder = f"process 4711 of {machine}, since 2026-01-01 10:00:00, python -m rwkv.train_rwkv"
    (folder / "rwkv.lock").write_text(holder)
    return holder


def test_a_writer_on_another_machine_is_respected_without_common_locks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(monkeypatch, folder, SSHFS)
    holder = leave_lock(folder, "elsewhere")
    for _ in range(2):
        with pytest.raises(BusyError) as caught, only_writer_in(folder, "another"):
            pass
        assert f"A command on another machine is writing here: {holder}" in str(caught.value)
        assert f"remove {folder / 'rwkv.lock'} and rerun" in str(caught.value)
    (folder / "rwkv.lock").unlink()
    with only_writer_in(folder, "another"):
        assert f"process {os.getpid()} of {platform.node()}" in (folder / "rwkv.lock").read_text()


def test_a_killed_writer_on_this_machine_blocks_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(monkeypatch, folder, SSHFS)
    leave_lock(folder, platform.node())
    with only_writer_in(folder, "another"):
        pass
    assert not (folder / "rwkv.lock").exists()


@pytest.mark.parametrize("kind", [NFS, "ext4"])
def test_where_locks_hold_a_killed_writer_elsewhere_blocks_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mount(monkeypatch, folder, kind)
    leave_lock(folder, "elsewhere")
    with only_writer_in(folder, "another"):
        pass
