"""The demo's table: how well each way of predicting does on the same reviews."""

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
    """metrics: by way of predicting and name, means over the learners weighted by reviews.

    The LogLoss of the truth is the mean entropy of its probabilities: the floor, free of the luck of these answers.
    """

    metrics: dict[str, dict[str, float]]
    learners: int
    reviews: int


def compare_demo_users(dataset: Path, evaluations: Mapping[str, EvaluateConfig]) -> DemoTable:
    """AVG, FSRS-6 with default parameters, RWKV, RWKV-P and the truth on the same reviews of the evaluated learners.

    evaluations: of the same learners and keys, by what is put behind RWKV and RWKV-P; the first is the demo's own.
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
    asked = next(iter(raw.values()))
    predicted = np.isin(keys.review_ths, asked.review_th)
    baselines = baseline_predictions(table, keys, short=False, secs=False)
    return Comparison(
        user=user,
        review_th=asked.review_th,
        p={
            "AVG": baselines["AVG"][predicted],
            "FSRS-6-default": baselines["FSRS-6-default"][predicted],
            **{name: predictions.p for name, predictions in raw.items()},
            "truth": read_truth(dataset, user)[asked.review_th - 1],
        },
        y=asked.y.astype(np.int8),
        bins=keys.rmse_bins[predicted],
    )


def format_table(table: DemoTable) -> str:
    """A table of text: a line a way of predicting."""
    note = f"{table.learners} learners, {table.reviews} reviews, means weighted by reviews"
    package = "RWKV, RWKV-P: after minutes of training by this demo; package: the weights that come with it (rwkv info)"
    truth = "truth: the probabilities from which the answers were drawn; its LogLoss is their entropy"
    return "\n".join([format_metrics(table.metrics), note, package, truth])


def _entropy(p: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Of a recall with probability p [n], in nats [n]."""
    return -(p * np.log(p) + (1 - p) * np.log1p(-p))
