"""Compare the learners of a dataset with published figures of people: the realism ladder."""

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
from rwkv.runtime import progress
from rwkv.workers import map_users

# So many learners are predicted and fitted side by side: each operation then has enough to do.
_SIDE_BY_SIDE = 100


_WAYS = list(RUNGS)


@dataclass(frozen=True)
class _Checked:
    """What is known of some learners, one entry each: their sizes, and scores of one way to predict them."""

    sizes: list[dict[str, float]]
    scores: list[dict[str, Score]]


def check_simulation(
    data_path: Path, users: Sequence[int], processes: int = 1, results: Mapping[str, Path] | None = None
) -> Ladder:
    """The ladder of these users of a dataset.

    results: files of trained models' results for them, by the name that published figures have, RWKV or RWKV-P.
    Raises InputError where the benchmark tests nothing of anybody, or a file is of other reviews.
    """
    trained = {name: read_scores(path) for name, path in (results or {}).items()}
    parts = [tuple(users[at : at + _SIDE_BY_SIDE]) for at in range(0, len(users), _SIDE_BY_SIDE)]
    checked: dict[int, _Checked] = {}
    with progress((), len(users) * len(_WAYS), "scores", "score") as bar:
        jobs = list(range(len(parts) * len(_WAYS)))
        for outcome in map_users(partial(_check, data_path, parts), jobs, processes):
            if outcome.error is not None:
                raise outcome.error
            if outcome.result is not None:
                checked[outcome.user] = outcome.result
                bar.update(len(outcome.result.scores))
    sizes, scores = [], []
    for first in range(0, len(jobs), len(_WAYS)):
        of_part = [checked[job] for job in range(first, first + len(_WAYS))]
        sizes += of_part[0].sizes
        scores += [dict(chain(*map(dict.items, own))) for own in zip(*(of.scores for of in of_part), strict=True)]
    for name, by_user in trained.items():
        _add_trained(name, by_user, users, scores, str((results or {})[name]))
    if not any(scores):
        raise InputError(
            "The benchmark counts no review of any of these learners.",
            where=str(data_path),
            hint="simulate more learners, or more reviews each",
        )
    return ladder(sizes, scores)


def _check(data_path: Path, parts: Sequence[tuple[int, ...]], job: int) -> _Checked:
    """In a worker: the learners of one part, by one of the ways to predict them."""
    part, way = divmod(job, len(_WAYS))
    sizes, histories = _read(data_path, parts[part])
    return _Checked(sizes, rung_scores(histories, [_WAYS[way]]))


@lru_cache(maxsize=1)  # all ways of a part follow one another
def _read(data_path: Path, users: tuple[int, ...]) -> tuple[list[dict[str, float]], Histories]:
    tables = [read_history(data_path, user) for user in users]
    return [size_figures(table) for table in tables], histories_of(tables)


def _add_trained(
    name: str, by_user: Mapping[int, Score], users: Sequence[int], scores: list[dict[str, Score]], where: str
) -> None:
    """Put a trained model's scores beside the others."""
    for user, of in zip(users, scores, strict=True):
        if user in by_user and of:
            if by_user[user].size != of["AVG"].size:
                raise InputError(
                    "The results are of other reviews than those that the benchmark counts.",
                    where=f"{where}, user {user}",
                    got=f"{by_user[user].size} reviews",
                    expected=f"{of['AVG'].size}",
                    hint="find the keys without SHORT and SECS, and evaluate on this dataset",
                )
            of[name] = by_user[user]
