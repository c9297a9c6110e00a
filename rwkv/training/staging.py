"""Staging batches on a GPU: a thread copies each batch there while the step before it runs."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

import torch

from rwkv.batches.padding import PaddedBatch


def staged(batches: Iterable[PaddedBatch], device: torch.device) -> Iterator[PaddedBatch]:
    """Copy batches to a device ahead of their use, and yield them in order, ready for the current stream.

    The memory of a batch is reused after the work that was started on it before the next batch was requested. Errors
    of the batches are passed on.
    """
    copy_stream = torch.cuda.Stream(device)
    iterator = iter(batches)
    # The first batch is fetched here. Workers forked in the pool's thread would try to join that thread at their end.
    remaining = chain(list(islice(iterator, 1)), iterator)

    def copy_next() -> PaddedBatch | None:
        padded = next(remaining, None)
        if padded is None:
            return None
        with torch.cuda.stream(copy_stream):
            on_device = padded.to(device)
        # The source's memory must not be freed before the copy is done.
        copy_stream.synchronize()
        return on_device

    # A thread starts with the first GPU as its current one.
    with ThreadPoolExecutor(1, initializer=torch.cuda.set_device, initargs=(copy_stream.device,)) as thread:
        following = thread.submit(copy_next)
        while (batch := following.result()) is not None:
            following = thread.submit(copy_next)
            batch.data.record_stream(torch.cuda.current_stream(device))
            yield batch
