"""Batches for the GPU kernels hold the same data as the layouts from which they are made."""

import pytest
import torch

from rwkv.model.gpu_batch import GpuBatch, coded_entities, gpu_batch
from rwkv.model.packing import StreamLayout, cut_stream
from rwkv.ops.triton.run_plan import plan_runs
from rwkv.vocab import STREAMS
from tests.networks import layouts_of, random_history
from tests.ops.triton.stored_rows import random_rows
from tests.typed import not_none

ROWS = 130

PART_ROWS = pytest.mark.parametrize("part_rows", [1, 7, 50, ROWS - 1, ROWS, 10**6])


def made(part_rows: int) -> tuple[GpuBatch, list[StreamLayout]]:
    layouts = layouts_of(*random_history(1, ROWS, cards=9))
    return gpu_batch(random_rows(2, ROWS), layouts, part_rows), layouts


@PART_ROWS
def test_rows_are_permuted_between_streams_and_back(part_rows: int) -> None:
    """A stream in one part leaves its order behind; one in several parts puts its rows back."""
    batch, layouts = made(part_rows)
    rows = torch.arange(ROWS)
    for parts, layout in zip(batch.streams.parts, layouts, strict=True):
        assert all(0 < len(part.order) <= part_rows for part in parts)
        in_order = torch.cat([rows.index_select(0, part.order) for part in parts])
        assert torch.equal(in_order, layout.order)
        rows = in_order if len(parts) == 1 else rows
    assert torch.equal(
        rows if batch.streams.back is None else rows.index_select(0, batch.streams.back), torch.arange(ROWS)
    )


@PART_ROWS
def test_parts_match_the_plain_form(part_rows: int) -> None:
    batch, layouts = made(part_rows)
    for parts, layout in zip(batch.streams.parts, layouts, strict=True):
        for ours, theirs in zip(parts, cut_stream(layout, part_rows), strict=True):
            assert torch.equal(ours.source, theirs.source)
            assert ours.goes_on == theirs.goes_on
            assert torch.equal(ours.last_review, theirs.last_review)
            for name, expected in vars(plan_runs(theirs.groups.offsets, theirs.groups.is_query)).items():
                assert torch.equal(getattr(ours.groups.plans.runs, name), expected), name


def test_places_are_int32() -> None:
    batch, _ = made(50)
    tensors = [x for parts in batch.streams.parts for part in parts for x in (part.order, part.source)]
    whole, _ = made(ROWS)
    assert {x.dtype for x in (*tensors, not_none(whole.streams.back))} == {torch.int32}


def test_entities_are_in_the_order_of_the_hash() -> None:
    entities = {stream: torch.tensor([number]) for number, stream in enumerate(reversed(STREAMS))}
    expected = [entities[stream] for stream in ("card_id", "note_id", "deck_id", "preset_id")]
    assert torch.equal(coded_entities(entities), torch.stack(expected))
