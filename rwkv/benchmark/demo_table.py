"""The demo's table: the scores of all algorithms on the same reviews."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rwkv.benchmark.databases import key_database
from rwkv.config import EvaluateConfig
from rwkv.data.key_store import KeyStore
from rwkv.data.revlogs import read_history, read_truth
from rwkv.evaluation.comparison import Comparison, baseline_predictions, weighted_metrics
from rwkv.evaluation.results import RawPredictions, read_raw
from rwkv.evaluation.summary import format_metrics


@dataclass(frozen=True)
class DemoTable:
    """The scores of a demo.

    Attributes:
        metrics: Means over the learners, weighted by reviews, by algorithm and metric. The LogLoss of "truth" is the
            mean entropy of the true probabilities, the lower bound for any algorithm.
        learners: The number of learners.
        reviews: The number of reviews.
    """

    metrics: dict[str, dict[str, float]]
    learners: int
    reviews: int


def compare_demo_users(dataset: Path, evaluations: Mapping[str, EvaluateConfig]) -> DemoTable:
    """Compare AVG, FSRS-6 with default parameters, RWKV, RWKV-P and the truth on the evaluated learners.

    Args:
        dataset: The demo's dataset.
        evaluations: Evaluations of the same learners and keys, by a suffix for RWKV and RWKV-P. The first is that of
            the demo's own model.
    """
    raw: dict[str, Mapping[int, RawPredictions]] = {}
    for suffix, config in evaluations.items():
        for name, file in (("RWKV", config.file_ahead), ("RWKV-P", config.file_imm)):
            raw[name + suffix] = read_raw(config.raw_folder / f"{file}.jsonl")
    config = next(iter(evaluations.values()))
    with key_database(config).open() as keys:
        store = KeyStore(keys, config.label_filter_key_prefix)
        users = [
            _compare_user(dataset, store, user, {name: by_user[user] for name, by_user in raw.items()})
            for user in sorted(next(iter(raw.values())))
        ]
    metrics = weighted_metrics(users)
    metrics["truth"]["LogLoss"] = float(np.mean(np.concatenate([_entropy(user.p["truth"]) for user in users])))
    return DemoTable(metrics, len(users), sum(map(len, users)))


def _compare_user(dataset: Path, store: KeyStore, user: int, raw: Mapping[str, RawPredictions]) -> Comparison:
    table, keys = read_history(dataset, user), store.read(user)
    first = next(iter(raw.values()))
    predicted = np.isin(keys.review_ths, first.review_th)
    baselines = baseline_predictions(table, keys, short=False, secs=False)
    return Comparison(
        user=user,
        review_th=first.review_th,
        p={
            "AVG": baselines["AVG"][predicted],
            "FSRS-6-default": baselines["FSRS-6-default"][predicted],
            **{name: predictions.p for name, predictions in raw.items()},
            "truth": read_truth(dataset, user)[first.review_th - 1],
        },
        y=first.y.astype(np.int8),
        bins=keys.rmse_bins[predicted],
    )


def format_table(table: DemoTable) -> str:
    """A text table with a line for each algorithm."""
    note = f"{table.learners:,} learners, {table.reviews:,} reviews, means weighted by reviews"
    package = "RWKV, RWKV-P: the demo's model, trained for minutes; package: the package's weights (rwkv info)"
    truth = "truth: the probabilities from which the answers were drawn; their entropy is the lowest possible LogLoss"
    return "\n".join([format_metrics(table.metrics), note, package, truth])


def _entropy(p: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The entropy in nats [n] of an answer with recall probability p [n]."""
    return -(p * np.log(p) + (1 - p) * np.log1p(-p))
