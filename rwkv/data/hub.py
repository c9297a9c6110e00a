"""The dataset on the Hugging Face hub: the list of its files, and the download of one.

The only module that uses huggingface_hub. The client reads HF_TOKEN, HF_ENDPOINT and the login of `hf auth login`,
repeats failed requests, and continues a broken transfer where it ended.
"""

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, RepoFile, constants, get_token, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    XetDownloadError,
)
from huggingface_hub.utils import disable_progress_bars
from huggingface_hub.utils.logging import set_verbosity_error

from rwkv.errors import HistoryError, InputError, RwkvError
from rwkv.plurals import counted

REPOSITORY = "open-spaced-repetition/anki-revlogs-10k"
PAGE = f"https://huggingface.co/datasets/{REPOSITORY}"

# Folders of the dataset, in the order in which a user's files are fetched: a user with a revlog is complete.
_KINDS = ("cards", "decks", "revlogs")
_FILE = re.compile(rf"({'|'.join(_KINDS)})/user_id=(\d+)/[^/]+\.parquet", re.ASCII)

# The client's own files in a folder of downloads.
_CLIENT_FOLDER = Path(".cache", "huggingface")

_LOG_IN = f"accept its terms at {PAGE}, then run `hf auth login` or set HF_TOKEN"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class HubFile:
    """A file of one user.

    Attributes:
        path: The path in the dataset, "revlogs/user_id=1/data.parquet".
        size: In bytes.
        sha256: The hash of the content; None for a small file, whose hash is `git_id`.
        git_id: The SHA-1 that git gives the file.
    """

    path: str
    user: int
    size: int
    sha256: str | None
    git_id: str

    def is_intact(self, root: Path) -> bool:
        """Whether the dataset in `root` has this file with the content that the hub states."""
        try:
            with (root / self.path).open("rb") as file:
                if (root / self.path).stat().st_size != self.size:
                    return False
                if self.sha256 is not None:
                    return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
                return hashlib.sha1(b"blob %d\0" % self.size + file.read()).hexdigest() == self.git_id
        except FileNotFoundError:
            return False


@dataclass(frozen=True)
class HubDataset:
    """The state of the dataset on the hub: its revision, and the files of all users, the revlogs of a user last."""

    revision: str
    files: list[HubFile]


def list_dataset() -> HubDataset:
    """Read the list of the dataset's files.

    Raises:
        RwkvError: The hub cannot be reached, or refuses. The error says which of these, and what to do.
    """
    _silence()
    api = HfApi()
    with _sentences(REPOSITORY):
        revision = str(api.dataset_info(REPOSITORY).sha)
        entries = list(api.list_repo_tree(REPOSITORY, recursive=True, revision=revision, repo_type="dataset"))
    files = []
    for entry in entries:
        match = _FILE.fullmatch(entry.path)
        if match and isinstance(entry, RepoFile):
            sha256 = None if entry.lfs is None else entry.lfs.sha256
            files.append(HubFile(entry.path, int(match[2]), entry.size, sha256, entry.blob_id))
    if not files:
        what, expected = "The repository on the hub has no dataset.", "revlogs/user_id=N/*.parquet"
        raise InputError(what, where=PAGE, expected=expected, hint="see its page")
    return HubDataset(revision, sorted(files, key=lambda file: (file.user, file.path)))


def begin_downloads(root: Path, revision: str) -> None:
    """Download the dataset's description, and remove the remains of killed downloads.

    The client keeps its list of files beside the description. With it, a file takes no request to the hub besides its
    content; the hub limits the requests of an hour.
    """
    for remains in (root / _CLIENT_FOLDER).rglob("*.incomplete"):
        remains.unlink(missing_ok=True)
    with _sentences(REPOSITORY):
        snapshot_download(
            REPOSITORY, repo_type="dataset", revision=revision, local_dir=root, allow_patterns="README.md"
        )


def is_download(root: Path) -> bool:
    """Whether the client has downloaded to this folder before."""
    return (root / _CLIENT_FOLDER).is_dir()


