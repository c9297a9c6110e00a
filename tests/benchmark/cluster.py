"""A Ray cluster of two nodes on this machine, of which one may be lost."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from rwkv.stopping import kept_handlers

cluster_utils = pytest.importorskip("ray.cluster_utils")
from ray._private.state import available_resources_per_node  # noqa: E402 (only where Ray is installed)

# As little as Ray accepts.
_OBJECT_STORE = 80 << 20
# Nodes report with a delay: so often in turn a node must be seen busy.
_LOOKS = 6


@dataclass
class TwoNodes:
    """The cluster: a head that runs no tasks, and two nodes that run one task at a time."""

    cluster: Any
    nodes: list[Any] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    @property
    def options(self) -> tuple[str, ...]:
        """The options of a command that runs here."""
        return ("--engine", "ray", "--address", self.address)

    def complete(self) -> None:
        """Start the nodes that are missing."""
        while len(self.nodes) < 2:
            with kept_handlers():  # Ray's nodes replace them, and later tests send signals to their own process
                self.nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=_OBJECT_STORE))

    def the_busy_one(self) -> Any:
        """The node that runs a task while the other has none, once that is so; for a command within the cluster."""
        seen: list[Any] = [None]
        while len(seen) < _LOOKS or len(set(seen[-_LOOKS:])) > 1 or seen[-1] is None:
            time.sleep(0.05)
            free = available_resources_per_node()
            busy = [node for node in self.nodes if not free.get(node.node_id, {}).get("CPU")]
            seen.append(busy[0] if len(busy) == 1 else None)
            assert len(seen) < 1000, "waited too long"
        return seen[-1]

    def lose(self, node: Any) -> None:
        """Kill a node with everything on it."""
        self.cluster.remove_node(node, allow_graceful=False)
        self.nodes.remove(node)


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Start a cluster for the time of the block."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 0, "object_store_memory": _OBJECT_STORE, "include_dashboard": False}
    with kept_handlers():
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        yield TwoNodes(cluster)
    finally:
        cluster.shutdown()
