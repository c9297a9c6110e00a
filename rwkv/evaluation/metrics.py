"""How good predictions of recall are: the benchmark's four numbers (spec 6)."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import log_loss, roc_auc_score

METRICS = ("RMSE", "LogLoss", "RMSE(bins)", "AUC")

_PLACES = 6


def recall_metrics(p: npt.ArrayLike, y: npt.ArrayLike, bins: npt.ArrayLike) -> dict[str, float | None]:
    """The metrics of one user, by name, rounded to 6 places; AUC is None where one class is missing.

    p: predicted probability of recall, rounded to float32. y: 1 recalled, 0 forgotten. bins: integers of which only
    equality matters. All [n], n >= 1.
    Raises ValueError where a p is not within 0..1. Source: spec 6.
    """
    # log_loss clips p at the eps of its dtype. The published numbers are float32 values clipped at float64's.
    p = np.asarray(p, np.float32).astype(np.float64)
    y = np.asarray(y, np.int64)
    values = {
        "RMSE": np.sqrt(np.mean((p - y) ** 2)),
        "LogLoss": log_loss(y, p, labels=[0, 1]),
        "RMSE(bins)": _rmse_of_bins(p, y, bins),
        "AUC": roc_auc_score(y, p) if len(np.unique(y)) == 2 else None,
    }
    return {name: None if value is None else round(float(value), _PLACES) for name, value in values.items()}


def _rmse_of_bins(p: npt.NDArray[np.float64], y: npt.NDArray[np.int64], bins: npt.ArrayLike) -> float:
    """Root of the mean squared difference of mean y and mean p in a bin, weighted by the bins' sizes."""
    _, number, size = np.unique(bins, return_inverse=True, return_counts=True)
    difference = np.bincount(number, weights=y - p) / size
    return float(np.sqrt(np.average(difference**2, weights=size)))
