"""Rows, features, labels and streams of whole histories and of segments."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rwkv.data.segments import Labels, Segment, cut_segment, segment_bounds, whole_history
from rwkv.vocab import FEATURE_NAMES, STREAMS
from tests.conformance import vectors as files
from tests.conformance.vectors import Arrays

Differences = Callable[[str, float], None]

# float32 of float64 arithmetic on both sides.
FEATURE_TOLERANCE = 1e-6


def samples(folder: Path, user: int) -> Arrays:
    return files.load(files.sample_files(folder)[user])


def our_history(folder: Path, user: int, missing_notes: str = "published") -> Segment:
    table = files.history(folder, user, missing_notes)
    return whole_history(table, files.sample_is_key(folder, table))


def our_segments(folder: Path, user: int) -> list[tuple[Segment, Arrays]]:
    """Our segments, each beside its arrays in the file."""
    arrays = files.load(files.segment_files(folder)[user])
    table = files.history(folder, user)
    is_key = files.sample_is_key(folder, table)
    bounds = segment_bounds(table, int(arrays["max_batch_size"]))
    assert len(bounds) == int(arrays["num_segments"])
    shared = {name: arrays[name] for name in ("card_feature_names", "label_names")}
    return [
        (
            cut_segment(table, is_key, int(start), int(stop), number),
            shared | files.with_prefix(arrays, f"seg{number}_"),
        )
        for number, (start, stop, _) in enumerate(bounds)
    ]


def label_columns(labels: Labels) -> dict[str, np.ndarray]:
    """Our labels under the names of the file, but for has_label."""
    return {
        "label_elapsed_seconds": labels.elapsed_s,
        "label_elapsed_days": labels.elapsed_days,
        "label_y": labels.y,
        "label_rating": labels.rating,
        "label_is_equalize": labels.is_equalize,
    }


def exact(differences: Differences, group: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Compare and count entries that must be equal."""
    differences(group, files.unequal(ours, theirs))
    np.testing.assert_array_equal(ours, theirs, err_msg=group)


def compare_features(ours: Segment, theirs: Arrays, differences: Differences) -> None:
    assert tuple(theirs["card_feature_names"]) == FEATURE_NAMES
    assert ours.features.shape == theirs["card_features"].shape
    assert ours.features.dtype == np.float32
    difference = np.abs(ours.features.astype(np.float64) - theirs["card_features"])
    differences("features", difference.max())
    worst = np.unravel_index(np.argmax(difference), difference.shape)
    assert difference.max() <= FEATURE_TOLERANCE, f"row {worst[0]}, {FEATURE_NAMES[worst[1]]}"


def compare_rows(ours: Segment, theirs: Arrays, differences: Differences) -> None:
    exact(differences, "rows: review_ths", ours.review_th, theirs["review_ths"])
    exact(differences, "rows: skips", ours.is_query, theirs["skips"])
    exact(differences, "rows: day_offsets", ours.day, theirs["day_offsets"])
    exact(differences, "rows: day_offsets_first", ours.first_day, theirs["day_offsets_first"])
    first, last, rows = theirs["segment"]
    assert (ours.review_th[0], ours.review_th[-1], len(ours)) == (first, last, rows)


def compare_labels(ours: Segment, theirs: Arrays, differences: Differences) -> None:
    columns = dict(zip(theirs["label_names"], theirs["global_labels"].T, strict=True))
    exact(differences, "labels: is_query", ours.is_query.astype(np.float32), columns["is_query"])
    has_label = ours.labels.has_label
    exact(differences, "labels: has_label", has_label.astype(np.float32), columns["has_label"])
    for name, column in label_columns(ours.labels).items():
        exact(differences, f"labels: {name}", column[has_label].astype(np.float32), columns[name][has_label])
    exact(differences, "labels: review_ths", ours.labels.review_th[has_label], theirs["label_review_ths"][has_label])
    assert np.all(ours.labels.review_th[~has_label] == -1)
    assert not ours.labels.is_equalize[~has_label].any()


def compare_streams(ours: Segment, theirs: Arrays, differences: Differences) -> None:
    assert set(ours.ids) == set(STREAMS)
    for stream in STREAMS:
        streams = files.partition(ours.ids[stream])
        exact(differences, f"streams: {stream}", streams, files.partition(theirs[f"{stream}_stream"]))
        lengths, count = np.unique(np.bincount(streams), return_counts=True)
        exact(differences, f"streams: {stream} lengths", lengths, theirs[f"{stream}_split_len"])
        exact(differences, f"streams: {stream} lengths", count, theirs[f"{stream}_split_B"])


def compare_codes(ours: Segment, theirs: Arrays, differences: Differences) -> None:
    """The published code gives ids that are equal in int32 one identity code."""
    for stream in STREAMS:
        codes = files.partition(ours.codes[stream])
        exact(differences, f"codes: {stream}", codes, files.partition(theirs[f"{stream}_int32"]))


COMPARISONS = pytest.mark.parametrize(
    "compare", [compare_features, compare_rows, compare_labels, compare_streams, compare_codes]
)
Comparison = Callable[[Segment, Arrays, Differences], None]


@COMPARISONS
def test_whole_history(vectors: Path, sample_user: int, compare: Comparison, differences: Differences) -> None:
    compare(our_history(vectors, sample_user), samples(vectors, sample_user), differences)


@COMPARISONS
def test_segments(vectors: Path, segment_user: int, compare: Comparison, differences: Differences) -> None:
    for ours, theirs in our_segments(vectors, segment_user):
        compare(ours, theirs, differences)


def test_missing_notes_have_ids_of_their_own(vectors: Path, sample_user: int, differences: Differences) -> None:
    """With MISSING_NOTES = "own" each card without a note is alone in one; all the rest is as published."""
    theirs = samples(vectors, sample_user)
    missing = theirs["card_features"][:, list(theirs["card_feature_names"]).index("note_id_is_nan")] == 1
    card, note = theirs["card_id_stream"].astype(np.int64), theirs["note_id_stream"].astype(np.int64)
    expected = files.partition(np.where(missing, note.max() + 1 + card, note))

    ours, published = our_history(vectors, sample_user, "own"), our_history(vectors, sample_user)
    exact(differences, "streams: note_id, own", files.partition(ours.ids["note_id"]), expected)
    for stream in STREAMS:
        if stream != "note_id":
            exact(differences, "own notes, the rest", ours.ids[stream], published.ids[stream])
    exact(differences, "own notes, the rest", ours.features, published.features)
    for name, column in vars(ours.labels).items():
        exact(differences, "own notes, the rest", column, getattr(published.labels, name))
