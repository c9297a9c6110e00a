"""Predictions of the keys from whole histories, against plain loops over the rows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwkv.batches.collate import Batch, collate
from rwkv.batches.plan import Group, SegmentPlace
from rwkv.batches.sliced import PlainSlices, plain_slices
from rwkv.data.codec import StoredHistory
from rwkv.data.database import Database
from rwkv.data.encoded_user import encode_user
from rwkv.data.history import RevlogTable
from rwkv.data.key_store import KeySettings, KeyStore
from rwkv.data.keys import NO_KEYS, BenchmarkKeys
from rwkv.data.segments import Segment, segment_bounds, whole_history
from rwkv.data.store import ReviewStore
from rwkv.data.store_settings import StoreSettings
from rwkv.evaluation.history_predictions import (
    Targets,
    curve_weights,
    evaluation_batch,
    find_targets,
    last_rows,
    not_finite,
    predict_users,
)
from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.heads import Outputs
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network
from rwkv.ops.backend import Backend, Kernels
from tests.helpers import make_table, random_revlog, revlog_columns, tables
from tests.networks import small_network

CPU = torch.device("cpu")
BACKEND = Backend(CPU, Kernels.PLAIN)

# float32 sums in another order, in batches of another size.
TOLERANCE = 3e-6


def history(table: RevlogTable) -> Segment:
    return whole_history(table, np.zeros(len(table), bool))


def keys_of(review_ths: list[int]) -> BenchmarkKeys:
    """Keys with a distinct bin for each review."""
    ths = np.array(review_ths, np.int32)
    return BenchmarkKeys(ths, 1000 + ths)


def rows_by_hand(segment: Segment, review_th: int) -> tuple[int, int] | None:
    """The row of the card's previous review and the query row; None if the history lacks one of them."""
    query = [row for row in range(len(segment)) if segment.review_th[row] == review_th and segment.is_query[row]]
    if not query:
        return None
    cards = segment.ids["card_id"]
    before = [row for row in range(query[0]) if cards[row] == cards[query[0]] and not segment.is_query[row]]
    return (before[-1], query[0]) if before else None


# --- The rows that predict


@given(st.data())
def test_targets_are_those_of_a_plain_search(data: st.DataObject) -> None:
    table = data.draw(tables())
    known = table.review_th.tolist()
    unknown = sorted({*range(1, known[-1] + 3)} - {*known})
    wanted = sorted(data.draw(st.sets(st.sampled_from(known + unknown))))
    start = data.draw(st.integers(0, 1000))
    segment = history(table)
    expected = {th: rows for th in wanted if (rows := rows_by_hand(segment, th)) is not None}

    targets = find_targets(segment, keys_of(wanted), start)
    review = [known.index(th) for th in expected]
    assert targets.user == table.user
    assert targets.review_th.tolist() == list(expected)
    assert targets.bins.tolist() == [1000 + th for th in expected]
    assert targets.ahead_row.tolist() == [start + ahead for ahead, _ in expected.values()]
    assert targets.imm_row.tolist() == [start + imm for _, imm in expected.values()]
    assert targets.y.tolist() == [int(table.rating[row] > 1) for row in review]
    assert targets.elapsed_s.tolist() == [int(table.elapsed_s[row]) for row in review]
    assert len(targets) == len(expected)
    assert targets.left_out == len(wanted) - len(expected)


def lost_beginning() -> RevlogTable:
    """Reviews 1, 3 and 5 of card 1; reviews 2 and 4 of card 2, whose elapsed time shows that earlier ones are lost."""
    columns = revlog_columns([1, 2, 1, 2, 1], [0, 10, 90_000, 180_000, 190_000], rating=[3, 3, 1, 4, 2])
    columns["elapsed_days"][1], columns["elapsed_seconds"][1] = 4, 350_000
    return make_table(columns)


def test_keys_without_an_earlier_review_are_left_out_and_counted() -> None:
    """A first review, one whose earlier reviews are lost, and two that are not in the history."""
    targets = find_targets(history(lost_beginning()), keys_of([1, 2, 3, 4, 5, 6, 99]))
    assert targets.review_th.tolist() == [3, 4, 5]
    assert targets.y.tolist() == [0, 1, 1]
    assert targets.elapsed_s.tolist() == [90_000, 179_990, 100_000]
    assert targets.left_out == 4


