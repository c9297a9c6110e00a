"""Batches on a GPU before they are asked for: each is copied there by a thread while the step before it runs."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

import torch

from rwkv.batches.padding import PaddedBatch


def staged(batches: Iterable[PaddedBatch], device: torch.device) -> Iterator[PaddedBatch]:
    """The batches on the device, in order, where the current stream finds them. Raises what the batches raise.

    Their memory is used again when what was begun on them before the next one was asked for is done.
    """
    copies = torch.cuda.Stream(device)
    ahead = iter(batches)
    # The first is asked for here: workers forked by the pool's thread would join it at their end, which is an error.
    waiting = chain(list(islice(ahead, 1)), ahead)

    def copy_next() -> PaddedBatch | None:
        padded = next(waiting, None)
        if padded is None:
            return None
        with torch.cuda.stream(copies):
            there = padded.to(device)
        # Until then the memory that is copied from must not be given away.
        copies.synchronize()
        return there

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(copy_next)
        while (batch := following.result()) is not None:
            following = thread.submit(copy_next)
            batch.data.record_stream(torch.cuda.current_stream(device))
            yield batch
