"""`rwkv download` from a hub on this machine: what it fetches, what it keeps, and each way in which it fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from rwkv.cli import main
from rwkv.data.revlogs import has_revlog, list_users, read_history
from tests.benchmark.downloads import USERS, download, of_users, written
from tests.benchmark.hub import REVISION, Hub, serving
from tests.benchmark.workspace import REPOSITORY, assert_said, wait_until
from tests.helpers import DECKS, cards_of, random_revlog, write_history
from tests.typed import not_none


def test_the_whole_dataset(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert download(tmp_path / "data") == 0
    output = capsys.readouterr()
    assert written(tmp_path / "data") == of_users(hub.files, *USERS)
    assert list_users(tmp_path / "data") == list(USERS)
    assert len(read_history(tmp_path / "data", 5)) == 300
    assert (tmp_path / "data" / "README.md").read_bytes() == hub.files["README.md"]
    assert "4 users, 12 files, " in output.err  # with their size, before the download
    assert "12 files downloaded" in output.out
    assert str(tmp_path / "data") in output.out
    assert not list(tmp_path.rglob("*.incomplete"))
    assert not list((tmp_path / "data").glob("*.lock"))


def test_what_is_there_is_not_downloaded_again(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert download(tmp_path / "data") == 0
    hub.asked.clear()
    assert download(tmp_path / "data") == 0
    assert hub.asked == []
    assert "0 files downloaded, 12 were there" in capsys.readouterr().out


def test_a_range_of_users_and_then_more(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert download(tmp_path / "data", "--users", "2-3") == 0
    assert written(tmp_path / "data") == of_users(hub.files, 2, 3)
    hub.asked.clear()
    assert download(tmp_path / "data", "--users", "1-4,7", "--json") == 0
    assert set(hub.fetched) == set(of_users(hub.files, 1))
    fields = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (fields["users"], fields["absent"], fields["revision"]) == ([1, 2, 3], [4, 7], REVISION)
    assert (fields["files"], fields["fetched"], fields["kept"]) == (9, 3, 6)
    assert fields["bytes"] == sum(map(len, of_users(hub.files, 1, 2, 3).values()))


def test_users_that_do_not_exist(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert download(tmp_path / "data", "--users", "4-5") == 0
    assert "not in the dataset: 4" in capsys.readouterr().out
    assert download(tmp_path / "other", "--users", "6-9") == 2
    assert_said(
        capsys, "None of the users is in the dataset", "got: 6, 7, 8, 9", "users from 1 to 5", "correct --users"
    )
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("users", ["5-3", "a", "1-", "-3"])
def test_wrong_ranges(users: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["download", "--users", users])
    assert ended.value.code == 2
    assert "--users" in capsys.readouterr().err


def test_a_broken_transfer_continues_where_it_broke(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)  # the client keeps whole chunks
    path = "revlogs/user_id=5/data.parquet"
    hub.cut[path] = 2
    assert download(tmp_path / "data") == 0
    assert written(tmp_path / "data") == of_users(hub.files, *USERS)
    whole, *rest = [asked for name, asked in hub.asked if name == path]
    assert whole is None
    starts = [int(not_none(asked).removeprefix("bytes=").rstrip("-")) for asked in rest]
    assert len(hub.files[path]) * 0.4 < starts[0] < starts[1] < len(hub.files[path])


def test_a_download_that_failed_continues(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.closed = 6
    assert download(tmp_path / "data") == 1
    assert_said(capsys, "error: The hub failed to answer.", "rerun later to continue")
    complete = written(tmp_path / "data")
    assert 0 < len(complete) < 12
    for user in USERS:
        if has_revlog(tmp_path / "data", user):  # it comes last
            assert of_users(complete, user) == of_users(hub.files, user)
    hub.closed = None
    hub.asked.clear()
    assert download(tmp_path / "data") == 0
    assert set(hub.fetched) == set(of_users(hub.files, *USERS)) - complete.keys()
    assert written(tmp_path / "data") == of_users(hub.files, *USERS)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_continues(contents: dict[str, bytes], tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "data"
    with serving(Hub(dict(contents), held=7)) as hub:
        environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "rwkv.cli", "download", "--out", str(out)]
        with subprocess.Popen(
            command,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            # Tests that run in the background hand down that Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            wait_until(lambda: len(hub.asked) > 7 or process.poll() is not None)
            process.send_signal(number)
            hub.release.set()
            error = process.communicate(timeout=60)[1]
        assert process.returncode == (130 if number == signal.SIGINT else -number)
        assert "Traceback" not in error
        before = {path for path, content in written(out).items() if content == hub.files[path]}
        assert 0 < len(before) < 12
        hub.asked.clear()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False)
        assert written(out) == of_users(hub.files, *USERS)
        assert not before & set(hub.fetched)
    assert not list(out.rglob("*.incomplete"))


@pytest.mark.parametrize("kind", ["revlogs", "cards"])  # outside git and in it
@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: bytes([data[0] ^ 1]) + data[1:]])
def test_a_damaged_file_is_replaced(
    hub: Hub, tmp_path: Path, kind: str, damage: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert download(tmp_path / "data") == 0
    file = tmp_path / "data" / kind / "user_id=5" / "data.parquet"
    times = file.stat()
    file.write_bytes(damage(file.read_bytes()))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if the disk had done it
    hub.asked.clear()
    assert download(tmp_path / "data") == 0
    assert hub.fetched == [f"{kind}/user_id=5/data.parquet"]
    assert written(tmp_path / "data") == of_users(hub.files, *USERS)
    assert_said(capsys, "1 file replaced, different from those on the hub")


def test_a_file_that_arrives_damaged_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    hub.damaged["revlogs/user_id=2/data.parquet"] = 1
    assert download(tmp_path / "data") == 0
    assert written(tmp_path / "data") == of_users(hub.files, *USERS)
    assert Counter(path for path, _ in hub.asked)["revlogs/user_id=2/data.parquet"] == 2


def test_a_file_that_stays_damaged_is_refused(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.damaged["decks/user_id=2/data.parquet"] = 9
    assert download(tmp_path / "data") == 1
    output = capsys.readouterr()
    for words in ("user 2 skipped", "decks/user_id=2/data.parquet", "does not match its checksum", "rerun"):
        assert words in output.err
    assert "10 files downloaded, 0 were there\n2 files are missing" in output.out
    complete = written(tmp_path / "data")
    assert "decks/user_id=2/data.parquet" not in complete
    assert of_users(complete, 1, 3, 5) == of_users(hub.files, 1, 3, 5)
    assert list_users(tmp_path / "data") == [1, 3, 5]  # without its decks user 2 does not count as complete


# --- The folder


def test_a_disk_that_is_too_small(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1234))
    assert download(tmp_path / "data") == 1
    assert_said(capsys, "error: The files do not fit on the disk.", "1.23 kB free", "--users")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "data"), ("The disk is full.", "rerun to continue")),
        (RuntimeError("IO error: No space left on device (os error 28)"), ("The disk is full.", "rerun to continue")),
        (RuntimeError("transfer failed"), ("The hub cannot be reached.", "transfer failed", "rerun to continue")),
        (PermissionError(13, "Permission denied", "data"), ("The file cannot be written.", "Permission denied")),
    ],
)
def test_errors_in_the_middle(
    hub: Hub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: tuple[str, ...],
) -> None:
    """As the client's part in Python raises them, and its part in Rust."""

    def failing(*arguments: object, **more: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.file_download.http_get", failing)
    assert download(tmp_path / "data") == (2 if isinstance(error, PermissionError) else 1)
    assert_said(capsys, "error: ", *words)


def test_files_that_the_hub_does_not_have(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as those of an older version of the dataset."""
    assert download(tmp_path / "data") == 0
    assert "not on the hub" not in capsys.readouterr().err
    other = tmp_path / "data" / "revlogs" / "user_id=2" / "older.parquet"
    other.write_bytes(b"of an older version")
    assert download(tmp_path / "data", "--users", "1") == 0
    assert "not on the hub" not in capsys.readouterr().err
    assert download(tmp_path / "data", "--users", "2") == 0
    assert_said(capsys, f"1 file of these users not on the hub, but read like the others; delete {other}")


def test_another_dataset_is_not_overwritten(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    revlog = random_revlog(9, 50, 5)
    write_history(tmp_path / "mine", 1, revlog, cards_of(revlog), DECKS)
    before = written(tmp_path / "mine")
    hub.error = (500, "")  # the folder is refused before the hub is asked
    assert download(tmp_path / "mine") == 2
    assert_said(capsys, "error: The folder has a dataset that was not downloaded.", "choose another --out")
    assert written(tmp_path / "mine") == before


def test_a_file_instead_of_a_folder(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert download(tmp_path / "file") == 2
    assert_said(capsys, "error: The path cannot be written to.", str(tmp_path / "file"))
