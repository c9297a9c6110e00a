"""A folder that looks as if it lay on a file system of a certain kind."""

from pathlib import Path

import pytest

NFS = "nfs4"
# A file system whose locks hold on one machine only.
SSHFS = "fuse.sshfs"


def mount(monkeypatch: pytest.MonkeyPatch, folder: Path, kind: str, options: str = "rw") -> None:
    """Mount a file system of this kind at `folder`, as far as rwkv can see."""
    table = folder.parent / f"{folder.name}.mounts"
    point = str(folder.resolve()).replace(" ", "\\040")
    table.write_text(
        "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
        "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n"
        f"36 27 0:42 / {point} rw,noatime shared:7 - {kind} server:/export {options}\n"
    )
    monkeypatch.setattr("rwkv.file_systems._MOUNTS", table)
