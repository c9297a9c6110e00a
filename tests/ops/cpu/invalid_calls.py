"""Calls of the native operators with one argument spoiled, drawn from a seed. Each must raise.

python -m tests.ops.cpu.invalid_calls SEED COUNT: makes COUNT of each operator, names each before it is made, so that
the last line names the one that ended the process, and exits with 1 where one was accepted.
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from tests.ops.cpu.valid_calls import Call, Free, valid_calls

# Raised by the operators, and by PyTorch's own reading of their arguments.
REFUSALS = (RuntimeError, TypeError, ValueError, IndexError)

# Beyond every limit; near the ends of int64, where sums and products wrap around.
FAR = (-1, -(2**31), -(2**62), -(2**63), 2**40, 2**62, 2**63 - 1)

MISSING = object()

Spoil = Callable[[Any, random.Random], Any]


def other_dtype(x: Tensor, rng: random.Random) -> Tensor:
    dtypes = [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.int32, torch.bool, torch.complex64]
    return x.to(rng.choice([dtype for dtype in dtypes if dtype != x.dtype]))


def strided(x: Tensor, rng: random.Random) -> Tensor | None:
    if x.numel() < 2:
        return None
    return torch.stack([x, x], -1)[..., 0]


def of_another_size(x: Tensor, rng: random.Random, free: Sequence[int] = ()) -> Tensor | None:
    dimensions = [d for d in range(x.dim()) if d not in free]
    if not dimensions:
        return None
    dimension = rng.choice(dimensions)
    size = x.shape[dimension]
    wanted = rng.choice([n for n in (0, 1, size - 1, size + 1, size + rng.randrange(1, 50)) if n >= 0 and n != size])
    shape = list(x.shape)
    shape[dimension] = wanted
    return torch.zeros(shape, dtype=x.dtype)


def of_other_dimensions(x: Tensor, rng: random.Random) -> Tensor:
    # What has one number per row may be given neither as one number nor as a column.
    return rng.choice(
        [x.unsqueeze(0), x.unsqueeze(-1), torch.zeros((), dtype=x.dtype), torch.zeros(0, 0, 0, 0, 0).to(x)]
    )


def endless(x: Tensor, rng: random.Random) -> Tensor:
    """A tensor without entries whose product of sizes overflows."""
    shape = [rng.choice([2**62, 2**61 + 1, 2**40])] + [0] * max(1, x.dim() - 1)
    rng.shuffle(shape)
    return torch.empty(shape, dtype=x.dtype)


def repeated(x: Tensor, rng: random.Random) -> Tensor:
    """A tensor of one number with stride 0."""
    return torch.zeros(1, dtype=x.dtype).expand([2**20] * min(x.dim(), 2) or [2**20])


def without_memory(x: Tensor, rng: random.Random) -> Tensor | None:
    if x.numel() == 0:
        return None
    copy = x.clone()
    size = copy.untyped_storage().nbytes()
    copy.untyped_storage().resize_(rng.choice([0, size - 1, size // 2]))
    return copy


def elsewhere(x: Tensor, rng: random.Random) -> Tensor:
    return x.to("meta") if rng.random() < 0.5 or x.dim() == 0 else x.to_sparse()


def something_else(x: object, rng: random.Random) -> object:
    return rng.choice(["x", [[]], object(), {}])


TENSORS: tuple[Spoil, ...] = (
    other_dtype,
    strided,
    of_another_size,
    of_other_dimensions,
    endless,
    repeated,
    without_memory,
    elsewhere,
    something_else,
)


def spoiled_list(values: Sequence[Any], rng: random.Random, free: Free) -> Any:
    """A list that is too long or too short, or with one entry spoiled."""
    place = rng.randrange(len(values))
    kind = rng.randrange(6)
    if kind == 0:
        return values[:-1] if rng.random() < 0.5 else values[: rng.randrange(len(values))]
    if kind == 1:
        return [*values, values[place]]
    entry = spoiled(values[place], rng, free)
    return None if entry is None else [*values[:place], entry, *values[place + 1 :]]


def spoiled(value: Any, rng: random.Random, free: Free) -> Any:
    """An invalid value for an argument; None if the chosen way does not apply."""
    if isinstance(value, Tensor):
        way = rng.choice([way for way in TENSORS if way.__name__ not in free.ways])
        return way(value, rng, free.dimensions) if way is of_another_size else way(value, rng)
    if isinstance(value, list):
        return spoiled_list(value, rng, free)
    if isinstance(value, bool) or value is None:
        return None
    return rng.choice([*FAR, "x"]) if isinstance(value, int) and "number" not in free.ways else "x"


def wrong_source(source: Tensor, rng: random.Random, rows_before: int) -> Tensor:
    rows, source = len(source), source.clone()
    row = rng.randrange(rows)
    later = [row + 1] if row + 1 < rows else []
    source[row] = rng.choice([*FAR, rows + rows_before, *later])
    return source


def wrong_offsets(offsets: Tensor, rng: random.Random) -> Tensor:
    """Offsets that do not start at 0, do not end at the rows, decrease, or are empty."""
    offsets, rows = offsets.clone(), int(offsets[-1])
    kind = rng.randrange(5)
    if kind == 0:
        offsets[0] = rng.choice([1, *FAR])
    elif kind == 1:
        offsets[-1] = rng.choice([rows - 1, rows + 1, 0, *FAR])
    elif kind == 2:
        offsets[1] = rng.choice([rows + 1, *FAR])
    elif kind == 3:
        offsets = offsets.flip(0)
    else:
        return offsets[:0]
    return offsets


def invalid_calls(call: Call, rng: random.Random) -> Iterator[tuple[str, list[Any]]]:
    """An endless stream of descriptions and arguments of invalid calls."""
    names = [name for name in call.arguments if name not in call.unspoiled]
    while True:
        name = rng.choice(names)
        value, free = call.arguments[name], call.free.get(name, Free())
        if name == "v0" and (value is None or rng.random() < 0.3):
            entry = call.arguments["x"] if value is None else MISSING
        elif name == "source" and rng.random() < 0.5:
            entry = wrong_source(value, rng, len(call.arguments.get("before", ())))
        elif name == "offsets" and rng.random() < 0.6:
            entry = wrong_offsets(value, rng)
        else:
            entry = spoiled(value, rng, Free(free.dimensions, free.ways + call.free_ways))
        if entry is MISSING:
            yield f"{call.name}: {name} is missing", list((call.arguments | {name: None}).values())
        elif entry is not None:
            yield f"{call.name}: {name} = {described(entry)}", list((call.arguments | {name: entry}).values())


def described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.layout} {value.dtype} {tuple(value.shape)} {value.device}"
    if isinstance(value, list):
        return "[" + ", ".join(map(described, value)) + "]"
    return repr(value)


def main() -> int:
    seed, count = map(int, sys.argv[1:])
    accepted = 0
    for call in valid_calls():
        rng = random.Random(f"{seed} {call.name}")
        call.run(*call.arguments.values())
        calls = invalid_calls(call, rng)
        for _ in range(count):
            name, arguments = next(calls)
            print(name, flush=True)
            try:
                call.run(*arguments)
            except REFUSALS:
                continue
            accepted += 1
            print("accepted", flush=True)
    print("all made", flush=True)
    return int(accepted > 0)


if __name__ == "__main__":
    sys.exit(main())
