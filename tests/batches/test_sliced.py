"""Whole histories for a GPU: nothing but what its kernels read, in one piece that survives every move."""

import pickle
from itertools import pairwise

import torch
from torch import Tensor

from rwkv.batches.single_buffer import OnePiece
from rwkv.batches.sliced import gpu_slices, plain_slices, stored_rows
from rwkv.model.gpu_batch import GpuBatch, gpu_batch
from tests.ops.gpu import needs_gpu
from tests.ops.triton.stored_rows import plain_inputs
from tests.training.learners import some_batch

BATCH = some_batch(1, users=3, reviews=60)
PART_ROWS = 100


def tensors(batch: GpuBatch) -> list[Tensor]:
    found: list[Tensor] = []
    batch.map(lambda x: found.append(x) or x)
    return found


def in_one() -> OnePiece[GpuBatch]:
    return gpu_slices(BATCH, PART_ROWS)


def assert_same(ours: GpuBatch, theirs: GpuBatch) -> None:
    for our, their in zip(tensors(ours), tensors(theirs), strict=True):
        assert our.dtype == their.dtype
        assert torch.equal(our, their)
    for our_parts, their_parts in zip(ours.streams, theirs.streams, strict=True):
        for our, their in zip(our_parts, their_parts, strict=True):
            assert (our.goes_on, our.is_cut, our.last_review) == (their.goes_on, their.is_cut, their.last_review)


def test_stored_rows_have_the_inputs_of_the_batch() -> None:
    assert torch.equal(plain_inputs(stored_rows(BATCH)), BATCH.inputs())


def test_one_piece_holds_the_batch() -> None:
    expected = gpu_batch(stored_rows(BATCH), BATCH.layouts, PART_ROWS)
    piece = in_one()
    assert all(x.is_meta for x in tensors(piece.template))
    assert_same(piece.batch, expected)
    assert_same(pickle.loads(pickle.dumps(piece)).batch, expected)
    assert_same(piece.to(torch.device("cpu")).batch, expected)


@needs_gpu
def test_one_piece_goes_to_a_gpu() -> None:
    pinned = in_one().pin_memory()
    assert pinned.data.is_pinned()
    there = pinned.to(torch.device("cuda")).batch
    assert all(x.is_cuda for x in tensors(there))
    assert_same(there.map(Tensor.cpu), in_one().batch)


def test_tensors_lie_side_by_side_where_kernels_like_them() -> None:
    piece = in_one()
    begin, end = piece.data.data_ptr(), piece.data.data_ptr() + piece.data.nbytes
    places = sorted((x.data_ptr(), x.data_ptr() + x.nbytes) for x in tensors(piece.batch) if x.numel())
    assert all((first - begin) % 128 == 0 for first, _ in places)
    assert all(stop <= following for (_, stop), (following, _) in pairwise([*places, (end, end)]))


def test_plain_slices_keep_the_batch_and_its_layouts() -> None:
    plain = plain_slices(BATCH, PART_ROWS)
    assert len(plain) == len(BATCH)
    for parts, layout in zip(plain.parts, BATCH.layouts, strict=True):
        assert torch.equal(torch.cat([part.places for part in parts]), layout.order)
