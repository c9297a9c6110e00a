"""How a model did on a person's own past, beside FSRS-6 and the person's average."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rwkv.arrays import AnyFloats, Int32s
from rwkv.data.history import RevlogTable
from rwkv.data.keys import BenchmarkKeys, benchmark_keys
from rwkv.evaluation.comparison import AHEAD, IMM, Comparison, baseline_predictions
from rwkv.recurrent.predictions import Predictions

# Of fewer counted reviews the LogLoss says little.
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
    """A person's past reviews, as they were predicted before their answers.

    Attributes:
        reviews: How many the benchmark counts and the model predicted.
        log_loss: LogLoss by algorithm; empty where there are fewer reviews than FEWEST_COUNTED.
    """

    reviews: int
    log_loss: Mapping[str, float]


def own_past(table: RevlogTable, predictions: Predictions | None) -> OwnPast | None:
    """How predictions [R] of a whole history did, beside AVG, MOVING-AVG and FSRS-6 with default parameters.

    None where the predictions are not known.
    """
    if predictions is None:
        return None
    keys = benchmark_keys(table, short=False, secs=False)
    others = baseline_predictions(table, keys, short=False, secs=False)
    return past_of(counted_reviews(table, keys, with_others(table, keys, predictions, others)))


def past_of(counted: Comparison) -> OwnPast:
    """The LogLoss of every algorithm on the counted reviews of one person."""
    if len(counted) < FEWEST_COUNTED:
        return OwnPast(len(counted), {})
    losses = {name: score.metrics["LogLoss"] for name, score in counted.scores().items()}
    return OwnPast(len(counted), {name: loss for name, loss in losses.items() if loss is not None})


def past_sentence(past: OwnPast | None) -> str:
    """The same for people; None where the predictions of the past are not known."""
    if past is None:
        return "How they did on your past was not kept with the network's states: `rwkv compare` says it"
    if not past.log_loss:
        return f"The benchmark counts {past.reviews} of your reviews, too few to say how they do on you"
    figures = [f"{title} {_short(past.log_loss[name])}" for name, title in _TITLES.items() if name in past.log_loss]
    return f"On your {past.reviews:,} counted reviews: log loss {', '.join(figures)}"


def _short(loss: float) -> str:
    """Three decimals, without the zero before them."""
    return f"{loss:.3f}".removeprefix("0")


# --- Predictions side by side


def with_others(
    table: RevlogTable, keys: BenchmarkKeys, predictions: Predictions, others: Mapping[str, AnyFloats]
) -> dict[str, AnyFloats]:
    """The predictions of all reviews [R] by algorithm. others: those of the keys [keys]; NaN at the other reviews."""
    placed = {name: _placed(column, keys.review_ths, table.review_th) for name, column in others.items()}
    return {IMM: predictions.p_imm, AHEAD: predictions.p_ahead} | placed


def counted_reviews(table: RevlogTable, keys: BenchmarkKeys, p: Mapping[str, AnyFloats]) -> Comparison:
    """The keys that the model predicted, possibly none, of predictions [R] by algorithm."""
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


def _placed(p: AnyFloats, review_ths: Int32s, wanted: Int32s) -> AnyFloats:
    """Predictions of reviews at the wanted ones, NaN where there is none."""
    placed = np.full(len(wanted), np.nan, np.float32)
    is_known = np.isin(wanted, review_ths)
    placed[is_known] = p[np.searchsorted(review_ths, wanted[is_known])]
    return placed
