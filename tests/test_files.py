"""Files that appear whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rwkv.errors import InputError
from rwkv.files import file_errors, replacing, write_whole, write_whole_parts


def test_a_file_and_its_folder_appear(tmp_path: Path) -> None:
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
