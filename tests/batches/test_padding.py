"""Padded batches: the added rows change nothing, and all tensors lie in a single buffer."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from rwkv.batches.collate import Batch
from rwkv.batches.padding import PaddedBatch, pad_batch
from rwkv.model.packing import PADDED_GROUP, pack_stream
from rwkv.ops.groups import PackedGroups
from rwkv.ops.triton.run_plan import RunPlan
from rwkv.pytree import named_tensors
from rwkv.vocab import STREAMS
from tests.training.learners import some_batch

FULL_ROWS = 800

# Groups of a few rows, and groups of more than LONGEST_SCAN runs, which are scanned in two levels.
SHORT, LONG = some_batch(1, users=3, reviews=60), some_batch(2, users=2, reviews=500)
BATCHES = pytest.mark.parametrize("batch", [SHORT, LONG], ids=["short", "long"])


def tensors(batch: Batch) -> list[Tensor]:
    return list(named_tensors(batch).values())


def covered(ranges: Tensor) -> list[int]:
    return [place for first, end in ranges.tolist() for place in range(first, end)]


@BATCHES
def test_added_rows_come_last_and_have_no_label(batch: Batch) -> None:
    padded, rows = pad_batch(batch, FULL_ROWS).batch, len(batch)
    assert len(padded) % (FULL_ROWS // 8) == 0
    assert 0 <= len(padded) - rows < FULL_ROWS // 8
    assert torch.equal(padded.inputs()[:rows], batch.inputs())
    assert all(torch.equal(x[:rows], vars(batch.labels)[name]) for name, x in vars(padded.labels).items())
    assert padded.is_query[rows:].all()
    assert not padded.labels.has_label[rows:].any()
    assert not padded.labels.is_equalize[rows:].any()


@BATCHES
def test_added_rows_are_separate_groups_in_every_stream(batch: Batch) -> None:
    padded, rows = pad_batch(batch, FULL_ROWS).batch, len(batch)
    for ours, theirs in zip(padded.layouts, batch.layouts, strict=True):
        assert torch.equal(ours.order[:rows], theirs.order)
        assert torch.equal(ours.order[ours.inverse], torch.arange(len(padded)))
        assert torch.equal(ours.source[:rows], theirs.source)
        assert torch.equal(ours.source[rows:], torch.arange(rows, len(padded)))
        lengths = ours.groups.offsets.diff().tolist()
        count = theirs.groups.groups
        assert lengths[:count] == theirs.groups.offsets.diff().tolist()
        added = -(-(len(padded) - rows) // PADDED_GROUP)
        assert sum(lengths[count : count + added]) == len(padded) - rows
        assert max(lengths[count : count + added], default=0) <= PADDED_GROUP
        assert set(lengths[count + added :]) == {0}
        group = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        assert torch.equal(ours.group, group)


def test_short_groups_of_added_rows_need_no_scan_in_a_full_batch() -> None:
    batch = some_batch(1, users=400, reviews=60)
    rows = len(batch)
    padded = pad_batch(batch, 8 * (rows // 9)).batch
    assert len(padded) > rows + PADDED_GROUP
    cards = padded.layouts[0].groups
    assert int(cards.offsets.diff().max()) <= PADDED_GROUP
    assert int(cards.runs.runs[:, 4].max()) == -1


@BATCHES
def test_the_plan_covers_every_row_once_in_order(batch: Batch) -> None:
    for layout in pad_batch(batch, FULL_ROWS).batch.layouts:
        plan = layout.groups.runs
        rows = list(range(len(layout.order)))
        assert covered(plan.chunks[:, :2]) == rows
        assert covered(plan.runs[plan.runs[:, 0].argsort(stable=True), :2]) == rows
        for first, end, chunk, group, _ in plan.runs[plan.runs[:, 0] < plan.runs[:, 1]].tolist():
            assert int(layout.groups.offsets[group]) <= first <= end <= int(layout.groups.offsets[group + 1])
            assert int(plan.chunks[chunk, 0]) == first


@BATCHES
def test_the_plan_knows_the_rows_that_are_no_queries(batch: Batch) -> None:
    for layout in pad_batch(batch, FULL_ROWS).batch.layouts:
        for first, end, bits in layout.groups.runs.chunks.tolist():
            assert bits == sum(1 << row - first for row in range(first, end) if not layout.groups.is_query[row])


@BATCHES
def test_long_runs_begin_first(batch: Batch) -> None:
    for layout in pad_batch(batch, FULL_ROWS).batch.layouts:
        first, end = layout.groups.runs.runs[:, :2].unbind(1)
        assert (end - first).diff().max() <= 0


@BATCHES
@pytest.mark.parametrize("padded", [False, True], ids=["plain", "padded"])
def test_runs_of_a_group_are_scanned_together(batch: Batch, padded: bool) -> None:
    """The slots of a group's runs lie in the range of its scan, in order; idle ranges hold no used slot."""
    for layout in (pad_batch(batch, FULL_ROWS).batch if padded else batch).layouts:
        plan = layout.groups.runs
        slots = scanned_slots(plan)
        for group in range(layout.groups.groups):
            expected = [slot for *_, run_group, slot in plan.runs.tolist() if run_group == group and slot >= 0]
            assert slots.get(group, []) == expected
        for slot, run in enumerate(plan.slot_run.tolist()):
            assert int(plan.runs[run, 4]) in (slot, -1)