def test_no_keys_make_no_targets() -> None:
    targets = find_targets(history(lost_beginning()), NO_KEYS)
    assert len(targets) == 0
    assert targets.left_out == 0


# --- The predictions


@dataclass(frozen=True)
class Example:
    """Two users in one batch, the targets of the second, and the network's outputs for all rows."""

    network: Network
    batch: Batch
    targets: Targets
    outputs: Outputs


@pytest.fixture(scope="module")
def example() -> Example:
    segments = [history(make_table(random_revlog(seed, 60, 9), user=seed)) for seed in (1, 2)]
    batch = collate(segments, [draw_sequence(segment.user) for segment in segments])
    targets = find_targets(segments[1], keys_of(list(range(10, 61))), len(segments[0]))
    assert len(targets) > 40
    network = small_network()
    with torch.no_grad():
        return Example(network, batch, targets, network(batch.inputs(), batch.layouts))


COLUMNS = ("review_th", "bins", "ahead_row", "imm_row", "y", "elapsed_s")

# Slices of 16 rows also cut the targets.
SLICES = pytest.mark.parametrize("slice_rows", [16, 16_384])


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda rows: monkeypatch.setattr("rwkv.evaluation.history_predictions.rows_of_a_slice", lambda device: rows)


@SLICES
def test_predictions_are_those_of_a_plain_loop(example: Example, slice_rows: int, cut: Callable[[int], None]) -> None:
    cut(slice_rows)
    targets, outputs = example.targets, example.outputs
    x = last_rows(example.network, plain_slices(example.batch, slice_rows))
    (predictions,) = predict_users(example.network, x, [targets])
    for name in ("user", "review_th", "y", "bins"):
        assert getattr(predictions, name) is getattr(targets, name)
    assert predictions.label_elapsed_seconds is targets.elapsed_s
    assert [p.dtype for p in (predictions.p_ahead, predictions.p_imm, predictions.p_all)] == [np.float32] * 3
    assert predictions.p_all.shape == (len(targets), 4)
    for j in range(len(targets)):
        ahead, imm = targets.ahead_row[j : j + 1], targets.imm_row[j : j + 1]
        elapsed_s = torch.from_numpy(targets.elapsed_s[j : j + 1])
        curve = curve_logits(outputs.w_logits[ahead], outputs.ahead_logits[ahead], elapsed_s)
        assert predictions.p_ahead[j] == pytest.approx(curve.corrected.sigmoid().item(), abs=TOLERANCE)
        assert predictions.p_imm[j] == pytest.approx(immediate_recall(outputs.p_logits[imm]).item(), abs=TOLERANCE)
        assert predictions.p_all[j] == pytest.approx(outputs.p_logits[imm][0].softmax(0).numpy(), abs=TOLERANCE)
    assert np.std(predictions.p_ahead) > 1e-3
    assert np.std(predictions.p_imm) > 1e-3
    assert predictions.is_finite


@SLICES
def test_curve_weights_are_those_of_the_row_that_predicts(
    example: Example, slice_rows: int, cut: Callable[[int], None]
) -> None:
    cut(slice_rows)
    targets = example.targets
    weights = curve_weights(
        example.network, last_rows(example.network, plain_slices(example.batch, slice_rows)), targets
    )
    assert weights.dtype == torch.float32
    assert weights.shape == (len(targets), 128)
    torch.testing.assert_close(weights.sum(1), torch.ones(len(targets)))
    for j, row in enumerate(targets.ahead_row):
        expected = example.outputs.w_logits[row].softmax(0)
        torch.testing.assert_close(weights[j], expected, rtol=0, atol=TOLERANCE)
    assert weights.std(0).max() > 1e-4


def test_predictions_that_are_not_finite_are_detected(example: Example) -> None:
    x = last_rows(example.network, plain_slices(example.batch, 16)).clone()
    x[example.targets.imm_row[3]] = torch.nan
    (predictions,) = predict_users(example.network, x, [example.targets])
    assert not predictions.is_finite


