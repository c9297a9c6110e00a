"""Whole histories for a GPU: only what the kernels read, in a single buffer that can be pickled and moved."""

import pickle
from itertools import pairwise

import torch
from torch import Tensor

from rwkv.batches.single_buffer import SingleBuffer
from rwkv.batches.sliced import gpu_slices, plain_slices, stored_rows
from rwkv.model.gpu_batch import GpuBatch, gpu_batch
from rwkv.pytree import map_tensors, named_tensors
from tests.ops.gpu import needs_gpu
from tests.ops.triton.stored_rows import plain_inputs
from tests.training.learners import some_batch

BATCH = some_batch(1, users=3, reviews=60)
PART_ROWS = 100


def tensors(batch: GpuBatch) -> list[Tensor]:
    return list(named_tensors(batch).values())


def buffered() -> SingleBuffer[GpuBatch]:
    return gpu_slices(BATCH, PART_ROWS)


def assert_same(ours: GpuBatch, theirs: GpuBatch) -> None:
    for our, their in zip(tensors(ours), tensors(theirs), strict=True):
        assert our.dtype == their.dtype
        assert torch.equal(our, their)
    for our_parts, their_parts in zip(ours.streams.parts, theirs.streams.parts, strict=True):
        for our_part, their_part in zip(our_parts, their_parts, strict=True):
            assert (our_part.goes_on, our_part.kept) == (their_part.goes_on, their_part.kept)


def test_stored_rows_have_the_inputs_of_the_batch() -> None:
    assert torch.equal(plain_inputs(stored_rows(BATCH)), BATCH.inputs())


def test_a_single_buffer_holds_the_batch() -> None:
    expected = gpu_batch(stored_rows(BATCH), BATCH.layouts, PART_ROWS)
    buffer = buffered()
    assert all(x.is_meta for x in tensors(buffer.template))
    assert_same(buffer.batch, expected)
    assert_same(pickle.loads(pickle.dumps(buffer)).batch, expected)
    assert_same(buffer.to(torch.device("cpu")).batch, expected)


@needs_gpu
def test_a_single_buffer_moves_to_a_gpu() -> None:
    pinned = buffered().pin_memory()
    assert pinned.data.is_pinned()
    on_gpu = pinned.to(torch.device("cuda")).batch
    assert all(x.is_cuda for x in tensors(on_gpu))
    assert_same(map_tensors(Tensor.cpu, on_gpu), buffered().batch)


def test_tensors_are_aligned_and_do_not_overlap() -> None:
    buffer = buffered()
    begin, end = buffer.data.data_ptr(), buffer.data.data_ptr() + buffer.data.nbytes
    places = sorted((x.data_ptr(), x.data_ptr() + x.nbytes) for x in tensors(buffer.batch) if x.numel())
    assert all((first - begin) % 128 == 0 for first, _ in places)
    assert all(stop <= following for (_, stop), (following, _) in pairwise([*places, (end, end)]))


def test_plain_slices_keep_the_batch_and_its_layouts() -> None:
    plain = plain_slices(BATCH, PART_ROWS)
    assert len(plain) == len(BATCH)
    for parts, layout in zip(plain.streams.parts, BATCH.layouts, strict=True):
        assert torch.equal(torch.cat([part.order for part in parts]), layout.order)
