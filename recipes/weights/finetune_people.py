"""Evaluate fine-tuning: each of the benchmark's five splits is predicted by weights adapted to the reviews before it.

    python -m recipes.weights.finetune_people DATASET [--model WEIGHTS] [--users 1,4-6]

Prints LogLoss by person. If `rwkv finetune` would not write weights, the split is predicted by the original ones.
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
from rwkv.evaluation.comparison import AHEAD, IMM, baseline_predictions, trained_predictions
from rwkv.evaluation.history_predictions import (
    Targets,
    find_targets,
    last_rows,
    predict_users,
    sliced_for,
    whole_histories,
)
from rwkv.evaluation.scores import score
from rwkv.model.checkpoint import network_of
from rwkv.model.network import Network
from rwkv.runtime import run_command
from rwkv.training.adaptation import FEWEST_JUDGED, adapt, judged_reviews

_AFTER = " after"
_COLUMNS = ("AVG", "FSRS-6", AHEAD, AHEAD + _AFTER, IMM, IMM + _AFTER)


def main() -> int:
    """Print a line for each person, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--users", type=user_numbers)
    options = parser.parse_args()
    network = network_of(choose_model(options.model).weights)
    print(f"{'user':<6}{'reviews':>8}{'adapted':>9}" + "".join(f"{name:>14}" for name in _COLUMNS))
    rows = []
    for user in users_in(options.dataset, options.users):
        table = read_history(options.dataset, user)
        keys = benchmark_keys(table, short=False, secs=False)
        if len(keys) == 0:
            continue
        losses, reviews, adapted = _losses(network, table, keys)
        print(f"{user:<6}{reviews:>8}{adapted:>7}/5" + _cells(losses), flush=True)
        rows.append(losses)
    means = {name: float(np.mean([losses[name] for losses in rows])) for name in _COLUMNS}
    print(f"{'mean':<23}" + _cells(means))
    return 0


def _cells(losses: dict[str, float]) -> str:
    return "".join(f"{losses[name]:>14.4f}" for name in _COLUMNS)


def _losses(network: Network, table: RevlogTable, keys: BenchmarkKeys) -> tuple[dict[str, float], int, int]:
    """LogLoss by column, the number of reviews, and the number of splits predicted by adapted weights."""
    segment = whole_history(table, keys.mark(table.review_th))
    targets = find_targets(segment, keys)
    x = last_rows(network, sliced_for(whole_histories([segment]), network.backend))
    predicted = np.isin(keys.review_ths, targets.review_th)
    p = baseline_predictions(table, keys, short=False, secs=False) | trained_predictions(table)
    p = {name: column[predicted] for name, column in p.items()}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS[2:]}
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
    losses = {name: score(p[name], targets.y, targets.bins).metrics["LogLoss"] for name in _COLUMNS}
    return {name: float("nan") if loss is None else loss for name, loss in losses.items()}, len(targets), adapted


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
