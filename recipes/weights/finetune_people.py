"""Evaluate fine-tuning: each of the benchmark's five splits is predicted by weights adapted to the reviews before it.

    python -m recipes.weights.finetune_people DATASET [--model WEIGHTS] [--users 1,4-6]

Prints LogLoss by person, and the means of all metrics over the people. If `rwkv finetune` would not write weights, the
split is predicted by the original ones.
"""

import argparse
from pathlib import Path

import numpy as np

from rwkv.collection.chosen_model import choose_model
from rwkv.collection.users import users_in
from rwkv.command_line.user_numbers import user_numbers
from rwkv.data.history import RevlogTable
from rwkv.data.keys import BenchmarkKeys, benchmark_keys, candidate_reviews, folds_of
from rwkv.data.revlogs import read_history
from rwkv.data.segments import whole_history
from rwkv.errors import InputError
from rwkv.evaluation.comparison import AHEAD, IMM, baseline_predictions, trained_predictions
from rwkv.evaluation.history_predictions import (
    Targets,
    find_targets,
    last_rows,
    predict_users,
    sliced_for,
    whole_histories,
)
from rwkv.evaluation.scores import Score, score
from rwkv.evaluation.summary import format_metrics, means
from rwkv.model.checkpoint import network_of
from rwkv.model.network import Network
from rwkv.runtime import run_command
from rwkv.training.adaptation import FEWEST_JUDGED, adapt, judged_reviews

_NONE = "The benchmark counts no review of these users."
_AFTER = " after"
_OURS = (AHEAD, AHEAD + _AFTER, IMM, IMM + _AFTER)
_COLUMNS = ("AVG", "MOVING-AVG", "FSRS-6-default", "FSRS-6", *_OURS)


def main() -> int:
    """Print a line for each person, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--users", type=user_numbers)
    options = parser.parse_args()
    network = network_of(choose_model(options.model).weights)
    print(f"{'user':<6}{'reviews':>8}{'adapted':>9}" + "".join(f"{name:>15}" for name in _COLUMNS))
    scores: dict[str, dict[int, Score]] = {name: {} for name in _COLUMNS}
    for user in users_in(options.dataset, options.users):
        table = read_history(options.dataset, user)
        keys = benchmark_keys(table, short=False, secs=False)
        if len(keys) == 0:
            continue
        own, adapted = _scores(network, table, keys)
        for name, one in own.items():
            scores[name][user] = one
        cells = "".join(f"{one.metrics['LogLoss']:>15.4f}" for one in own.values())
        print(f"{user:<6}{own[IMM].size:>8}{adapted:>7}/5{cells}", flush=True)
    if not scores[IMM]:
        raise InputError(_NONE, where=str(options.dataset), hint="choose users with more reviews")
    rows = means(scores, list(scores[IMM])).unweighted
    print("\nmeans over people")
    print(format_metrics({name: {metric: mean.value for metric, mean in row.items()} for name, row in rows.items()}))
    return 0


def _scores(network: Network, table: RevlogTable, keys: BenchmarkKeys) -> tuple[dict[str, Score], int]:
    """The score of each column, and the number of splits predicted by adapted weights."""
    segment = whole_history(table, keys.mark(table.review_th))
    targets = find_targets(segment, keys)
    x = last_rows(network, sliced_for(whole_histories([segment]), network.backend))
    predicted = np.isin(keys.review_ths, targets.review_th)
    p = baseline_predictions(table, keys, short=False, secs=False) | trained_predictions(table)
    p = {name: column[predicted] for name, column in p.items()}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in _OURS}
    adapted = 0
    for split in _splits(table, targets):
        first = int(np.searchsorted(table.review_th, targets.review_th[split][0]))
        finetuned = _adapted(network, table.part(slice(first)))
        adapted += finetuned is not network
        for suffix, model in (("", network), (_AFTER, finetuned)):
            (predictions,) = predict_users(model, x, [targets.part(split)])
            parts[AHEAD + suffix].append(predictions.p_ahead)
            parts[IMM + suffix].append(predictions.p_imm)
    p |= {name: np.concatenate(columns) for name, columns in parts.items()}
    return {name: score(p[name], targets.y, targets.bins) for name in _COLUMNS}, adapted


def _splits(table: RevlogTable, targets: Targets) -> list[np.ndarray]:
    """The targets of each of the five splits, without empty splits."""
    candidates = candidate_reviews(table, short=False, secs=False).review_ths
    splits = [np.isin(targets.review_th, candidates[fold]) for fold in folds_of(len(candidates))]
    return [split for split in splits if split.any()]


def _adapted(network: Network, before: RevlogTable) -> Network:
    """The network after fine-tuning on a history: adapted, or unchanged."""
    if judged_reviews(before).sum() < FEWEST_JUDGED:
        return network
    return adapt(network, [before]).network


if __name__ == "__main__":
    raise SystemExit(run_command(main))