def download_file(file: HubFile, root: Path, revision: str) -> None:
    """Download a file to its place in the dataset `root`. A damaged one in its place is replaced.

    Raises:
        HistoryError: The hub sent another content than it states, twice.
        RwkvError: The hub cannot be reached or refuses, or the file cannot be written.
    """
    place = root / file.path
    for is_repeated in (False, True):
        with _sentences(str(place)):
            place.unlink(missing_ok=True)
            hf_hub_download(
                REPOSITORY,
                file.path,
                repo_type="dataset",
                revision=revision,
                local_dir=root,
                force_download=is_repeated,  # the client may have copied the first from its own cache
            )
        if file.is_intact(root):
            return
    place.unlink(missing_ok=True)
    checksum = f"SHA-256 {file.sha256}" if file.sha256 else f"git {file.git_id}"
    raise HistoryError(
        "The file that the hub sent does not match its checksum.",
        where=f"user {file.user}, {file.path}",
        expected=f"{counted(file.size, 'byte')}, {checksum}",
        hint="rerun the command; if the error stays, a proxy on the way changes files",
    )


def _silence() -> None:
    """Keep the client's own progress bars and warnings out of the output of a command."""
    disable_progress_bars()
    set_verbosity_error()


@contextmanager
def _sentences(where: str) -> Iterator[None]:
    """Raise the client's errors as sentences."""
    try:
        yield
    except (OSError, HTTPError, XetDownloadError, RuntimeError, ValueError) as error:
        # A failed request can be the cause of a file that is not in the client's cache.
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
        raise _sentence(cause or error, where) from error


def _sentence(error: BaseException, where: str) -> RwkvError:
    if isinstance(error, GatedRepoError) or (isinstance(error, RepositoryNotFoundError) and not _has_token()):
        if not _has_token():
            return InputError("The hub shows the dataset only after a login.", where=where, hint=_LOG_IN)
        hint = f"accept its terms at {PAGE} with the account of your token"
        return InputError("Your account has no access to the dataset.", where=where, hint=hint)
    if isinstance(error, RepositoryNotFoundError):
        hint = f"open {PAGE} in a browser; a token may lack the right to read it"
        return InputError("The dataset is not on the hub, or hidden from you.", where=where, hint=hint)
    if isinstance(error, OfflineModeIsEnabled):
        return InputError("HF_HUB_OFFLINE forbids downloads.", where=where, hint="unset it and rerun")
    if isinstance(error, HfHubHTTPError):
        return _refusal(error, where)
    # The client's part in Rust has only the system's words.
    if (isinstance(error, OSError) and error.errno in _NO_SPACE) or os.strerror(errno.ENOSPC) in str(error):
        hint = "free some space, or choose fewer users or another folder, and rerun to continue"
        return RwkvError("The disk is full.", where=where, hint=hint)
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        hint = "check the path and its permissions, and rerun to continue"
        return InputError("The file cannot be written.", where=where, got=error.strerror or "", hint=hint)
    hint = "check the network and a proxy's settings, and rerun to continue"
    got = str(error).partition("\n")[0] or type(error).__name__
    return RwkvError("The hub cannot be reached.", where=_endpoint(), got=got, hint=hint)


def _refusal(error: HfHubHTTPError, where: str) -> RwkvError:
    """The hub has answered, but not with what was asked for."""
    status = error.response.status_code
    if status in (401, 403):
        hint = f"run `hf auth login` again, or correct HF_TOKEN; the account must have accepted the terms at {PAGE}"
        return InputError("The hub refuses your token.", where=where, got=f"status {status}", hint=hint)
    if status == 429:
        hint = "wait some minutes and rerun to continue; with a token the hub allows more"
        return RwkvError("The hub refuses further requests for now.", where=where, got=f"status {status}", hint=hint)
    hint = "rerun later to continue"
    return RwkvError("The hub failed to answer.", where=where, got=f"status {status}", hint=hint)


def _has_token() -> bool:
    return get_token() is not None


def _endpoint() -> str:
    return constants.ENDPOINT
