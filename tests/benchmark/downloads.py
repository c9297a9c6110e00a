"""Downloads of a small dataset."""

from pathlib import Path

from rwkv.cli import main
from tests.helpers import DECKS, cards_of, random_revlog, write_history

USERS = (1, 2, 3, 5)


def make_contents(root: Path) -> dict[str, bytes]:
    """The files of a small dataset, some larger and some smaller than the hub's limit for git."""
    for user in USERS:
        revlog = random_revlog(user, 60 * user, 5)
        write_history(root, user, revlog, cards_of(revlog), DECKS)
    files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.parquet")}
    return {"README.md": b"# anki-revlogs-10k", "truth/user_id=1.parquet": b"of another kind", **files}


def download(out: Path, *arguments: str) -> int:
    return main(["download", "--out", str(out), *arguments])


def of_users(contents: dict[str, bytes], *users: int) -> dict[str, bytes]:
    names = {f"user_id={user}" for user in users}
    return {path: content for path, content in contents.items() if path.split("/")[1:2] and path.split("/")[1] in names}


def written(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.parquet")}
