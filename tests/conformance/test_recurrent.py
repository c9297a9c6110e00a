"""The network one row at a time: against the published recurrent form, and against our own parallel form."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.heads import Outputs
from tests.conformance.model_vectors import (
    ModelRows,
    arrays_of,
    largest_difference,
    read_rows,
    recipe_network_of,
)
from tests.networks import run_recurrently

Differences = Callable[[str, float], None]

# The vectors' README: float32 sums taken in another order.
TOLERANCE = 2e-5
PROBABILITY_TOLERANCE = 1e-5


def predictions(outputs: Outputs, elapsed_s: Tensor) -> dict[str, Tensor]:
    """Everything that is compared, under the names of the file."""
    return {
        "out_ahead_logits": outputs.ahead_logits,
        "out_p_logits": outputs.p_logits,
        "out_w": outputs.w_logits.softmax(-1),
        "p_curve": curve_logits(outputs.w_logits, outputs.ahead_logits, elapsed_s).corrected.sigmoid(),
        "p_imm": immediate_recall(outputs.p_logits),
    }


def recurrent(data: ModelRows, folder: Path) -> dict[str, Tensor]:
    outputs = run_recurrently(recipe_network_of(folder), data.inputs, data.entities, data.is_query)
    return predictions(outputs, data.labels.elapsed_s)


def test_recurrent_form(vectors: Path, differences: Differences) -> None:
    published = arrays_of(vectors / "rnn.npz")
    ours = recurrent(read_rows(vectors / "model.npz"), vectors)
    assert set(published) == set(ours)
    for name, value in ours.items():
        difference = largest_difference(value, torch.from_numpy(published[name]))
        differences(f"recurrent: {name}", difference)
        assert difference <= (TOLERANCE if name.endswith("logits") else PROBABILITY_TOLERANCE), name


def test_both_forms_agree_where_streams_start_with_queries(
    vectors: Path, leading_query_file: Path, differences: Differences
) -> None:
    data = read_rows(leading_query_file)
    starts = [layout.groups.is_query[layout.groups.offsets[:-1]] for layout in data.layouts()]
    assert torch.cat(starts).any(), "no stream starts with a query: the file does not hold what it is for"
    with torch.no_grad():
        outputs = recipe_network_of(vectors)(data.inputs, data.layouts())
    parallel = predictions(outputs, data.labels.elapsed_s)
    for name, value in recurrent(data, vectors).items():
        difference = largest_difference(parallel[name], value)
        differences(f"parallel - recurrent: {name}", difference)
        assert difference <= TOLERANCE, name
