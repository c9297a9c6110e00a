"""Commands with a full disk, a read-only folder or a vanishing input: a message, the rest intact, then they go on."""

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rwkv.benchmark import databases
from rwkv.cli import main
from rwkv.evaluation.results import ResultFiles, UserLines
from tests.benchmark.evaluation import Evaluation
from tests.benchmark.training import OFTEN, Training
from tests.benchmark.workspace import Workspace, add_users, assert_said, items, revlog_file
from tests.typed import preceded

SMALL_NETWORK: dict[str, object] = {"EPOCHS": 1, "CHANNELS": 16, "HEADS": 1, "LAYERS": [1, 1, 1, 1, 1]}
LEAST_MS = 1_700_000_000_000


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """No file can grow beyond so many bytes; the system's limit of a file's size stands for the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """No file below a folder can be opened for writing, as on a read-only file system, also by the administrator."""
    real = os.open

    def opened(path: str | os.PathLike[str], flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and folder in Path(os.fsdecode(path)).parents:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, mode, dir_fd=dir_fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.open", opened)
        yield


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def filled(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Six users, of whom two are written at a time."""
    monkeypatch.setattr(databases, "_BATCH", 2)
    add_users(workspace.dataset, range(1, 7))
    return workspace


def write_csv(path: Path, reviews: int = 400) -> Path:
    rows = (f"{number % 7},{LEAST_MS + 50_000_000 * number},{1 + number % 4}" for number in range(reviews))
    path.write_text("card_id,review_time,review_rating\n" + "\n".join(rows) + "\n")
    return path


# --- A full disk


