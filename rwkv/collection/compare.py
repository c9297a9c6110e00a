"""RWKV, FSRS-6 and averages on the benchmark's reviews of some users, straight from their histories (spec 2 and 6)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rwkv.collection.chosen_model import choose_model
from rwkv.collection.users import users_in
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
from rwkv.data.segments import whole_history
from rwkv.errors import InputError, RwkvError
from rwkv.evaluation.comparison import AHEAD, IMM, Comparison, baseline_predictions, trained_predictions
from rwkv.evaluation.fsrs_training import trainer
from rwkv.evaluation.history_predictions import find_targets, predict_history
from rwkv.evaluation.model_note import ModelNote, model_at
from rwkv.evaluation.scores import Score, read_scores, write_scores
from rwkv.evaluation.summary import Estimate, Means, SignedRank, common_users, means, signed_ranks, superiority
from rwkv.model.network import Network
from rwkv.runtime import Failures, log, progress

# Users of whom a message says why nothing of theirs counts.
_MOST_REASONS = 5


@dataclass(frozen=True)
class ComparedUsers:
    """users: those with reviews that the benchmark counts. left_out: keys that nothing earlier predicts, of all of
    them. without: why no review counts, of the other users. failures: users whose history cannot be used.
    """

    users: tuple[Comparison, ...]
    left_out: int
    without: Mapping[int, str]
    failures: Failures


@dataclass(frozen=True)
class ComparedFolders:
    """What `compare` found, by algorithm and user. Users are named by number, with several folders also by folder.

    without: why no review counts, of users who are not among them.
    scores: also of algorithms read from result files. counted: users that have all of them, who make the means.
    estimates: of the algorithms that ran here, by user.
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
    """Compare on these users of dataset folders, all users if None.

    results: a folder of result files, of which every algorithm is compared too. write: a folder that gets ours.
    Raises InputError where nobody is there to be compared, or a user number would mean two people in a result file.
    """
    trainer()  # whatever is missing is said before anything takes time
    wanted = {folder: users_in(folder, users) for folder in folders}
    if results is not None or write is not None:
        _check_numbers(wanted)
    files = {} if results is None else read_results(results)
    chosen = choose_model(model)
    parts = {
        folder: compare_users(folder, numbers, chosen.network, missing_notes) for folder, numbers in wanted.items()
    }
    label = "{user}".format if len(wanted) == 1 else "{folder}: {user}".format
    people = {label(folder=folder, user=one.user): one for folder, part in parts.items() for one in part.users}
    without = {
        label(folder=folder, user=user): why for folder, part in parts.items() for user, why in part.without.items()
    }
    if not people:
        raise _nobody(parts)
    own = {name: {label: one.scores()[name] for label, one in people.items()} for name in next(iter(people.values())).p}
    if write is not None:
        _write_results(write, own, people, chosen.path)
    scores = own | _of_people(files, own, people)
    counted = common_users(scores)
    if not counted:
        hint = "leave out the files that lack these users, or compare others with --users"
        raise InputError("There is no user of whom all result files have a line.", where=str(results), hint=hint)
    return ComparedFolders(
        model=chosen.path,
        notice=chosen.notice,
        users=people,
        without=without,
        left_out=sum(part.left_out for part in parts.values()),
        estimates={label: one.estimates() for label, one in people.items()},
        scores=scores,
        counted=counted,
        means=means(scores, counted),
        superiority=superiority(scores),
        signed_ranks=signed_ranks(scores),
        exit_code=max(part.failures.exit_code() for part in parts.values()),
    )


def compare_users(root: Path, users: Sequence[int], network: Network, missing_notes: str = "own") -> ComparedUsers:
    """AVG, MOVING-AVG, FSRS-6-default, FSRS-6, RWKV and RWKV-P at the benchmark's keys of users of a dataset folder.

    The keys are the default ones, without same-day reviews. Users whose history is bad, or who have no key, are told in
    the log.
    """
    compared, without, failures, left_out = [], {}, Failures(), 0
    for user in progress(users, len(users), "comparison"):
        try:
            table = read_history(root, user, missing_notes)
            one, missed = _compare_user(table, network)
        except RwkvError as error:
            failures.add(user, error)
            continue
        left_out += missed
        if len(one) == 0:
            without[user] = why_none_counts(table, missed)
            log.info("user %d has no review that the benchmark counts: %s", user, without[user])
        else:
            compared.append(one)
    return ComparedUsers(tuple(compared), left_out, without, failures)


