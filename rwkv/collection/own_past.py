"""A model's scores on a person's past reviews, compared with FSRS-6 and the person's average."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rwkv.arrays import AnyFloats, Int32s
from rwkv.data.history import RevlogTable
from rwkv.data.keys import BenchmarkKeys, benchmark_keys
from rwkv.evaluation.comparison import AHEAD, IMM, Comparison, baseline_predictions
from rwkv.recurrent.predictions import Predictions

# With fewer counted reviews, LogLoss is too uncertain to show.
FEWEST_COUNTED = 50

# The algorithms that the sentence names, in its order.
_TITLES = {
    IMM: "RWKV-P",
    AHEAD: "RWKV",
    "FSRS-6": "FSRS-6 (optimised on yours)",
    "FSRS-6-default": "FSRS-6 (default parameters)",
    "AVG": "your average",
}


@dataclass(frozen=True)
class OwnPast:
    """The scores on a person's past reviews, predicted before their answers.

    Attributes:
        reviews: The number of reviews that the benchmark counts and the model predicted.
        log_loss: LogLoss by algorithm; empty for fewer than FEWEST_COUNTED reviews.
    """

    reviews: int
    log_loss: Mapping[str, float]


def own_past(table: RevlogTable, predictions: Predictions | None) -> OwnPast | None:
    """The scores of predictions [R] of a whole history, with AVG, MOVING-AVG and FSRS-6 with default parameters.

    None if there are no predictions.
    """
    if predictions is None:
        return None
    keys = benchmark_keys(table, short=False, secs=False)
    baselines = baseline_predictions(table, keys, short=False, secs=False)
    return past_of(counted_reviews(table, keys, with_baselines(table, keys, predictions, baselines)))


def past_of(counted: Comparison) -> OwnPast:
    """The LogLoss of each algorithm on a person's counted reviews."""
    if len(counted) < FEWEST_COUNTED:
        return OwnPast(len(counted), {})
    losses = {name: score.metrics["LogLoss"] for name, score in counted.scores().items()}
    return OwnPast(len(counted), {name: loss for name, loss in losses.items() if loss is not None})


def past_sentence(past: OwnPast | None) -> str:
    """The scores in words. past: None if the predictions of past reviews are unknown."""
    if past is None:
        return "Their scores on your past reviews are unknown; see `rwkv compare`"
    if not past.log_loss:
        return f"The benchmark counts {past.reviews} of your reviews, too few for scores"
    figures = [f"{title} {_short(past.log_loss[name])}" for name, title in _TITLES.items() if name in past.log_loss]
    return f"On your {past.reviews:,} counted reviews: log loss {', '.join(figures)}"


def _short(loss: float) -> str:
    """A loss with three decimals and without a leading zero."""
    return f"{loss:.3f}".removeprefix("0")


# --- Predictions side by side


def with_baselines(
    table: RevlogTable, keys: BenchmarkKeys, predictions: Predictions, baselines: Mapping[str, AnyFloats]
) -> dict[str, AnyFloats]:
    """The predictions of all reviews [R] by algorithm. baselines: predictions [keys]; NaN for other reviews."""
    placed = {name: _placed(column, keys.review_ths, table.review_th) for name, column in baselines.items()}
    return {IMM: predictions.p_imm, AHEAD: predictions.p_ahead} | placed


def counted_reviews(table: RevlogTable, keys: BenchmarkKeys, p: Mapping[str, AnyFloats]) -> Comparison:
    """The predictions of the keys that the model predicted, perhaps none. p: predictions [R] by algorithm."""
    is_predicted = np.isfinite(p[IMM]) & np.isfinite(p[AHEAD])
    row = np.flatnonzero(is_predicted & keys.mark(table.review_th))
    review_th = table.review_th[row]
    return Comparison(
        table.user,
        review_th,
        {name: column[row] for name, column in p.items()},
        (table.rating[row] > 1).astype(np.int8),
        keys.rmse_bins[np.searchsorted(keys.review_ths, review_th)],
    )


def _placed(p: AnyFloats, review_ths: Int32s, targets: Int32s) -> AnyFloats:
    """Predictions of the reviews `review_ths`, at the reviews `targets`; NaN where there is none."""
    placed = np.full(len(targets), np.nan, np.float32)
    is_predicted = np.isin(targets, review_ths)
    placed[is_predicted] = p[np.searchsorted(review_ths, targets[is_predicted])]
    return placed
