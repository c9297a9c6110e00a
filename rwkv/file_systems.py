"""File systems that several machines share, on which LMDB is not safe and locks may not hold.

Linux only; elsewhere every file system counts as local.
"""

import re
from dataclasses import dataclass
from pathlib import Path

# A line for each mount: ids, device, root, mount point, options, optional fields, " - ", kind, source, more options.
_MOUNTS = Path("/proc/self/mountinfo")

_KINDS = re.compile(
    r"nfs4?|cifs|smb3|smbfs|ceph|lustre|gpfs|gfs2?|ocfs2|afs|beegfs|glusterfs|pvfs2|panfs|wekafs|9p|"
    r"fuse\.(sshfs|s3fs|gcsfuse|rclone|juicefs|glusterfs|ceph|ceph-fuse|mount-s3|goofys|blobfuse2?|mfs|davfs2?|smbnetfs|curlftpfs)"
)
# Where a lock of one machine holds on the others, unless an option is set.
_LOCKS = {"nfs", "nfs4", "cifs", "smb3", "ceph", "gpfs", "gfs2", "ocfs2"}
_NO_LOCKS = {"nolock", "local_lock=flock", "local_lock=all", "nobrl", "localflock"}


@dataclass(frozen=True)
class SharedFileSystem:
    """A file system that other machines may use at the same time.

    Attributes:
        kind: Its name, such as "nfs4".
        has_locks: Whether a lock taken here holds on the other machines.
    """

    kind: str
    has_locks: bool


def shared_file_system(path: Path) -> SharedFileSystem | None:
    """The file system of a path, which need not exist, if several machines may share it."""
    try:
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    resolved = path.resolve()
    parents = {str(parent) for parent in (resolved, *resolved.parents)}
    kind, options, longest = "", frozenset[str](), -1
    for line in lines:
        before, _, after = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), before.split(" ")[4])
        if point in parents and len(point) >= longest:  # of mounts at one point, the last counts
            longest, (kind, _, more) = len(point), after.split(" ")[:3]
            options = frozenset([*before.split(" ")[5].split(","), *more.split(",")])
    if not _KINDS.fullmatch(kind):
        return None
    has_locks = kind in _LOCKS or (kind == "lustre" and "flock" in options)
    return SharedFileSystem(kind, has_locks and not options & _NO_LOCKS)
