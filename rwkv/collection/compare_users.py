"""The predictions of all algorithms for the benchmark's reviews of users, from their histories (spec 2 and 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rwkv.arrays import AnyFloats
from rwkv.collection.own_past import counted_reviews, with_baselines
from rwkv.data.history import RevlogTable
from rwkv.data.keys import (
    LONGEST_DAYS,
    LONGEST_DAYS_AFTER_EASY,
    RARE_CARDS,
    TEST_SPLITS,
    benchmark_keys,
    candidate_reviews,
)
from rwkv.data.revlogs import read_history
from rwkv.errors import RwkvError
from rwkv.evaluation.comparison import AHEAD, IMM, Comparison, baseline_predictions, trained_predictions
from rwkv.model.inputs import draw_sequence
from rwkv.model.runner import Runner
from rwkv.plurals import counted, form
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.predictions import Predictions, empty_predictions
from rwkv.runtime import Failures, progress

# The end of the reason if cards are lacking, and not days.
MORE_CARDS = "more cards are needed"


@dataclass(frozen=True)
class ComparedUsers:
    """The comparison of a folder's users.

    Attributes:
        users: Those with reviews that the benchmark counts.
        left_out: The number of keys without an earlier review to predict from, over all users.
        without: For each of the other users, why no review counts.
        failures: Users whose history cannot be used.
    """

    users: tuple[Comparison, ...]
    left_out: int
    without: Mapping[int, str]
    failures: Failures


def compare_users(root: Path, users: Sequence[int], runner: Runner, missing_notes: str = "own") -> ComparedUsers:
    """Compare AVG, MOVING-AVG, FSRS-6-default, FSRS-6, RWKV and RWKV-P on the benchmark's reviews of users.

    The keys are the default ones, without same-day reviews. Users with a bad history are logged.

    Args:
        root: A folder written by `rwkv import`, or a dataset.
        users: The user numbers.
        runner: Runs the network, as `choose_model(None).runner`.
        missing_notes: Cards without a note: "own" or "published".
    """
    compared, without, failures, left_out = [], {}, Failures(), 0
    for user in progress(users, len(users), "comparison"):
        try:
            table = read_history(root, user, missing_notes)
            comparison, missed = _compare_user(table, runner)
        except RwkvError as error:
            failures.add(user, error)
            continue
        left_out += missed
        if len(comparison) == 0:
            without[user] = why_none_counts(table, missed)
        else:
            compared.append(comparison)
    return ComparedUsers(tuple(compared), left_out, without, failures)


def why_none_counts(table: RevlogTable, left_out: int) -> str:
    """Why the benchmark counts no review of a user.

    Args:
        table: The user's history.
        left_out: The number of keys without an earlier review to predict from.
    """
    if left_out:
        reviews = counted(left_out, "review")
        return f"the {reviews} that would count {form(left_out, 'has', 'have')} no earlier review to predict from"
    later, candidates = int((table.elapsed_days > 0).sum()), len(candidate_reviews(table, short=False, secs=False))
    share = f"{later:,} of {counted(len(table), 'review')} {form(later, 'is', 'are')}"
    usable = f"{share} on a later day than the card's previous review"
    if later <= TEST_SPLITS:
        return f"{usable}, and {TEST_SPLITS + 1} are needed"
    counting = f"{candidates:,} of them {form(candidates, 'counts', 'count')}"
    return (
        f"{usable}, but only {counting}, and {TEST_SPLITS + 1} are needed: cards do not count if their "
        f"first interval is rare, or longer than {LONGEST_DAYS} days ({LONGEST_DAYS_AFTER_EASY} after Easy), and every "
        f"interval is rare after a first rating of {RARE_CARDS} cards or fewer; {MORE_CARDS}"
    )


def _compare_user(table: RevlogTable, runner: Runner) -> tuple[Comparison, int]:
    """A user's predictions, perhaps of no review, and the number of keys left out."""
    keys = benchmark_keys(table, short=False, secs=False)
    baselines: dict[str, AnyFloats] = {}
    predictions = empty_predictions(len(table))
    if len(keys) > 0:
        predictions = _predict_history(table, runner)
        baselines = baseline_predictions(table, keys, short=False, secs=False) | trained_predictions(table)
    p = with_baselines(table, keys, predictions, baselines)
    comparison = counted_reviews(table, keys, {name: p[name] for name in (*baselines, AHEAD, IMM)})
    return comparison, len(keys) - len(comparison)


def _predict_history(table: RevlogTable, runner: Runner) -> Predictions:
    """Predict each review from those before it."""
    engine = Engine(runner, draw_sequence(table.user))
    try:
        return engine.feed(table)
    finally:
        engine.close()