def test_databases_on_a_full_disk(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """lock.mdb has 64 KiB."""
    with full_disk(1 << 14):
        assert filled.find_keys() == 2
        assert_said(capsys, "keys_db", "free space")
    assert filled.find_keys() == 0
    keys = items(filled.root / "keys_db")
    with full_disk(1 << 17):
        assert filled.process_data() in (0, 2)  # by the size of a page
    assert filled.process_data() == 0
    assert filled.users_stored() == list(range(1, 7))
    assert items(filled.root / "keys_db") == keys


@OFTEN
def test_a_checkpoint_on_a_full_disk(training: Training, capsys: pytest.CaptureFixture[str]) -> None:
    other = Training(training.stores, training.out.with_name("whole"))
    assert other.run(**SMALL_NETWORK) == 0
    with full_disk(1 << 16):
        assert training.run(**SMALL_NETWORK) == 2
    assert_said(capsys, "File too large", "p_2.pth")
    assert not list(training.out.glob("*.tmp"))
    assert training.run(**SMALL_NETWORK) == 0
    assert training.files() == other.files()


def test_results_on_a_full_disk(
    evaluation: Evaluation,
    plain: dict[str, bytes],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is room for all but the end of the last line."""
    real, size = ResultFiles.append, max(map(len, plain.values()))

    def append(files: ResultFiles, lines: UserLines) -> None:
        with full_disk(size - 10):
            real(files, lines)

    with monkeypatch.context() as patch:
        patch.setattr(ResultFiles, "append", append)
        assert evaluation.run() == 2
    assert_said(capsys, "everything written before is kept", "File too large", "free space")
    assert evaluation.run() == 0
    assert evaluation.files() == plain


def test_an_import_on_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["import", str(write_csv(tmp_path / "ada.csv")), "--out", str(tmp_path / "out")]
    with full_disk(1 << 11):
        assert main(arguments) in (1, 2)
    assert_said(capsys, "File too large")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "ada.csv"]
    assert main(arguments) == 0


# --- A read-only folder


def assert_read_only(run: Callable[[], int], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command is refused while a folder is read-only, changes nothing, and goes on afterwards."""
    folder.mkdir(exist_ok=True)
    before = contents(folder)
    with read_only(folder.resolve()):
        assert run() == 2
    assert_said(capsys, str(folder), "Read-only file system", "permissions")
    assert contents(folder) == before
    assert run() == 0


def test_databases_in_a_read_only_folder(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert_read_only(filled.find_keys, filled.root / "keys_db", capsys)
    assert_read_only(filled.process_data, filled.root / "store_db", capsys)


def test_a_run_in_a_read_only_folder(training: Training, capsys: pytest.CaptureFixture[str]) -> None:
    assert_read_only(lambda: training.run(**SMALL_NETWORK), training.out, capsys)


def test_results_in_a_read_only_folder(evaluation: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    assert_read_only(evaluation.run, evaluation.root / "result", capsys)


def test_an_import_into_a_read_only_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_csv(tmp_path / "ada.csv")
    assert_read_only(lambda: main(["import", str(file), "--out", str(tmp_path / "out")]), tmp_path / "out", capsys)


# --- Inputs that vanish


def vanishing(path: Path, patch: pytest.MonkeyPatch, place: str, call: int) -> Path:
    """Move a file or folder away at a call of a function. Returns where it is then."""
    owner, name = place.rsplit(":", 1)
    module = __import__(owner, fromlist=[name])
    hidden, calls = path.with_name("hidden"), 0

    def vanish() -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            shutil.move(path, hidden)

    patch.setattr(module, name, preceded(getattr(module, name), vanish))
    return hidden


@pytest.mark.parametrize("what", ["a history", "the dataset"])
def test_histories_that_vanish_while_keys_are_searched_for(
    filled: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = revlog_file(filled.dataset, 4) if what == "a history" else filled.dataset
    with monkeypatch.context() as patch:
        hidden = vanishing(path, patch, "rwkv.benchmark.find_keys:read_history", 3)
        assert filled.find_keys() == 1
    lost = [4] if what == "a history" else [3, 4, 5, 6]
    skipped = "1 user was skipped" if what == "a history" else "4 users were skipped"
    assert_said(capsys, skipped, "The user has no revlog")
    assert filled.users_with_keys() == [user for user in range(1, 7) if user not in lost]
    shutil.move(hidden, path)
    assert filled.find_keys() == 0
    assert filled.users_with_keys() == list(range(1, 7))


def test_keys_that_vanish_while_histories_are_stored(
    filled: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert filled.find_keys() == 0
    with monkeypatch.context() as patch:
        hidden = vanishing(filled.root / "keys_db", patch, "rwkv.benchmark.process_data:read_history", 3)
        assert filled.process_data() == 1
    assert_said(capsys, "4 users were skipped", "The database does not exist", "find_equalize_test_reviews")
    assert filled.users_stored() == [1, 2]
    shutil.move(hidden, filled.root / "keys_db")
    assert filled.process_data() == 0
    assert filled.users_stored() == list(range(1, 7))


@pytest.mark.parametrize("name", ["keys_db", "store_db", "model.pth"])
def test_inputs_that_vanish_before_an_evaluation(
    evaluation: Evaluation, plain: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    inputs = tmp_path / "inputs"
    shutil.copytree(evaluation.inputs, inputs)
    (inputs / name).rename(tmp_path / "hidden")
    copied = Evaluation(inputs, evaluation.root)
    assert copied.run() == 2
    assert_said(capsys, str(inputs / name), "does not exist")
    (tmp_path / "hidden").rename(inputs / name)
    assert copied.run() == 0
    assert copied.files() == plain


@pytest.mark.parametrize("name", ["train_db", "test_db"])
def test_a_store_that_vanishes_before_a_training(
    training: Training, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    stores = tmp_path / "copies"
    shutil.copytree(training.stores, stores)
    (stores / name).rename(tmp_path / "hidden")
    copied = Training(stores, training.out)
    assert copied.run(**SMALL_NETWORK) == 2
    assert_said(capsys, str(stores / name), "does not exist", "data_processing")
    (tmp_path / "hidden").rename(stores / name)
    assert copied.run(**SMALL_NETWORK) == 0