def why_none_counts(table: RevlogTable, left_out: int) -> str:
    """Why the benchmark counts no review of a user. left_out: of how many keys nothing earlier was found."""
    if left_out:
        return f"nothing earlier in the history predicts the {left_out} that it would count"
    later, candidates = int((table.elapsed_days > 0).sum()), len(candidate_reviews(table, short=False, secs=False))
    of_all = f"of {len(table)} reviews {later} lie on a later day than the card's review before"
    if later <= TEST_SPLITS:
        return f"{of_all}, and {TEST_SPLITS + 1} are needed"
    return (
        f"{of_all}, but {candidates} remain of the {TEST_SPLITS + 1} that are needed: cards whose first interval is "
        f"rare, or longer than {LONGEST_DAYS} days ({LONGEST_DAYS_AFTER_EASY} after Easy), do not count, and where "
        f"{RARE_CARDS} cards or fewer had the same first button, every interval is rare"
    )


def _nobody(parts: Mapping[Path, ComparedUsers]) -> InputError:
    """The error to raise where nobody can be compared, with the reason of each user."""
    reasons = [f"user {user}: {why}" for part in parts.values() for user, why in part.without.items()]
    failed = [f"user {user}: {error.what}" for part in parts.values() for user, error in part.failures.errors.items()]
    told = (reasons + failed)[:_MOST_REASONS]
    if len(told) < len(reasons + failed):
        told.append(f"and {len(reasons + failed) - len(told)} more users")
    hint = "take a longer history; `rwkv report` and `rwkv predict` need none of this"
    where = ", ".join(map(str, parts))
    return InputError("There is no review to compare on.", where=where, got="\n    ".join(told), hint=hint)


def _compare_user(table: RevlogTable, network: Network) -> tuple[Comparison, int]:
    """A user's predictions, possibly of no review, and how many keys are left out."""
    keys = benchmark_keys(table, short=False, secs=False)
    history = whole_history(table, keys.mark(table.review_th))
    targets = find_targets(history, keys)
    p = {}
    if len(targets) > 0:
        predictions = predict_history(network, history, targets)
        baselines = baseline_predictions(table, keys, short=False, secs=False) | trained_predictions(table)
        predicted = np.isin(keys.review_ths, targets.review_th)
        p = {name: column[predicted] for name, column in baselines.items()} | {
            AHEAD: predictions.p_ahead,
            IMM: predictions.p_imm,
        }
    return Comparison(table.user, targets.review_th, p, targets.y, targets.bins), targets.left_out


def read_results(folder: Path) -> dict[str, dict[int, Score]]:
    """The scores in all result files of a folder, by algorithm and user. Raises InputError where there are none."""
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        hint = "get_result and `rwkv compare --write` make such files"
        raise InputError("There are no result files.", where=str(folder), expected="files NAME.jsonl", hint=hint)
    return {path.name.removesuffix(".jsonl"): read_scores(path) for path in paths}


def _of_people(
    files: Mapping[str, Mapping[int, Score]], own: Mapping[str, object], people: Mapping[str, Comparison]
) -> dict[str, dict[str, Score]]:
    """The scores in result files of the people compared. An algorithm that ran here too is told apart by its name."""
    scores = {}
    for name, by_user in files.items():
        present = {label: one for label, one in people.items() if one.user in by_user}
        if not present:
            log.warning("%s.jsonl is left out: it holds none of these users", name)
            continue
        for one in present.values():
            if by_user[one.user].size != len(one):
                log.warning(
                    "%s.jsonl: user %d has %d reviews, not %d", name, one.user, by_user[one.user].size, len(one)
                )
        scores[f"{name} (file)" if name in own else name] = {label: by_user[one.user] for label, one in present.items()}
    return scores


def _write_results(
    folder: Path, own: Mapping[str, Mapping[str, Score]], people: Mapping[str, Comparison], model: Path
) -> None:
    for name, by_label in own.items():
        if name in (AHEAD, IMM):
            ModelNote(folder, name).note((one.user for one in people.values()), model_at(model))
        write_scores(folder, name, {people[label].user: score for label, score in by_label.items()})


def _check_numbers(wanted: Mapping[Path, Iterable[int]]) -> None:
    """Raise InputError where two folders hold users of the same number, who would share a line in a result file."""
    owner: dict[int, Path] = {}
    for folder, numbers in wanted.items():
        for user in numbers:
            if user in owner:
                raise InputError(
                    "Result files tell users apart by their number alone, and two folders share one.",
                    where=f"user {user}",
                    got=f"{owner[user]} and {folder}",
                    hint="import both into one folder, which numbers them anew, or compare without result files",
                )
            owner[user] = folder
