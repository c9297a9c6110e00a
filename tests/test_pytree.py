"""Tensors of nested values are mapped one by one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rwkv.pytree import map_tensors


class Pair(NamedTuple):
    first: Tensor
    second: Tensor | None


@dataclass(frozen=True)
class Deep:
    pairs: tuple[Pair, ...]
    by_name: dict[str, list[Tensor]]
    count: int
    word: str = "word"


def deep() -> Deep:
    numbers = iter(range(10))
    make: Callable[[], Tensor] = lambda: torch.tensor(next(numbers))  # noqa: E731
    return Deep((Pair(make(), None), Pair(make(), make())), {"a": [make()], "b": []}, 7)


def test_every_tensor_is_mapped_once_in_order_and_other_values_stay() -> None:
    value, seen = deep(), []

    def add_ten(x: Tensor) -> Tensor:
        seen.append(int(x))
        return x + 10

    changed = map_tensors(add_ten, value)
    assert seen == [0, 1, 2, 3]
    assert changed == Deep(
        (Pair(torch.tensor(10), None), Pair(torch.tensor(11), torch.tensor(12))),
        {"a": [torch.tensor(13)], "b": []},
        7,
    )
    assert value == deep(), "what was given is left as it was"
    assert [type(pair) for pair in changed.pairs] == [Pair, Pair]


def test_a_single_tensor_and_values_without_tensors() -> None:
    assert map_tensors(lambda x: x + 1, torch.tensor(1)) == torch.tensor(2)
    values: tuple[object, ...] = (None, 3, "text", Deep, (), [], {}, Deep((), {}, 1))
    for value in values:
        assert map_tensors(lambda x: x + 1, value) == value
