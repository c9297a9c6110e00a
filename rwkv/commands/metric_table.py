"""A table of text: a line a way of predicting, with the benchmark's metrics."""

from collections.abc import Mapping

COLUMNS = ("LogLoss", "RMSE(bins)", "AUC")


def format_metrics(rows: Mapping[str, Mapping[str, float | None]]) -> str:
    """rows: by way of predicting, its metrics by name; None and NaN where one is not defined."""
    width = max(10, *(len(name) + 1 for name in rows))
    lines = [" " * width + "".join(f"{column:>12}" for column in COLUMNS)]
    for name, metrics in rows.items():
        lines.append(f"{name:<{width}}" + "".join(f"{_number(metrics[column]):>12}" for column in COLUMNS))
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4f}"