def scanned_slots(plan: RunPlan) -> dict[int, list[int]]:
    """The used slots that each group's scan visits, by group."""
    used = {int(slot) for slot in plan.runs[:, 4] if slot >= 0}
    scanned: dict[int, list[int]] = {}
    for group, scan in zip(plan.scanned_group.tolist(), plan.group_scan.tolist(), strict=True):
        items = range(*scan)
        slots = [slot for span in items for slot in range(*plan.spans[span].tolist())] if len(plan.spans) else items
        if mine := [slot for slot in slots if slot in used]:
            scanned[group] = scanned.get(group, []) + mine
    return scanned


def test_the_batches_have_both_kinds_of_scan() -> None:
    plans = [layout.groups.runs for batch in (SHORT, LONG) for layout in batch.layouts]
    assert {bool(len(plan.spans)) for plan in plans if len(plan.slot_run)} == {True, False}


def test_all_padded_plans_run_the_same_kernels() -> None:
    """With slots and spans, also where no group is scanned; so the kernels of one batch are those of all."""
    cards = some_batch(1, users=400, reviews=60).layouts[0].groups
    assert len(cards.runs.slot_run) == 0
    batches = [pad_batch(batch, FULL_ROWS).batch for batch in (SHORT, LONG)]
    plans = [layout.groups.runs for batch in batches for layout in batch.layouts]
    for plan in (*plans, cards.padded(len(cards.is_query), cards.groups + 1).runs):
        assert min(map(len, (plan.slot_run, plan.spans, plan.group_scan))) > 0


@BATCHES
def test_a_padded_batch_lies_in_a_single_buffer(batch: Batch) -> None:
    padded = pad_batch(batch, FULL_ROWS)
    moved = PaddedBatch(padded.data.clone(), padded.template)
    copied = tensors(moved.batch)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(copied, tensors(padded.batch), strict=True))
    begin, end = moved.data.data_ptr(), moved.data.data_ptr() + moved.data.nbytes
    places = sorted((x.data_ptr(), x.data_ptr() + x.nbytes) for x in copied if x.numel())
    assert begin <= places[0][0]
    assert places[-1][1] <= end
    assert all(stop <= following for (_, stop), (following, _) in pairwise(places))


def test_equal_sizes_have_equal_shapes() -> None:
    shapes_by_sizes: dict[tuple[tuple[int, ...], ...], list[tuple[torch.Size, torch.dtype]]] = {}
    for seed in range(6):
        padded = pad_batch(some_batch(seed, users=3, reviews=60), FULL_ROWS)
        shapes = [(x.shape, x.dtype) for x in tensors(padded.batch)]
        assert shapes_by_sizes.setdefault(padded.sizes, shapes) == shapes
    assert len(shapes_by_sizes) < 6


def test_a_batch_may_have_as_many_groups_as_rows() -> None:
    """More groups than any batch of the published size has."""
    rows = 300_000
    small = some_batch(1, users=1, reviews=20)
    pick = torch.arange(rows) % len(small)
    layouts = tuple(pack_stream(torch.arange(rows), small.is_query[pick]) for _ in STREAMS)
    batch = replace(
        small,
        **{name: getattr(small, name)[pick] for name in ("features", "is_query", "sequence", "day", "first_day")},
        entities={stream: ids[pick] for stream, ids in small.entities.items()},
        labels=replace(small.labels, **{name: x[pick] for name, x in vars(small.labels).items()}),
        layouts=layouts[:1],
    )
    (layout,) = pad_batch(batch, rows).batch.layouts
    assert layout.groups.groups > rows


@pytest.mark.parametrize("lengths", [[4096], [2048, 2000, 48], [16] * 256, [1] * 300 + [3796]])
def test_the_lengths_of_groups_do_not_change_the_sizes_of_a_plan(lengths: list[int]) -> None:
    """Whether scans are long, short or missing; so few batches need a recording of their own."""
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), torch.tensor(lengths).cumsum(0)])
    plan = PackedGroups(offsets, torch.zeros(4096, dtype=torch.bool)).padded(4096, 512).runs
    assert {name: tuple(x.shape) for name, x in vars(plan).items()} == {
        "chunks": (4096 // 16 + 512, 3),
        "runs": (512 + 1024, 5),
        "slot_run": (1024,),
        "scanned_group": (256,),
        "group_scan": (256, 2),
        "spans": (256, 2),
    }


@given(kinds=st.lists(st.tuples(st.integers(1, 20_000), st.integers(1, 2_000)), min_size=1, max_size=4))
@example(kinds=[(144, 643)])  # groups of nine chunks in runs of eight, the most runs
@settings(max_examples=40, deadline=None)
def test_the_plan_of_any_groups_fits_the_padded_sizes(kinds: list[tuple[int, int]]) -> None:
    """In batches up to those of evaluation, whose groups are given by their length and number."""
    step, most = 8_192, 262_144
    lengths = torch.cat([torch.full((count,), length) for length, count in kinds])
    lengths = lengths[lengths.cumsum(0) <= most]
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    rows = int(offsets[-1])
    groups = PackedGroups(offsets, torch.arange(rows) % 2 == 0)
    plan = groups.padded(-(-rows // step) * step, len(lengths) + step // PADDED_GROUP + 1).runs
    used = plan.runs[:, 4].max() + 1
    assert used == 0 or used < len(plan.slot_run), "no slot is left for runs without rows"
