"""A table of text: a line a way of predicting, with the benchmark's metrics."""

from collections.abc import Mapping, Sequence

from rwkv.evaluation.scores import Score
from rwkv.evaluation.summary import means

COLUMNS = ("LogLoss", "RMSE(bins)", "AUC")


def format_metrics(rows: Mapping[str, Mapping[str, float | None]]) -> str:
    """rows: by way of predicting, its metrics by name; None and NaN where one is not defined."""
    width = max(10, *(len(name) + 1 for name in rows))
    lines = [" " * width + "".join(f"{column:>12}" for column in COLUMNS)]
    for name, metrics in rows.items():
        lines.append(f"{name:<{width}}" + "".join(f"{_number(metrics[column]):>12}" for column in COLUMNS))
    return "\n".join(lines)


def format_means(scores: Mapping[str, Mapping[int, Score]], users: Sequence[int]) -> str:
    """The means over these users, at least one, weighted by reviews, and how many they are.

    scores: by way of predicting, those of every user.
    """
    weighted = means(scores, users).weighted
    table = format_metrics({name: {metric: of.value for metric, of in row.items()} for name, row in weighted.items()})
    reviews = sum(next(iter(scores.values()))[user].size for user in users)
    return f"{table}\n{len(users)} users, {reviews} reviews, means weighted by reviews"


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4f}"
