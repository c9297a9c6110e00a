"""Fine-tuning under the benchmark's five splits: each split is predicted from the reviews before it."""

from pathlib import Path

import numpy as np
import pytest

from recipes.weights import finetune_people
from rwkv.collection.chosen_model import choose_model
from rwkv.collection.compare_users import compare_users
from rwkv.data.history import RevlogTable
from rwkv.data.keys import benchmark_keys
from rwkv.data.revlogs import read_history
from rwkv.errors import InputError
from rwkv.model.network import Network, frozen_network
from tests.benchmark.workspace import add_users
from tests.helpers import revlog_columns, write_history
from tests.typed import not_none

USER = 1


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    add_users(tmp_path / "dataset", [USER])
    monkeypatch.setattr("sys.argv", ["finetune_people", str(tmp_path / "dataset")])
    return tmp_path / "dataset"


def printed(text: str) -> tuple[list[str], dict[str, list[float]]]:
    """The line of the only user, and the mean metrics by column."""
    _, user, _, title, _, *rows = text.splitlines()
    assert title == "means over people"
    metrics = [row.rsplit(maxsplit=3) for row in rows]
    return user.split(), {name: [float(value) for value in values] for name, *values in metrics}


def test_people_with_few_reviews_keep_the_weights(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All scores are those of `rwkv compare`."""
    assert finetune_people.main() == 0
    user, means = printed(capsys.readouterr().out)
    (compared,) = compare_users(dataset, [USER], choose_model(None).runner).users
    assert user[:3] == [str(USER), str(len(compared)), "0/5"]
    for name, scores in compared.scores().items():
        expected = [not_none(scores.metrics[metric]) for metric in ("LogLoss", "RMSE(bins)", "AUC")]
        # Two ways of computing the same predictions (spec 7), rounded to four places.
        assert means[name] == pytest.approx(expected, abs=1e-3)
    for name in ("RWKV", "RWKV-P"):
        assert means[f"{name} after"] == means[name]


def test_each_split_is_predicted_by_weights_of_its_past(
    dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[RevlogTable] = []

    def adapted(network: Network, before: RevlogTable) -> Network:
        parts.append(before)
        weights = {name: weight.clone() for name, weight in network.state_dict().items()}
        weights["p_linear.bias"][0] += len(parts)
        return frozen_network(weights, weights["p_linear.bias"].dtype, network.spec)

    monkeypatch.setattr(finetune_people, "_adapted", adapted)
    assert finetune_people.main() == 0
    user, means = printed(capsys.readouterr().out)
    assert user[2] == "5/5"
    assert means["RWKV after"] == means["RWKV"]
    assert means["RWKV-P after"] != means["RWKV-P"]
    keys = benchmark_keys(read_history(dataset, USER), short=False, secs=False)
    ends = np.array([part.review_th[-1] for part in parts])
    assert len(ends) == 5
    assert (np.diff(ends) > 0).all()
    # The reviews that count begin right after the first part.
    assert keys.review_ths[0] == ends[0] + 1
    assert set(ends + 1) <= set(keys.review_ths.tolist())


def test_people_without_counted_reviews_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_history(tmp_path, USER, revlog_columns([1, 2, 1], [0, 10, 90_000]))
    monkeypatch.setattr("sys.argv", ["finetune_people", str(tmp_path)])
    with pytest.raises(InputError, match="counts no review"):
        finetune_people.main()
