"""Databases on a full disk: a clear error, and a working database when there is space again."""

import errno
import os
import resource
from pathlib import Path
from unittest import mock

import lmdb
import pytest

from rwkv.data.database import Database
from rwkv.errors import StoreError

SIZE = 1 << 20
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def assert_works(path: Path) -> None:
    with Database(path, SIZE, "SIZE") as database:
        database.put({"key": b"value"})
        assert database.get("key") == b"value"


def test_a_database_whose_creation_failed_can_be_created_later(tmp_path: Path) -> None:
    def begin(path: str, **settings: object) -> None:
        """As LMDB does where there is room for the first page only."""
        (Path(path) / "data.mdb").write_bytes(bytes(4096))
        raise lmdb.DiskError("No space left on device")

    with mock.patch("lmdb.open", begin), pytest.raises(StoreError, match=r"No space left(.|\n)*free space"):
        Database(tmp_path / "db", SIZE, "SIZE")
    assert list((tmp_path / "db").iterdir()) == []
    assert_works(tmp_path / "db")


def test_an_existing_database_survives_a_full_disk(tmp_path: Path) -> None:
    assert_works(tmp_path)
    with mock.patch("lmdb.open", side_effect=lmdb.DiskError("full")), pytest.raises(StoreError, match="delete"):
        Database(tmp_path, SIZE, "SIZE")
    assert_works(tmp_path)


@pytest.mark.parametrize("readonly", [False, True])
def test_a_full_disk_without_room_for_the_table_of_readers_is_reported(tmp_path: Path, readonly: bool) -> None:
    """LMDB maps it whether there is room or not, and touching it would end the process."""
    if readonly:
        assert_works(tmp_path)
    with mock.patch("os.posix_fallocate", side_effect=FULL), pytest.raises(StoreError, match="No space left"):
        Database(tmp_path, SIZE, "SIZE", readonly=readonly)
    assert_works(tmp_path)


def test_the_table_of_readers_is_allocated(tmp_path: Path) -> None:
    assert_works(tmp_path)
    table = (tmp_path / "lock.mdb").stat()
    assert table.st_blocks * 512 >= 1024 * 64


def test_a_write_beyond_the_disks_space_is_reported(tmp_path: Path) -> None:
    """The system's limit of a file's size stands for the disk."""
    assert_works(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Database(tmp_path, SIZE, "SIZE") as database:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
        try:
            with pytest.raises(StoreError, match=r"is kept(.|\n)*free space"):
                database.put({"key": bytes(1 << 18)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_works(tmp_path)
