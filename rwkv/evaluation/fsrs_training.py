"""The door to the package fsrs-rs-python: FSRS-6 with parameters learnt from a person's own reviews."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from rwkv.arrays import AnyInts, Float32s, Floats
from rwkv.data.keys import folds_of
from rwkv.errors import InputError
from rwkv.evaluation.baselines import fsrs_predictions, recall_by_stability

# As the benchmark rounds them. float32 values of the package would also lie beyond its own bounds.
_PLACES = 4


def trainer() -> ModuleType:
    """The package. Raises InputError where it is not installed."""
    try:
        import fsrs_rs_python
    except ImportError as error:
        raise InputError(
            "FSRS-6 with parameters of one's own needs the package fsrs-rs-python, which is not installed.",
            got=str(error),
            hint='run `pip install "rwkv-srs[compare]"` or `pip install fsrs-rs-python`',
        ) from error
    return fsrs_rs_python


def trained_fsrs_predictions(card: AnyInts, rating: AnyInts, day: AnyInts, candidates: AnyInts) -> Float32s:
    """FSRS-6 optimised on the user: each fold of the benchmark by parameters learnt from the candidates before it.

    card, rating, day: as of `fsrs_predictions`. candidates: their rows [m], in time order.
    Returns float32 [5 * (m // 6)], for the reviews of the five folds. Source: the benchmark's FSRS-rs, which trains as
    Anki does, with recent reviews counting more; spec 2, step 12.
    """
    items = _items(card, rating, day, candidates)
    parts = [np.empty(0, np.float32)]
    for fold in folds_of(len(candidates)):
        wanted = candidates[fold]
        if len(wanted) == 0:
            continue
        learnt = _learnt(items[: fold.start])
        rows = np.flatnonzero(np.isin(card[: wanted[-1] + 1], card[wanted]))
        p = np.full(wanted[-1] + 1, np.nan, np.float32)
        p[rows] = fsrs_predictions(card[rows], rating[rows], day[rows], learnt)
        parts.append(p[wanted])
    return np.concatenate(parts)


def learnt_parameters(card: AnyInts, rating: AnyInts, day: AnyInts, candidates: AnyInts) -> list[float]:
    """The 21 parameters of FSRS-6 learnt from all candidates [m]; the package's defaults for none."""
    if len(candidates) == 0:
        return list(trainer().DEFAULT_PARAMETERS)
    return _learnt(_items(card, rating, day, candidates))


def _learnt(items: list[object]) -> list[float]:
    return [round(value, _PLACES) for value in trainer().FSRS([]).benchmark(items)]


def _items(card: AnyInts, rating: AnyInts, day: AnyInts, candidates: AnyInts) -> list[object]:
    """Each candidate as the package takes it: all reviews of its card up to this one, with the days between them."""
    package = trainer()
    is_candidate = np.zeros(len(card), bool)
    is_candidate[candidates] = True
    histories: dict[int, list[object]] = {}
    last_day: dict[int, int] = {}
    items = []
    reviews = zip(card.tolist(), rating.tolist(), day.tolist(), is_candidate.tolist(), strict=True)
    for of_card, of_rating, now, is_wanted in reviews:
        history = histories.setdefault(of_card, [])
        history.append(package.FSRSReview(of_rating, now - last_day.get(of_card, now)))
        last_day[of_card] = now
        if is_wanted:
            items.append(package.FSRSItem(history))
    return items


@dataclass(frozen=True)
class FsrsCards:
    """FSRS-6 of some cards now, [c] each. p: recall. interval_days: from the last review to the desired retention."""

    p: Floats
    interval_days: Floats


def fsrs_now(
    histories: Sequence[tuple[Sequence[int], Sequence[int]]],
    since_days: Sequence[int],
    retention: Sequence[float],
    parameters: Sequence[float],
) -> FsrsCards:
    """What FSRS-6 says of cards with at least one review.

    histories [c]: of each card its ratings, and the whole days since any date on which they were given. since_days:
    since the last review. retention: desired. Source: the package's memory states, intervals and forgetting curve.
    """
    package = trainer()
    scheduler = package.FSRS(list(parameters))
    items = []
    for ratings, days in histories:
        gaps = np.diff(days, prepend=days[0]).tolist()
        items.append(package.FSRSItem([package.FSRSReview(*of) for of in zip(ratings, gaps, strict=True)]))
    stability = [state.stability for state in scheduler.memory_state_batch(items)]
    p = recall_by_stability(stability, since_days, parameters)
    days = [scheduler.next_interval(*of, 3) for of in zip(stability, retention, strict=True)]
    return FsrsCards(p, np.array(days, np.float64))
