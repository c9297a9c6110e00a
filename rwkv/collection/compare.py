"""Compare RWKV, FSRS-6, averages and result files on the benchmark's reviews of the users of folders (spec 6)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rwkv.collection.cached_import import person_in, source_of
from rwkv.collection.chosen_model import ChosenModel, choose_model
from rwkv.collection.compare_users import MORE_CARDS, ComparedUsers, compare_users
from rwkv.collection.users import users_in
from rwkv.errors import InputError
from rwkv.evaluation.comparison import AHEAD, IMM, Comparison
from rwkv.evaluation.fsrs_training import trainer
from rwkv.evaluation.model_note import ModelNote, model_at
from rwkv.evaluation.scores import Score, read_scores, write_scores
from rwkv.evaluation.summary import Estimate, Means, SignedRank, common_users, means, signed_ranks, superiority
from rwkv.plurals import counted
from rwkv.runtime import log

Value = TypeVar("Value")

# Users whose reasons a message shows.
_MOST_REASONS = 5


@dataclass(frozen=True)
class ComparedFolders:
    """The comparison of one or several folders. Users are named by number, and by folder if there are several.

    Attributes:
        model: The file of weights.
        notice: A notice about the model, or None.
        users: Predictions by user.
        without: Why no review counts, for users without any.
        left_out: The number of keys without an earlier review to predict from.
        estimates: Metrics with confidence intervals by user, of the algorithms that ran here.
        scores: Scores by algorithm and user, with those of result files.
        counted: The users with a score of every algorithm. The means are over them.
        means: Means by algorithm.
        superiority: By pair of algorithms, the share of users for whom the first has the lower LogLoss.
        signed_ranks: Wilcoxon signed-rank tests by pair of algorithms.
        exit_code: 0, or 1 if a history could not be used.
    """

    model: Path
    notice: str | None
    users: Mapping[str, Comparison]
    without: Mapping[str, str]
    left_out: int
    estimates: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    scores: Mapping[str, Mapping[str, Score]]
    counted: Sequence[str]
    means: Means
    superiority: Mapping[str, Mapping[str, float | None]]
    signed_ranks: Mapping[str, Mapping[str, SignedRank]]
    exit_code: int


def compare_folders(
    folders: Sequence[Path],
    users: Sequence[int] | None = None,
    model: Path | None = None,
    results: Path | None = None,
    write: Path | None = None,
    missing_notes: str = "own",
) -> ComparedFolders:
    """Compare algorithms on users of folders.

    Args:
        folders: Folders written by `rwkv import`, or datasets.
        users: The user numbers; None for all.
        model: The file of weights; None for those of the package.
        results: A folder of result files, whose algorithms are compared, too.
        write: A folder for the result files of the algorithms that run here.
        missing_notes: Cards without a note: "own" or "published".

    Raises:
        InputError: No user has a review to compare, or two people would share a user number in a result file.
        CheckpointError: The file of weights cannot be used.
    """
    trainer()  # fail early if FSRS's package is missing
    numbers_by_folder = {folder: users_in(folder, users) for folder in folders}
    if results is not None or write is not None:
        _check_numbers(numbers_by_folder)
    files = {} if results is None else read_results(results)
    chosen = choose_model(model)
    parts = {
        folder: compare_users(folder, numbers, chosen.runner, missing_notes)
        for folder, numbers in numbers_by_folder.items()
    }
    people = _labelled({folder: {one.user: one for one in part.users} for folder, part in parts.items()})
    if not people:
        raise _nobody(parts)
    own = {
        name: {label: comparison.scores()[name] for label, comparison in people.items()}
        for name in next(iter(people.values())).p
    }
    if write is not None:
        _write_results(write, own, people, chosen.path)
    scores = own | _file_scores(files, own, people)
    common = common_users(scores)
    if not common:
        hint = "remove the files that lack these users, or choose other `users`"
        raise InputError("No user is in all result files.", where=str(results), hint=hint)
    return _compared(chosen, parts, people, scores, common)


def _compared(
    chosen: ChosenModel,
    parts: Mapping[Path, ComparedUsers],
    people: Mapping[str, Comparison],
    scores: Mapping[str, Mapping[str, Score]],
    common: Sequence[str],
) -> ComparedFolders:
    """The comparison of people, with its statistics."""
    return ComparedFolders(
        model=chosen.path,
        notice=chosen.notice,
        users=people,
        without=_labelled({folder: part.without for folder, part in parts.items()}),
        left_out=sum(part.left_out for part in parts.values()),
        estimates={label: comparison.estimates() for label, comparison in people.items()},
        scores=scores,
        counted=common,
        means=means(scores, common),
        superiority=superiority(scores),
        signed_ranks=signed_ranks(scores),
        exit_code=max(part.failures.exit_code() for part in parts.values()),
    )


def _labelled(folders: Mapping[Path, Mapping[int, Value]]) -> dict[str, Value]:
    """Values by user, who is named by number, and by folder if there are several."""
    return {
        person_in(folder, user) if len(folders) > 1 else str(user): value
        for folder, values in folders.items()
        for user, value in values.items()
    }


def _nobody(parts: Mapping[Path, ComparedUsers]) -> InputError:
    """The error if no user can be compared, with the reason for each."""
    reasons = [f"user {user}: {why}" for part in parts.values() for user, why in part.without.items()]
    failed = [f"user {user}: {error.what}" for part in parts.values() for user, error in part.failures.errors.items()]
    lines = (reasons + failed)[:_MOST_REASONS]
    if len(lines) < len(reasons + failed):
        lines.append(f"and {counted(len(reasons + failed) - len(lines), 'more user')}")
    lacking = "cards" if any(reason.endswith(MORE_CARDS) for reason in reasons) else "days"
    hint = f"use a history with more {lacking}; `rwkv report` and `rwkv predict` also work with this one"
    where = ", ".join(map(source_of, parts))
    return InputError("There are no reviews to compare on.", where=where, got="\n    ".join(lines), hint=hint)


def read_results(folder: Path) -> dict[str, dict[int, Score]]:
    """The scores in all result files of a folder, by algorithm and user. Raises InputError if there are none."""
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        hint = "write result files with `rwkv compare --write` or `python -m rwkv.get_result`"
        raise InputError("The folder has no result files.", where=str(folder), expected="files NAME.jsonl", hint=hint)
    return {path.name.removesuffix(".jsonl"): read_scores(path) for path in paths}


def _file_scores(
    files: Mapping[str, Mapping[int, Score]], own: Mapping[str, object], people: Mapping[str, Comparison]
) -> dict[str, dict[str, Score]]:
    """The scores in result files by algorithm and user. An algorithm that also ran here gets a suffix "(file)"."""
    scores = {}
    for name, by_user in files.items():
        present = {label: comparison for label, comparison in people.items() if comparison.user in by_user}
        if not present:
            log.warning("%s.jsonl is ignored: it has none of these users", name)
            continue
        for comparison in present.values():
            if by_user[comparison.user].size != len(comparison):
                log.warning(
                    "%s.jsonl: user %d has %d reviews, not %d",
                    name,
                    comparison.user,
                    by_user[comparison.user].size,
                    len(comparison),
                )
        scores[f"{name} (file)" if name in own else name] = {
            label: by_user[comparison.user] for label, comparison in present.items()
        }
    return scores


def _write_results(
    folder: Path, own: Mapping[str, Mapping[str, Score]], people: Mapping[str, Comparison], model: Path
) -> None:
    for name, by_label in own.items():
        if name in (AHEAD, IMM):
            ModelNote(folder, name).note((comparison.user for comparison in people.values()), model_at(model))
        write_scores(folder, name, {people[label].user: score for label, score in by_label.items()})


def _check_numbers(numbers_by_folder: Mapping[Path, Iterable[int]]) -> None:
    """Raise InputError if two folders have users of the same number, who would share a line in a result file."""
    owner: dict[int, Path] = {}
    for folder, numbers in numbers_by_folder.items():
        for user in numbers:
            if user in owner:
                raise InputError(
                    "Two folders share a user number, which result files cannot distinguish.",
                    where=f"user {user}",
                    got=f"{source_of(owner[user])} and {source_of(folder)}",
                    hint="import both into one folder, which assigns new numbers, or compare without result files",
                )
            owner[user] = folder
