"""The network one row at a time: against the published recurrent form, and against our own parallel form."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rwkv.model.columns import columns_of
from rwkv.model.curve import curve_logits, immediate_recall
from rwkv.model.heads import Outputs
from rwkv.model.recall import recall
from rwkv.vocab import STREAMS
from tests.conformance.model_vectors import (
    ModelRows,
    arrays_of,
    largest_difference,
    read_rows,
    recipe_network_of,
)
from tests.networks import run_recurrently, runner_for

Differences = Callable[[str, float], None]
Form = Callable[[ModelRows, Path], dict[str, Tensor]]

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


def by_engine(data: ModelRows, folder: Path) -> dict[str, Tensor]:
    """One row after another as the engine runs them: states flat, and by the native kernel where it is built."""
    run = runner_for(recipe_network_of(folder)).few_rows
    known: dict[tuple[str, int], np.ndarray] = {}
    outputs = []
    for row in range(len(data.inputs)):
        here = [(stream, int(data.entities[stream][row])) for stream in STREAMS]
        writes = int(not data.is_query[row])
        output, after = run(data.inputs[row : row + 1].numpy(), [known.get(key) for key in here], writes)
        outputs.append(output)
        known.update(zip(here, after, strict=True) if writes else ())
    together = np.concatenate(outputs)
    split = Outputs(*(torch.from_numpy(columns_of(together, name)) for name in Outputs._fields))
    p_curve = torch.from_numpy(recall(together, data.labels.elapsed_s.numpy()))
    return predictions(split, data.labels.elapsed_s) | {"p_curve": p_curve}


@pytest.mark.parametrize("form", [recurrent, by_engine])
def test_recurrent_form(form: Form, vectors: Path, differences: Differences) -> None:
    published = arrays_of(vectors / "rnn.npz")
    ours = form(read_rows(vectors / "model.npz"), vectors)
    assert set(published) == set(ours)
    for name, value in ours.items():
        difference = largest_difference(value, torch.from_numpy(published[name]))
        differences(f"{form.__name__}: {name}", difference)
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
