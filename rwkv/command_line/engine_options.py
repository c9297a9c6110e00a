"""The options --engine and --address: where the work of a command is done."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rwkv.errors import InputError
from rwkv.extras import missing_package
from rwkv.workers import LocalPool, Pool


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where the work is done: in processes of this machine, or on a Ray cluster (docs/many-machines.md)",
    )
    parser.add_argument(
        "--address",
        help='with --engine ray: the address of the cluster, host:port; by default "auto", a cluster on this machine',
    )


@contextmanager
def pool_of(
    options: argparse.Namespace, processes: int, paths: Sequence[Path], cpus: int = 1, gpus: int = 0
) -> Iterator[Pool]:
    """The pool of the parsed options.

    Args:
        options: The options of `add_engine`.
        processes: The processes of a local pool.
        paths: Databases, files and folders that every node of a cluster must have.
        cpus: CPU cores of a task in a cluster.
        gpus: GPUs of a task in a cluster.

    Raises:
        InputError: Ray is not installed, the cluster cannot be reached, or --address lacks --engine ray.
    """
    if options.engine == "local":
        if options.address is not None:
            what, hint = "An address needs --engine ray.", "add --engine ray, or omit --address"
            raise InputError(what, where="--address", got=options.address, hint=hint)
        yield LocalPool(processes)
        return
    try:
        from rwkv.data.database import identity
        from rwkv.ray_pool import ray_pool
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise missing_package("ray", "--engine ray") from error
    with ray_pool(options.address or "auto", paths, identity, cpus, gpus) as pool:
        yield pool
