"""The processes of a training that torchrun starts, on one machine or several."""

import hashlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, NoReturn, TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from rwkv.errors import ConfigError, InputError, RwkvError
from rwkv.model.checkpoint import weights_fingerprint
from rwkv.model.network import Network
from rwkv.runtime import log
from rwkv.stopping import Stopped, asked_to_end, ended_by, is_one_of_several, leave
from rwkv.training.step import Sum
from rwkv.training.stop import Stop
from rwkv.training.watch import Watch, call_when_left_alone

Made = TypeVar("Made")
Item = TypeVar("Item")

_SAID = "rwkv/said"
# Seconds that a failing process waits for the news that another one ended first, and for the store of torchrun.
_NEWS_S = 0.5
_NEWS_OF_A_CONNECTION_S = 10.0
_STORE_S = 5
# Seconds for which the store of torchrun may refuse a connection, and between two of them.
_REFUSED_S, _AGAIN_S = 3.0, 0.5
# Seconds in which the first process ends after a common stop.
_END_S = 30.0
# Some messages of torch have pages.
_MOST_LETTERS = 300


class Processes:
    """This process and the others of its training.

    Attributes:
        rank: Number of this process, from 0. The first one writes the files.
        count: Number of processes.
        stopped_by: The signal to one of them for which all have stopped together, or None.
    """

    def __init__(self, rank: int = 0, count: int = 1, store: Any = None) -> None:
        self.rank, self.count = rank, count
        self.stopped_by: signal.Signals | None = None
        self._store = store
        self._group: dist.ProcessGroup | None = None
        self._started: list[dist.Work] = []

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reads and writes the files of the run."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """The configured device; of several GPUs of a machine the one of this process.

        Raises:
            ConfigError: The configuration names one GPU.
        """
        if self.count == 1 or not name.startswith("cuda"):
            return name
        if name != "cuda":
            expected = '"cuda", for one GPU to each process'
            what, hint = "Several processes cannot use one GPU.", "correct DEVICE"
            raise ConfigError(what, where="DEVICE", got=name, expected=expected, hint=hint)
        return f"cuda:{os.environ['LOCAL_RANK']}"

    def workers(self, configured: int) -> int:
        """The part of a machine's worker processes that belongs to this process, at least one."""
        return max(1, configured // int(os.environ["LOCAL_WORLD_SIZE"])) if self.count > 1 else configured

    def part(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items that this process works on."""
        return items[self.rank :: self.count]

    def from_first(self, make: Callable[[], Made]) -> Made:
        """What `make` returns in the first process; it is not called in the others."""
        if self.count == 1:
            return make()
        box = [make() if self.is_first else None]
        dist.broadcast_object_list(box)
        return cast(Made, box[0])

    def check_agreement(self, settings: str) -> None:
        """Check that all processes have the same settings.

        Raises:
            InputError: They differ, which can only be on several machines.
        """
        if difference := self._difference(hashlib.sha256(settings.encode()).digest()):
            raise InputError(
                "The processes of the training have different configurations or data.",
                where="the machines of the training",
                got=difference,
                hint="copy the configuration and the stores to every machine",
            )

    def check_weights(self, network: Network) -> None:
        """Check that all processes have the same weights, by their fingerprints.

        Raises:
            RwkvError: They differ.
        """
        if self.count == 1:
            return
        if difference := self._difference(weights_fingerprint(network.state_dict())):
            raise RwkvError(
                "The processes of the training have different weights.",
                got=difference,
                hint="rerun to continue from the last checkpoint, on machines whose GPUs or processors are of one "
                "kind, since others round differently; if they are, check their memory",
            )

    def _difference(self, mine: object) -> str:
        """Which processes have another value than the first one; empty if none has."""
        if self.count == 1:
            return ""
        values = [mine] * self.count
        dist.all_gather_object(values, mine)
        others = [str(rank) for rank, value in enumerate(values) if value != values[0]]
        return f"others in process {', '.join(others)} than in process 0" if others else ""

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.added([0.0])

    def stop(self, asked: Callable[[], signal.Signals | None]) -> Stop:
        """The agreement on when all stop. asked: the signal that asks this one to stop, or None."""
        return Stop(asked, self._store)

    def added(self, numbers: list[float]) -> list[float]:
        """Each of some numbers, added up over all processes."""
        if self.count == 1:
            return numbers
        total = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def connect(self, device: torch.device, sums: Iterator[Sum]) -> None:
        """Prepare sums on a device, by sums of the sizes of those to come."""
        # With a communicator of its own; the default one is for the CPU.
        self._group = dist.new_group(backend="nccl") if device.type == "cuda" else dist.group.WORLD
        for tensors in sums:
            self.add(tensors)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def add(self, tensors: Sum) -> None:
        """Start a sum over all processes. The current stream waits for awaited sums, and a CPU for the result."""
        for tensor in tensors.tensors:
            work = dist.all_reduce(tensor, group=self._group, async_op=True)
            assert work is not None
            self._started.append(work)
        if tensors.is_awaited:
            for work in self._started:
                work.wait()
            self._started.clear()


@contextmanager
def training_processes() -> Iterator[Processes]:
    """Connect to the other processes of torchrun, if there are any.

    If one ends early, all end within seconds. The first to fail says so, and the others are silent.

    Raises:
        RwkvError: The processes cannot connect.
    """
    if not is_one_of_several():
        yield Processes()
        return
    call_when_left_alone(_leave_without_torchrun)  # also while it connects, which may take minutes
    _check_store()
    store, rank, count = _connected()
    # A connection of its own: another thread may wait for a value in the store.
    news = dist.PrefixStore("news", store.clone())
    news.set_timeout(timedelta(seconds=_STORE_S))
    if rank > 0:
        log.setLevel(logging.CRITICAL)  # the first process says what all would

    processes = Processes(rank, count, news)

    def lost(other: int) -> NoReturn:
        if processes.stopped_by is not None:
            leave(_exit_code(ended_by(processes.stopped_by)))
        _leave_because(f"Process {other} of the {count} of this training", says=_is_first_to_say(news))

    with Watch(rank, count, store, lost) as watch:
        try:
            yield processes
        except (RwkvError, KeyboardInterrupt, OSError, ImportError) as error:
            # After a common stop the first one says so. If another one ended sooner, torchrun would end it.
            with suppress(KeyboardInterrupt):  # a further signal, such as torchrun's when the first process has ended
                watch.settle(_END_S if processes.stopped_by is not None and rank > 0 else _NEWS_S)
            if _is_first_to_say(news):
                raise
            raise SystemExit(_exit_code(error)) from error
        except Exception as error:
            if not (isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))):
                sys.excepthook(type(error), error, error.__traceback__)
                leave(RwkvError.exit_code)  # Python's own end may wait for the others
            watch.settle(_NEWS_OF_A_CONNECTION_S)  # which another process has closed by its end
            if not _is_first_to_say(news):
                raise SystemExit(RwkvError.exit_code) from error
            hint = "rerun to continue from the last checkpoint"
            what = "A connection between the processes of this training has failed."
            raise RwkvError(what, got=str(error)[:_MOST_LETTERS], hint=hint) from error


def _connected() -> tuple[Any, int, int]:
    """A store of this start of the processes, the number of this one, and their number."""
    try:
        store, rank, count = next(rendezvous("env://"))
        # torchrun keeps its store when it starts the processes again.
        store = dist.PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
        dist.init_process_group("gloo", store=dist.PrefixStore("gloo", store), rank=rank, world_size=count)
    except RuntimeError as error:
        hint = "check that the machines can reach one another, then rerun"
        what = "The processes of the training cannot connect."
        raise RwkvError(what, got=str(error)[:_MOST_LETTERS], hint=hint) from error
    return store, rank, count


def _check_store() -> None:
    """Leave if torchrun's store is gone: torchrun ended so early that this process never saw it.

    To connect would wait for half an hour. Torchrun has a store before it starts processes, unless it says otherwise.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    until_s = time.monotonic() + _REFUSED_S
    while time.monotonic() < until_s:
        try:
            socket.create_connection(address, _STORE_S).close()
            return
        except ConnectionRefusedError:
            time.sleep(_AGAIN_S)
        except OSError:  # perhaps a slow network
            return
    _leave_without_torchrun()


def _leave_without_torchrun() -> NoReturn:
    """End after torchrun has ended, and its store with it."""
    _leave_because("torchrun", says=os.environ["LOCAL_RANK"] == "0")


def _leave_because(lost: str, says: bool) -> NoReturn:
    if says:
        what = f"{lost} has ended, so the other processes end, too."
        hint = "rerun to continue from the last checkpoint; the number of processes may be another"
        log.setLevel(logging.ERROR)
        log.error("%s", RwkvError(what, hint=hint))
    leave(RwkvError.exit_code)


def _is_first_to_say(store: Any) -> bool:
    """Whether no other process has said why the training ends. Without torchrun's store, each says it."""
    try:
        return store.add(_SAID, 1) == 1
    except RuntimeError:
        return True


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 128 + (error.signal if isinstance(error, Stopped) else asked_to_end() or signal.SIGINT)
    return getattr(error, "exit_code", RwkvError.exit_code)
