"""Compare simulated learners with published figures of people: the realism ladder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path

from rwkv.data.revlogs import read_history
from rwkv.errors import InputError
from rwkv.evaluation.realism.figures import size_figures
from rwkv.evaluation.realism.histories import Histories, histories_of
from rwkv.evaluation.realism.ladder import Ladder, ladder
from rwkv.evaluation.realism.rungs import RUNGS, rung_scores
from rwkv.evaluation.scores import Score, read_scores
from rwkv.plurals import counted
from rwkv.runtime import progress
from rwkv.workers import map_users

# Learners in one batch; large enough for efficient array operations.
_SIDE_BY_SIDE = 100


_ALGORITHMS = list(RUNGS)


@dataclass(frozen=True)
class _Checked:
    """Figures of some learners, and their scores by one algorithm, one entry each."""

    sizes: list[dict[str, float]]
    scores: list[dict[str, Score]]


def check_simulation(
    data_path: Path, users: Sequence[int], processes: int = 1, results: Mapping[str, Path] | None = None
) -> Ladder:
    """Compute the realism ladder of users of a dataset.

    Args:
        data_path: The dataset.
        users: The user numbers.
        processes: The number of worker processes.
        results: Result files of trained models for these users, by the name in the published figures: RWKV or RWKV-P.

    Raises:
        InputError: The benchmark counts no review of these users, or a result file is for other reviews.
    """
    trained = {name: read_scores(path) for name, path in (results or {}).items()}
    parts = [tuple(users[at : at + _SIDE_BY_SIDE]) for at in range(0, len(users), _SIDE_BY_SIDE)]
    checked: dict[int, _Checked] = {}
    with progress((), len(users) * len(_ALGORITHMS), "scores", "score") as bar:
        jobs = list(range(len(parts) * len(_ALGORITHMS)))
        for outcome in map_users(partial(_check, data_path, parts), jobs, processes):
            if outcome.error is not None:
                raise outcome.error
            if outcome.result is not None:
                checked[outcome.user] = outcome.result
                bar.update(len(outcome.result.scores))
    sizes, scores = [], []
    for first in range(0, len(jobs), len(_ALGORITHMS)):
        part = [checked[job] for job in range(first, first + len(_ALGORITHMS))]
        sizes += part[0].sizes
        by_learner = zip(*(algorithm.scores for algorithm in part), strict=True)
        scores += [dict(chain(*map(dict.items, entries))) for entries in by_learner]
    for name, by_user in trained.items():
        _add_trained(name, by_user, users, scores, str((results or {})[name]))
    if not any(scores):
        raise InputError(
            "The benchmark counts no review of any of these learners.",
            where=str(data_path),
            hint="simulate more learners, or more reviews of each",
        )
    return ladder(sizes, scores)


def _check(data_path: Path, parts: Sequence[tuple[int, ...]], job: int) -> _Checked:
    """In a worker: score the learners of one part by one algorithm."""
    part, algorithm = divmod(job, len(_ALGORITHMS))
    sizes, histories = _read(data_path, parts[part])
    return _Checked(sizes, rung_scores(histories, [_ALGORITHMS[algorithm]]))


@lru_cache(maxsize=1)  # consecutive jobs share a part
def _read(data_path: Path, users: tuple[int, ...]) -> tuple[list[dict[str, float]], Histories]:
    tables = [read_history(data_path, user) for user in users]
    return [size_figures(table) for table in tables], histories_of(tables)


def _add_trained(
    name: str, by_user: Mapping[int, Score], users: Sequence[int], scores: list[dict[str, Score]], where: str
) -> None:
    """Add a trained model's scores to those of the other algorithms."""
    for user, by_name in zip(users, scores, strict=True):
        if user in by_user and by_name:
            if by_user[user].size != by_name["AVG"].size:
                raise InputError(
                    "The result file does not match the reviews that the benchmark counts.",
                    where=f"{where}, user {user}",
                    got=counted(by_user[user].size, "review"),
                    expected=f"{by_name['AVG'].size}",
                    hint="find the keys without SHORT and SECS, and evaluate on this dataset",
                )
            by_name[name] = by_user[user]
