"""Commands on a Ray cluster of two nodes: the same results, also if a node is lost in the middle."""

from collections.abc import Iterator

import pytest

from rwkv.data.key_store import KeyStore
from tests.benchmark.cluster import TwoNodes, two_nodes
from tests.benchmark.workspace import Workspace, add_users, block, items, unblock

USERS = range(1, 21)
BLOCKED = 12


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture
def nodes(cluster: TwoNodes) -> TwoNodes:
    cluster.complete()
    return cluster


def test_keys_are_the_same_after_the_loss_of_a_node(
    workspace: Workspace, nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A node stands still at one user, while the other finds the keys of all others. Then the first is lost."""
    revlogs = add_users(workspace.dataset, USERS)
    assert workspace.find_keys(LABEL_FILTER_LMDB_PATH=str(workspace.root / "local_db")) == 0
    block(workspace.dataset, BLOCKED)
    write = KeyStore.write
    written: list[int] = []

    def write_and_lose(store: KeyStore, keys: dict) -> None:
        write(store, keys)
        written.extend(keys)
        if len(written) == len(USERS) - 1:
            busy = nodes.the_busy_one()
            unblock(workspace.dataset, BLOCKED, revlogs[BLOCKED])  # for the other node; this one stands still
            nodes.lose(busy)

    monkeypatch.setattr(KeyStore, "write", write_and_lose)
    monkeypatch.setattr("rwkv.benchmark.databases._BATCH", 1)
    assert workspace.find_keys(*nodes.options) == 0
    assert len(nodes.nodes) == 1
    assert items(workspace.root / "keys_db") == items(workspace.root / "local_db")
