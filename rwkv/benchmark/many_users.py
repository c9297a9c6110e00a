"""Walk many users' reviews in order, each user in one of several processes: a line for each, and the means (spec 7)."""

from dataclasses import dataclass
from functools import partial

from tqdm import tqdm

from rwkv.benchmark.databases import users_with_history
from rwkv.benchmark.single_user import network_of, read_user, review_lines, score_keys, walk
from rwkv.config import RecurrentConfig
from rwkv.evaluation.scores import Score
from rwkv.evaluation.summary import format_means
from rwkv.recurrent.predictions import joined
from rwkv.runtime import Failures, log, progress
from rwkv.workers import map_users


@dataclass(frozen=True)
class _Walked:
    """What came of one user. lines: of the reviews where VERBOSE is set. scores: empty where no key has both."""

    lines: tuple[str, ...]
    scores: dict[str, Score]
    left_out: int
    notices: tuple[str, ...]


def run_many_users(config: RecurrentConfig) -> int:
    """Print how good the model was for each of the configured users, as they are done, and the means.

    Returns the exit code.
    """
    users = users_with_history(config.data_path, config.users)
    network_of(config)  # whatever is wrong with it is said once, and before any work
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
        log.info("%d keys were left out: nothing earlier in the history predicts them", left_out)
    _print_means(scored)
    return failures.exit_code()


def _walk(config: RecurrentConfig, user: int) -> _Walked:
    table, keys = read_user(config, user)
    said = joined(list(walk(config, table)))
    lines = tuple(review_lines(said, table)) if config.verbose else ()
    return _Walked(lines, *score_keys(table, keys, said), table.notices)


def _print_user(user: int, walked: _Walked) -> None:
    for notice in walked.notices:
        log.info("user %d: %s", user, notice)
    # Plain printing would tear the progress bar.
    for line in walked.lines:
        tqdm.write(f"user, {user}, {line}")
    if not walked.scores:
        tqdm.write(f"User {user} has no reviews that the benchmark counts, so there are no metrics.")
        return
    size = next(iter(walked.scores.values())).size
    parts = [f"{name}: {of.metrics}" for name, of in walked.scores.items()]
    tqdm.write(", ".join([f"user {user}, {size} reviews", *parts]))


def _print_means(scored: dict[int, dict[str, Score]]) -> None:
    if not scored:
        print("No user has reviews that the benchmark counts, so there are no means.")
        return
    users = sorted(scored)
    names = scored[users[0]]
    print(format_means({name: {user: scored[user][name] for user in users} for name in names}, users))
