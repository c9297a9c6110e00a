"""Predict many users review by review in several processes, and print their metrics and the means (spec 7)."""

from dataclasses import dataclass
from functools import partial

from tqdm import tqdm

from rwkv.benchmark.databases import users_with_history
from rwkv.benchmark.single_user import load_runner, read_user, review_lines, score_keys, walk
from rwkv.config import RecurrentConfig
from rwkv.evaluation.scores import Score
from rwkv.evaluation.summary import format_means
from rwkv.plurals import counted
from rwkv.recurrent.predictions import joined
from rwkv.runtime import Failures, log, progress
from rwkv.workers import map_users


@dataclass(frozen=True)
class _Walked:
    """The result for one user. lines: predictions, with VERBOSE. scores: empty if no key has both predictions."""

    lines: tuple[str, ...]
    scores: dict[str, Score]
    left_out: int
    notices: tuple[str, ...]


def run_many_users(config: RecurrentConfig) -> int:
    """Print the metrics of each configured user when it is done, and the means. Returns the exit code."""
    users = users_with_history(config.data_path, config.users)
    load_runner(config)  # fail early, and once
    failures = Failures()
    scored: dict[int, dict[str, Score]] = {}
    left_out = 0
    for outcome in progress(map_users(partial(_walk, config), users, config.processes), len(users), "users"):
        if outcome.error is not None:
            failures.add(outcome.user, outcome.error)
        elif outcome.result is not None:
            _print_user(outcome.user, outcome.result)
            left_out += outcome.result.left_out
            if outcome.result.scores:
                scored[outcome.user] = outcome.result.scores
    if left_out:
        log.info("%s left out: no earlier review to predict from", counted(left_out, "key"))
    _print_means(scored)
    return failures.exit_code()


def _walk(config: RecurrentConfig, user: int) -> _Walked:
    table, keys = read_user(config, user)
    predictions = joined(list(walk(config, table)))
    lines = tuple(review_lines(predictions, table)) if config.verbose else ()
    return _Walked(lines, *score_keys(table, keys, predictions), table.notices)


def _print_user(user: int, walked: _Walked) -> None:
    for notice in walked.notices:
        log.info("user %d: %s", user, notice)
    # print() would break the progress bar.
    for line in walked.lines:
        tqdm.write(f"user, {user}, {line}")
    if not walked.scores:
        tqdm.write(f"User {user} has no reviews that the benchmark counts, so there are no metrics.")
        return
    size = next(iter(walked.scores.values())).size
    parts = [f"{name}: {score.metrics}" for name, score in walked.scores.items()]
    tqdm.write(", ".join([f"user {user}, {counted(size, 'review')}", *parts]))


def _print_means(scored: dict[int, dict[str, Score]]) -> None:
    if not scored:
        print("No user has reviews that the benchmark counts, so there are no means.")
        return
    users = sorted(scored)
    names = scored[users[0]]
    print(format_means({name: {user: scored[user][name] for user in users} for name in names}, users))
