"""The only user of the package fsrs-rs-python: FSRS-6 with parameters learnt from a person's own reviews."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from rwkv.arrays import AnyInts, Float32s, Floats
from rwkv.data.keys import folds_of
from rwkv.errors import InputError
from rwkv.evaluation.baselines import fsrs_predictions, recall_by_stability

# Decimals of a parameter, as in the benchmark. Unrounded float32 values can exceed the package's own bounds.
_PLACES = 4


def trainer() -> ModuleType:
    """Import the package.

    Raises:
        InputError: The package is not installed.
    """
    try:
        import fsrs_rs_python
    except ImportError as error:
        raise InputError(
            "Optimising FSRS-6 requires the package fsrs-rs-python, which is not installed.",
            got=str(error),
            hint='run `pip install "rwkv-srs[compare]"` or `pip install fsrs-rs-python`',
        ) from error
    return fsrs_rs_python


def trained_fsrs_predictions(card: AnyInts, rating: AnyInts, day: AnyInts, candidates: AnyInts) -> Float32s:
    """Predict each fold by FSRS-6 with parameters learnt from the candidates before it.

    Args:
        card: Card ids [R] of the reviews in time order.
        rating: Ratings 1..4, [R].
        day: Whole days [R], counted from any date, which may differ from card to card.
        candidates: Rows [m] of the candidates, in time order.

    Returns:
        The probability of recall, float32 [5 * (m // 6)], for the reviews of the five folds.

    Source: FSRS-rs of the benchmark, which weights recent reviews more, as Anki does; spec 2, step 12.
    """
    items = _items(card, rating, day, candidates)
    parts = [np.empty(0, np.float32)]
    for fold in folds_of(len(candidates)):
        fold_rows = candidates[fold]
        if len(fold_rows) == 0:
            continue
        parameters = _optimised(items[: fold.start])
        rows = np.flatnonzero(np.isin(card[: fold_rows[-1] + 1], card[fold_rows]))
        p = np.full(fold_rows[-1] + 1, np.nan, np.float32)
        p[rows] = fsrs_predictions(card[rows], rating[rows], day[rows], parameters)
        parts.append(p[fold_rows])
    return np.concatenate(parts)


def learnt_parameters(card: AnyInts, rating: AnyInts, day: AnyInts, candidates: AnyInts) -> list[float]:
    """The 21 parameters of FSRS-6 optimised on all candidates [m]; the package's defaults if there are none."""
    if len(candidates) == 0:
        return list(trainer().DEFAULT_PARAMETERS)
    return _optimised(_items(card, rating, day, candidates))


def _optimised(items: list[object]) -> list[float]:
    return [round(value, _PLACES) for value in trainer().FSRS([]).benchmark(items)]


def _items(card: AnyInts, rating: AnyInts, day: AnyInts, candidates: AnyInts) -> list[object]:
    """Each candidate as an item of the package: the card's reviews up to it, with the days between them."""
    package = trainer()
    is_candidate = np.zeros(len(card), bool)
    is_candidate[candidates] = True
    histories: dict[int, list[object]] = {}
    last_day: dict[int, int] = {}
    items = []
    reviews = zip(card.tolist(), rating.tolist(), day.tolist(), is_candidate.tolist(), strict=True)
    for card_id, button, today, counts in reviews:
        history = histories.setdefault(card_id, [])
        history.append(package.FSRSReview(button, today - last_day.get(card_id, today)))
        last_day[card_id] = today
        if counts:
            items.append(package.FSRSItem(history))
    return items


@dataclass(frozen=True)
class FsrsCards:
    """The present state of cards by FSRS-6.

    Attributes:
        p: Probability of recall now, float64 [c].
        interval_days: Days from the last review until recall falls to the desired retention, float64 [c].
    """

    p: Floats
    interval_days: Floats


def fsrs_now(
    histories: Sequence[tuple[Sequence[int], Sequence[int]]],
    since_days: Sequence[int],
    retention: Sequence[float],
    parameters: Sequence[float],
) -> FsrsCards:
    """The present recall and the intervals of cards by FSRS-6.

    Args:
        histories: For each of the c cards its ratings and the days on which they were given, at least one.
        since_days: Whole days since the last review of each card.
        retention: Desired retention of each card, 0..1.
        parameters: The 21 parameters.

    Source: The package's memory states, intervals and forgetting curve.
    """
    package = trainer()
    scheduler = package.FSRS(list(parameters))
    items = []
    for ratings, days in histories:
        gaps = np.diff(days, prepend=days[0]).tolist()
        items.append(package.FSRSItem([package.FSRSReview(*review) for review in zip(ratings, gaps, strict=True)]))
    stability = [state.stability for state in scheduler.memory_state_batch(items)]
    p = recall_by_stability(stability, since_days, parameters)
    good = 3
    interval_days = [scheduler.next_interval(*card, good) for card in zip(stability, retention, strict=True)]
    return FsrsCards(p, np.array(interval_days, np.float64))
