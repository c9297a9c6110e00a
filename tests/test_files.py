"""Files are written whole or not at all, and special files are refused."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from rwkv.errors import InputError
from rwkv.files import check_input, check_output, file_errors, replacing, write_whole, write_whole_parts
from tests.benchmark.workspace import REPOSITORY


def test_a_file_and_its_folder_are_created(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_whole(path, b"one")
    write_whole_parts(path, [b"t", b"wo"])
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def parts() -> Iterator[bytes]:
        yield b"ne"
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole_parts(path, parts())
    assert path.read_bytes() == b"old"
    with replacing(path) as partial:
        partial.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"


def test_errors_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "below"
    with pytest.raises(InputError, match=str(path)):
        write_whole(path, b"")
    with pytest.raises(InputError, match="No such file"), file_errors(tmp_path / "none"):
        (tmp_path / "none").read_bytes()


def test_writers_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as one:
        one.write_bytes(b"one")
        with replacing(path) as other:
            assert other != one
            other.write_bytes(b"other")
        assert path.read_bytes() == b"other"
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_a_killed_writer_are_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file.tmp").write_bytes(b"longer than what is written")
    write_whole(tmp_path / "file", b"whole")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"whole")]


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_full_disk_leaves_nothing_new(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with mock.patch("os.fsync", side_effect=full), pytest.raises(InputError, match="No space left"):
        write_whole(path, b"new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_link_is_kept_and_its_target_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("old", "missing"):
        (tmp_path / name).symlink_to(tmp_path / "there" / name)
    (tmp_path / "there" / "old").write_bytes(b"old")
    for name in ("old", "missing"):
        write_whole(tmp_path / name, b"new")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "there" / name).read_bytes() == b"new"


# --- What is no file


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        write_whole_parts(tmp_path / "pipe", [b"t", b"wo"])
        assert reader.communicate(timeout=60)[0] == b"two"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_writing_to_a_pipe_without_a_reader_succeeds() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    write_whole(Path(f"/dev/fd/{writer}"), b"lost")
    os.close(writer)


@pytest.mark.parametrize("is_link", [False, True])
def test_dev_null_is_not_replaced(tmp_path: Path, is_link: bool) -> None:
    path = tmp_path / "null"
    path.symlink_to(os.devnull)
    write_whole(path if is_link else Path(os.devnull), b"lost")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_dev_stdout_continues_after_printed_output(tmp_path: Path) -> None:
    """Also where that is a file, which is not begun anew."""
    program = (
        "import pathlib, rwkv.files as f; print('printed'); f.write_whole(pathlib.Path('/dev/stdout'), b'written')"
    )
    with (tmp_path / "file").open("a") as file:
        print("before", file=file, flush=True)
        subprocess.run([sys.executable, "-c", program], stdout=file, cwd=REPOSITORY, check=True)
    assert (tmp_path / "file").read_text() == "before\nprinted\nwritten"


@pytest.mark.parametrize("path", ["/dev/full", "/dev/zero", "/tmp"])
def test_devices_and_folders_are_refused_as_outputs(path: str) -> None:
    for refuse in (check_output, lambda path: write_whole(path, b"")):
        with pytest.raises(InputError, match=f"No file can be written here(.|\n)*{path}"):
            refuse(Path(path))


def test_new_and_existing_files_are_accepted_as_outputs(tmp_path: Path) -> None:
    check_output(tmp_path / "new" / "file")
    (tmp_path / "file").touch()
    check_output(tmp_path / "file")


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    """For the reading may never end."""
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(InputError, match=f"{path}\n  got: {kind}"):
            check_input(path)
    for path in (tmp_path, Path(__file__), tmp_path / "missing"):
        check_input(path)
