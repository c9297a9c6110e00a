"""Helpers for programs that run several commands, each with a configuration file."""

import json
from collections.abc import Mapping
from pathlib import Path

from rwkv.config_file import AnyConfig, load_config
from rwkv.errors import InputError, RwkvError


def write_config(path: Path, cls: type[AnyConfig], keys: Mapping[str, object]) -> AnyConfig:
    """Write a configuration file, and read it as the command does."""
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in keys.items())
    path.write_text("".join(lines), encoding="utf-8")
    return load_config(path, cls)


def label_filter_keys(out: Path, size: int) -> dict[str, object]:
    """The configuration keys of the database of benchmark keys in the folder `out`. size: in bytes at most."""
    return {"LABEL_FILTER_LMDB_PATH": str(out / "label_filter_db"), "LABEL_FILTER_LMDB_SIZE": size}


def must_succeed(exit_code: int, failure: str) -> None:
    """Raise RwkvError with the message `failure` if the exit code is not 0."""
    if exit_code != 0:
        raise RwkvError(failure, hint="see the messages above, and rerun to continue")


def last_checkpoint(folder: Path, prefix: str) -> Path:
    """The weights of the highest step of a run. Raises InputError if there are none."""
    checkpoints = list(folder.glob(f"{prefix}_[0-9]*.pth"))
    if not checkpoints:
        raise InputError(f"The run {prefix} has no checkpoint.", where=str(folder), hint="run its training first")
    return max(checkpoints, key=lambda path: int(path.stem.rpartition("_")[2]))
