"""The engine on the largest collections, with most states on disk, beside a small collection in memory.

python -m bench.engine_large [--cards 250000] [--notes 200000] [--memory 1000000000] [--reviews 20000] [--folder DIR]

First every card is learnt once, a hundred on each day. Then days of normal locality are measured: two hundred cards on
each day, half of them from the thousand learnt last and half from all, one in four answered twice. DIR needs 100 kB for
each card.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from bench.histories import random_network
from bench.report import print_json
from rwkv.data.history import CardTable, RevlogTable
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network
from rwkv.model.torch_runner import fastest_runner
from rwkv.native.library import is_built
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.state_store import DEFAULT_MEMORY

_LEARNT_A_DAY, _REVIEWED_A_DAY, _LATEST, _AGAIN = 100, 200, 1000, 0.25
_SMALL_CARDS, _SMALL_NOTES = 4000, 3200
_DECKS, _PRESETS = 30, 3


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", type=int, default=250_000)
    parser.add_argument("--notes", type=int, default=200_000)
    parser.add_argument("--memory", type=int, default=DEFAULT_MEMORY)
    parser.add_argument("--reviews", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = random_network()
    small = _measure(network, _SMALL_CARDS, _SMALL_NOTES, options.reviews)
    large = _measure(network, options.cards, options.notes, options.reviews, options.memory, options.folder)
    share = large["reviews_per_s"] / small["reviews_per_s"]
    figures = {
        "native": is_built(),
        "threads": options.threads,
        "memory": options.memory,
        "in_memory": small,
        "on_disk": large,
        "share_of_in_memory_rate": share,
    }
    for name, value in figures.items():
        print(f"{name:<26} {value}")
    print_json("engine_large", figures)


def _measure(
    network: Network, cards: int, notes: int, reviews: int, memory: int = DEFAULT_MEMORY, folder: Path | None = None
) -> dict[str, float]:
    rng = np.random.default_rng(1)
    learnt, reviewed = _histories(cards, notes, reviews, rng)
    before = _private_bytes()
    engine = Engine(fastest_runner(network), draw_sequence(1), memory=memory, folder=folder)
    highest = before

    def feed(table: RevlogTable) -> None:
        nonlocal highest
        for _ in engine.feeding(table):
            highest = max(highest, _private_bytes())

    learning_s, reviewing_s = (_seconds(feed, table) for table in (learnt, reviewed))
    engine.close()
    return {
        "cards": cards,
        "notes": notes,
        "learnt_per_s": len(learnt) / learning_s,
        "reviews_per_s": len(reviewed) / reviewing_s,
        "private_memory_mb": (highest - before) / 1e6,
    }


def _seconds(feed: Callable[[RevlogTable], None], table: RevlogTable) -> float:
    start = perf_counter()
    feed(table)
    return perf_counter() - start


def _private_bytes() -> int:
    """The private memory of this process, without files mapped into it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def _histories(cards: int, notes: int, reviews: int, rng: np.random.Generator) -> tuple[RevlogTable, RevlogTable]:
    """Two histories: every card reviewed once, and the days after."""
    days = cards // _LEARNT_A_DAY
    learnt = _table(np.arange(cards), np.arange(cards) // _LEARNT_A_DAY, _card_table(cards, notes, rng), 1, rng)
    later, last = [], learnt.day_offset.astype(np.int64)
    for day in range(days, days + reviews // _REVIEWED_A_DAY):
        latest = rng.integers(max(0, cards - _LATEST), cards, _REVIEWED_A_DAY // 2)
        today = np.unique(np.append(latest, rng.integers(0, cards, _REVIEWED_A_DAY // 2)))
        again = today[rng.random(len(today)) < _AGAIN]
        elapsed = np.append(day - last[today], np.zeros(len(again), np.int64))
        later.append((np.append(today, again), np.full(len(today) + len(again), day), elapsed))
        last[today] = day
    card, day_offset, elapsed_days = (np.concatenate(columns) for columns in zip(*later, strict=True))
    reviewed = _table(card, day_offset, learnt.cards, cards + 1, rng)
    elapsed_s = np.where(elapsed_days > 0, 86_400 * elapsed_days, 600)
    return learnt, replace(reviewed, elapsed_days=elapsed_days.astype(np.int32), elapsed_s=elapsed_s)


def _card_table(cards: int, notes: int, rng: np.random.Generator) -> CardTable:
    """Cards of which every note has at least one."""
    note = np.append(np.arange(min(cards, notes)), rng.integers(0, notes, max(0, cards - notes))).astype(np.int32)
    deck = rng.integers(0, _DECKS, notes)[note].astype(np.int32)
    present = np.zeros(cards, bool)
    return CardTable(note, deck, (deck % _PRESETS).astype(np.int32), present, present, present)


def _table(
    card: np.ndarray, day: np.ndarray, cards: CardTable, first_review_th: int, rng: np.random.Generator
) -> RevlogTable:
    count = len(card)
    return RevlogTable(
        user=1,
        review_th=np.arange(first_review_th, first_review_th + count, dtype=np.int32),
        card=card.astype(np.int32),
        rating=rng.choice(np.arange(1, 5), count, p=[0.1, 0.1, 0.7, 0.1]).astype(np.int8),
        state=np.full(count, 2, np.int8),
        duration_ms=rng.integers(1000, 30_000, count),
        day_offset=day.astype(np.int32),
        elapsed_days=np.full(count, -1, np.int32),
        elapsed_s=np.full(count, -1, np.int64),
        cards=cards,
    )


if __name__ == "__main__":
    main()
