"""Commands on a Ray cluster of two nodes: the same results, also if a node is lost in the middle."""

import socket
import threading
from collections.abc import Callable, Iterator, Sized
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest

from rwkv.data.database import Database, identity
from rwkv.data.key_store import KeyStore
from rwkv.data.keys import BenchmarkKeys
from rwkv.data.store import ReviewStore
from rwkv.errors import InputError
from rwkv.evaluation.results import ResultFiles, UserLines
from tests.benchmark.cluster import TwoNodes, two_nodes
from tests.benchmark.evaluation import Evaluation
from tests.benchmark.workspace import SIZE, Workspace, add_users, assert_said, block, items, revlog_file, unblock

ray_pool = pytest.importorskip("rwkv.ray_pool").ray_pool
RayError = pytest.importorskip("ray.exceptions").RayError

# One cluster serves all tests, also with `-n auto --dist loadgroup`.
pytestmark = pytest.mark.xdist_group("cluster")

USERS = range(1, 21)
BLOCKED = 12
_WRITE_KEYS = KeyStore.write

Store = TypeVar("Store")
Users = TypeVar("Users", bound=Sized)


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture
def nodes(cluster: TwoNodes) -> TwoNodes:
    cluster.complete()
    return cluster


@pytest.fixture
def lossy(workspace: Workspace, nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch) -> TwoNodes:
    """A node stands still at one user, until the other has done all others and their results are written.

    Then the first is lost.
    """
    revlogs = add_users(workspace.dataset, USERS)
    written = 0

    def losing(write: Callable[[Store, Users], None]) -> Callable[[Store, Users], None]:
        def write_and_lose(store: Store, users: Users) -> None:
            nonlocal written
            write(store, users)
            written += len(users)
            if written == len(USERS) - 1:
                busy = nodes.the_busy_one()
                unblock(workspace.dataset, BLOCKED, revlogs[BLOCKED])  # for the other node; this one stands still
                nodes.lose(busy)

        return write_and_lose

    monkeypatch.setattr(KeyStore, "write", losing(KeyStore.write))
    monkeypatch.setattr(ReviewStore, "write", losing(ReviewStore.write))
    monkeypatch.setattr("rwkv.benchmark.databases._BATCH", 1)
    return nodes


def test_keys_are_the_same_after_the_loss_of_a_node(workspace: Workspace, lossy: TwoNodes) -> None:
    block(workspace.dataset, BLOCKED)
    assert workspace.find_keys(*lossy.options) == 0
    assert len(lossy.nodes) == 1
    assert workspace.find_keys(LABEL_FILTER_LMDB_PATH=str(workspace.root / "local_db")) == 0
    assert items(workspace.root / "keys_db") == items(workspace.root / "local_db")


def test_stores_are_the_same_after_the_loss_of_a_node(workspace: Workspace, lossy: TwoNodes) -> None:
    with pytest.MonkeyPatch.context() as whole:
        whole.setattr(KeyStore, "write", _WRITE_KEYS)
        assert workspace.find_keys() == 0
    block(workspace.dataset, BLOCKED)
    assert workspace.process_data(*lossy.options) == 0
    assert len(lossy.nodes) == 1
    assert workspace.process_data(LMDB_PATH=str(workspace.root / "local_db")) == 0
    assert items(workspace.root / "store_db") == items(workspace.root / "local_db")


