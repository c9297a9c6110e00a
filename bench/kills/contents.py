"""What lies in the files of a command, read as the project reads them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from bench.kills.inputs import LONG_DATA, SIZE, WEIGHTS
from bench.kills.save_states import USER
from rwkv.data.database import Database
from rwkv.data.revlogs import read_history
from rwkv.model.checkpoint import read_optimizer, read_weights
from rwkv.recurrent.engine import Engine

Contents = dict[str, bytes]

# Files that a killed command may leave and the next one takes over.
_PASSING = (".tmp", ".lock")
_READERS_TABLE = "lock.mdb"


def remains(out: Path, given: Path) -> Contents:
    """The parts of the files that never change once written: items of databases, lines of logs and results, files.

    Raises whatever reading raises.
    """
    return {name: value for file in _files(out) for name, value in _parts(file, out, given)}


def results(out: Path) -> Contents:
    """All files of a finished command byte by byte; databases by item, and imports without the time of the import."""
    found: Contents = {}
    for file in _all_files(out):
        name = str(file.relative_to(out))
        if file.name == "data.mdb":
            found |= dict(_items(file, name))
        elif file.name == "info.json":
            found[name] = _facts(file)
        else:
            found[name] = file.read_bytes()
    return found


def _all_files(out: Path) -> list[Path]:
    return [path for path in sorted(out.rglob("*")) if path.is_file() and path.name != _READERS_TABLE]


def _files(out: Path) -> Iterator[Path]:
    for path in _all_files(out):
        is_staged = any(part.startswith(".") for part in path.relative_to(out).parts)
        if not is_staged and path.suffix not in _PASSING:
            yield path


def _parts(file: Path, out: Path, given: Path) -> Iterator[tuple[str, bytes]]:
    name = str(file.relative_to(out))
    if file.name == "data.mdb":
        if file.stat().st_size:  # a kill before the first write leaves it empty
            yield from _items(file, name)
    elif file.suffix == ".jsonl":
        for line in file.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                json.loads(line)
                yield f"{name}: {line!r}", b""
    elif is_checkpoint(name):
        _read_checkpoint(file)
        yield name, file.read_bytes()
    elif file.suffix == ".parquet":
        pq.read_table(file)
        yield name, file.read_bytes()
    elif file.suffix == ".rwkv":
        engine = Engine.load(given / WEIGHTS, user=USER)
        engine.restore(file, read_history(given / LONG_DATA, USER))
        engine.close()
    else:  # notes, which change during a run
        json.loads(file.read_bytes())


def is_checkpoint(name: str) -> bool:
    """Whether a file of weights or of an optimiser's state has this name."""
    return name.endswith(".pth")


def parts_of(finished: Contents) -> Contents:
    """The contents of a finished command in the form of `remains`."""
    parts = dict(finished)
    for name, value in finished.items():
        if name.endswith(".jsonl"):
            parts |= {f"{name}: {line!r}": b"" for line in value.splitlines(keepends=True)}
    return parts


def _items(file: Path, name: str) -> Iterator[tuple[str, bytes]]:
    with Database(file.parent, SIZE, "", readonly=True) as database:
        yield from ((f"{name}: {key}", database.get(key) or b"") for key in database)


def _read_checkpoint(file: Path) -> None:
    if "_optim_" in file.name:
        read_optimizer([file])
    else:
        read_weights(file)


def _facts(file: Path) -> bytes:
    facts = json.loads(file.read_bytes())
    del facts["imported_at"]
    return json.dumps(facts).encode()