@SLICES
def test_users_predicted_together_equal_users_predicted_alone(
    example: Example, slice_rows: int, cut: Callable[[int], None]
) -> None:
    cut(slice_rows)
    x = last_rows(example.network, plain_slices(example.batch, slice_rows))
    other = replace(example.targets, user=3, **{name: getattr(example.targets, name)[5:12] for name in COLUMNS})
    targets = [other, example.targets, other]
    for one, ours in zip(targets, predict_users(example.network, x, targets), strict=True):
        (alone,) = predict_users(example.network, x, [one])
        assert ours.user == one.user
        for name in ("review_th", "y", "bins", "label_elapsed_seconds"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(alone, name))
        for name in ("p_ahead", "p_imm", "p_all"):
            np.testing.assert_allclose(getattr(ours, name), getattr(alone, name), rtol=0, atol=TOLERANCE)


def test_the_hint_names_a_dtype_only_if_another_could_help() -> None:
    assert not_finite("user 1", torch.float32).details["next"] == "use another model"
    assert not_finite("user 1", torch.bfloat16).details["next"] == 'use another model, or DTYPE = "float"'


# --- From the databases


def place_of(table: RevlogTable) -> SegmentPlace:
    return SegmentPlace(table.user, 0, 0, len(table), len(history(table)))


@pytest.fixture
def stored(tmp_path: Path) -> tuple[ReviewStore, KeyStore, Group]:
    """Users 1 to 4 in a store with segments of 20 rows; user 2 has no keys, and user 3's history is damaged."""
    tables = [make_table(random_revlog(user, 30, 5), user=user) for user in (1, 2, 3, 4)]
    store = ReviewStore(Database(tmp_path / "store", 1 << 20, ""))
    store.begin(StoreSettings(20, "own", ""))
    for table in tables:
        encoded = encode_user(
            StoredHistory(table, np.zeros(len(table), bool)), segment_bounds(table, 20), part_reviews=12
        )
        *others, last = encoded.parts
        store.write([encoded if table.user != 3 else replace(encoded, parts=(*others, last[:-9]))])
    keys = KeyStore(Database(tmp_path / "keys", 1 << 20, ""), "")
    keys.begin(KeySettings(True, True))
    keys.write({user: keys_of([20, 25, 30]) for user in (1, 3, 4)})
    return store, keys, tuple(map(place_of, tables))


def test_users_who_cannot_be_read_do_not_affect_the_others(stored: tuple[ReviewStore, KeyStore, Group]) -> None:
    store, keys, group = stored
    mixed = evaluation_batch(store, keys, group, BACKEND)
    assert mixed.problems.keys() == {2, 3}
    assert "keys of user 2 are missing" in str(mixed.problems[2])
    assert "user 3" in str(mixed.problems[3])
    sound = evaluation_batch(store, keys, (group[0], group[3]), BACKEND)
    assert sound.problems == {}
    assert isinstance(mixed.batch, PlainSlices)
    assert isinstance(sound.batch, PlainSlices)
    assert len(mixed.batch) == group[0].rows + group[3].rows
    torch.testing.assert_close(mixed.batch.rows.inputs(), sound.batch.rows.inputs(), rtol=0, atol=0)
    assert [targets.user for targets in mixed.targets] == [1, 4]
    starts = (0, group[0].rows)
    for ours, start in zip(mixed.targets, starts, strict=True):
        expected = find_targets(history(store.read(ours.user).table), keys.read(ours.user), start)
        np.testing.assert_array_equal(ours.ahead_row, expected.ahead_row)
        np.testing.assert_array_equal(ours.imm_row, expected.imm_row)


def test_a_history_in_segments_is_one_sequence(stored: tuple[ReviewStore, KeyStore, Group]) -> None:
    store, keys, group = stored
    users = evaluation_batch(store, keys, group[:1], BACKEND)
    segment = history(store.read(1).table)
    assert isinstance(users.batch, PlainSlices)
    torch.testing.assert_close(users.batch.rows.features, torch.from_numpy(segment.features), rtol=0, atol=0)
    assert set(users.batch.rows.sequence.tolist()) == {0}


def test_a_group_without_readable_users_has_no_batch(stored: tuple[ReviewStore, KeyStore, Group]) -> None:
    store, keys, group = stored
    users = evaluation_batch(store, keys, group[1:3], BACKEND)
    assert users.batch is None
    assert users.targets == ()