def test_results_are_the_same_after_the_loss_of_a_node(
    nodes: TwoNodes, evaluation: Evaluation, plain: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is lost when the first of three batches is written, and the others are being computed."""
    append = ResultFiles.append

    def append_and_lose(files: ResultFiles, lines: UserLines) -> None:
        append(files, lines)
        if len(nodes.nodes) == 2:
            nodes.lose(nodes.nodes[-1])

    monkeypatch.setattr(ResultFiles, "append", append_and_lose)
    assert evaluation.run(*nodes.options) == 0
    assert len(nodes.nodes) == 1
    assert evaluation.files() == plain


# --- What is wrong


def test_a_damaged_user_is_skipped_and_listed(
    workspace: Workspace, nodes: TwoNodes, capsys: pytest.CaptureFixture[str]
) -> None:
    add_users(workspace.dataset, [1, 2])
    revlog_file(workspace.dataset, 2).write_bytes(b"")
    assert workspace.find_keys(*nodes.options) == 1
    assert_said(capsys, "user 2 skipped", "1 user was skipped:\n  2: ")
    assert workspace.users_with_keys() == [1]


def test_a_node_without_the_data_ends_the_command(nodes: TwoNodes, tmp_path: Path) -> None:
    """Its users are not skipped as if their data were damaged."""
    folder = tmp_path / "data"
    folder.mkdir()
    with ray_pool(nodes.address, [folder], identity) as pool:
        folder.rmdir()
        with pytest.raises(InputError, match=r"(?s)does not see the data.*data.*same path"):
            list(pool.map(abs, [1, 2]))


def test_a_node_with_another_copy_ends_the_command(nodes: TwoNodes, tmp_path: Path) -> None:
    """Here the copy of the command changes after it looked."""
    model, folder = tmp_path / "model.pth", tmp_path / "copy"
    model.write_bytes(b"weights")
    with Database(folder, SIZE, "") as database:
        database.put({"key": b"value"})
    with ray_pool(nodes.address, [model, folder], identity) as pool:
        model.write_bytes(b"others")
        with pytest.raises(InputError, match=r"(?s)has other data.*model.pth.*got: sha256.*expected: sha256"):
            list(pool.map(abs, [1, 2]))
        model.write_bytes(b"weights")
        with Database(folder, SIZE, "") as database:
            database.put({"key": b"other"})
        with pytest.raises(InputError, match=r"(?s)has other data.*copy.*transaction 2, .*transaction 1, "):
            list(pool.map(abs, [1, 2]))


def test_a_node_with_other_code_ends_the_command(
    workspace: Workspace, nodes: TwoNodes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_users(workspace.dataset, [1])
    monkeypatch.setattr("rwkv.ray_pool._code", lambda: "newer")
    assert workspace.find_keys(*nodes.options) == 2
    assert_said(capsys, "A node has another version of rwkv", "install the same version")


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"DEVICE": "cuda:1"}, ("a GPU", 'DEVICE = "cpu"')), ({"THREADS": 1000}, ("1000 CPU cores", "lower THREADS"))],
    ids=str,
)
def test_tasks_that_no_node_can_run_are_an_error(
    nodes: TwoNodes,
    evaluation: Evaluation,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, object],
    words: tuple[str, ...],
) -> None:
    assert evaluation.run(*nodes.options, **settings) == 2
    assert_said(capsys, "No node of the cluster can run a task", *words)


def test_devices_of_one_machine_are_refused(evaluation: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluation.run("--engine", "ray", DEVICES=["cpu", "cpu"]) == 2
    assert_said(capsys, "DEVICES are those of one machine", "--engine ray")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "nowhere"])
def test_a_missing_cluster_is_a_sentence(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    add_users(workspace.dataset, [1])
    assert workspace.find_keys("--engine", "ray", "--address", address) == 2
    assert_said(capsys, "The Ray cluster cannot be reached", f"where: {address}\n", "ray start --head")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", None], ids=["HTTP", "an end", "nothing"])
def test_a_port_of_another_program_is_a_sentence(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    """Such as that of Ray's dashboard. Ray itself would try for many minutes."""
    monkeypatch.setattr("rwkv.ray_pool._PATIENCE_S", 0.5)
    add_users(workspace.dataset, [1])
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as connections:

        def serve() -> None:
            connection = connections.enter_context(server.accept()[0])
            connection.recv(100)
            if answer is not None:
                connection.sendall(answer)
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        assert workspace.find_keys("--engine", "ray", "--address", f"127.0.0.1:{server.getsockname()[1]}") == 2
        thread.join()
    assert_said(capsys, "The Ray cluster cannot be reached", "timed out" if answer is None else "another program")


def test_a_cluster_that_asks_for_a_token_is_a_sentence(
    workspace: Workspace, nodes: TwoNodes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**given: object) -> None:
        raise RayError("no token")

    add_users(workspace.dataset, [1])
    monkeypatch.setattr("ray.init", refuse)
    assert workspace.find_keys(*nodes.options) == 2
    assert_said(capsys, "The Ray cluster cannot be reached", "got: no token")


def test_the_loss_of_all_nodes_ends_the_command(
    workspace: Workspace, nodes: TwoNodes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_users(workspace.dataset, USERS)
    block(workspace.dataset, BLOCKED)  # so that not all are done before the first is written

    def write_and_lose(store: KeyStore, users: dict[int, BenchmarkKeys]) -> None:
        _WRITE_KEYS(store, users)
        while nodes.nodes:
            nodes.lose(nodes.nodes[-1])

    monkeypatch.setattr(KeyStore, "write", write_and_lose)
    monkeypatch.setattr("rwkv.benchmark.databases._BATCH", 1)
    monkeypatch.setattr("rwkv.ray_pool._PATIENCE_S", 1)
    assert workspace.find_keys(*nodes.options) == 1
    assert_said(capsys, "The cluster has lost all its nodes", "rerun to continue")
    assert 0 < len(workspace.users_with_keys()) < len(USERS)
