"""The only user of the package fsrs-rs-python: FSRS-6 with parameters learnt from a person's own reviews."""

from contextlib import suppress
from types import ModuleType

import numpy as np

from rwkv.arrays import AnyInts, Float32s
from rwkv.data.keys import folds_of
from rwkv.errors import InputError
from rwkv.evaluation.fsrs6 import DEFAULT_PARAMETERS, fsrs_predictions
from rwkv.extras import missing_package

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
        raise missing_package("fsrs_rs_python", "Optimising FSRS-6", str(error)) from error
    return fsrs_rs_python


def has_trainer() -> bool:
    """Whether the package is installed."""
    with suppress(InputError):
        trainer()
        return True
    return False


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
    """The 21 parameters of FSRS-6 optimised on all candidates [m]; the defaults if there are none."""
    if len(candidates) == 0:
        return list(DEFAULT_PARAMETERS)
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
