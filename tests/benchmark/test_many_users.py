"""run_as_rnn over many users: lines and means equal those of single users for any number of processes."""

import ast
import re

import numpy as np
import pytest

from tests.benchmark.test_single_user import NO_KEYS_USER, Run, metrics_of, run, workspace
from tests.helpers import USER

__all__ = ["run", "workspace"]  # fixtures

LINE = re.compile(r"user (\d+), (\d+) reviews, RWKV-P: ({.*?}), RWKV: ({.*?})")
FIRST, LAST = USER, 9


def users_of(lines: list[str]) -> dict[int, tuple[int, dict[str, float], dict[str, float]]]:
    """By user: reviews, and the metrics of RWKV-P and RWKV."""
    matches = [match for match in map(LINE.fullmatch, lines) if match]
    return {int(m[1]): (int(m[2]), ast.literal_eval(m[3]), ast.literal_eval(m[4])) for m in matches}


@pytest.fixture
def many(run: Run) -> Run:
    return lambda **changed: run(**{"USER": None, "USER_START": FIRST, "USER_END": LAST} | changed)


@pytest.mark.parametrize("processes", [1, 2])
def test_users_together_have_the_metrics_of_each_alone(many: Run, run: Run, processes: int) -> None:
    printed = many(PROCESSES=processes)
    assert printed.code == 0
    result = users_of(printed.out)
    assert set(result) == {FIRST, LAST}
    for user, (_, immediate, ahead) in result.items():
        assert {"RWKV-P": immediate, "RWKV": ahead} == metrics_of(run(USER=user).out)
    assert f"User {NO_KEYS_USER} has no reviews that the benchmark counts, so there are no metrics." in printed.out


def test_the_means_are_weighted_by_reviews_and_over_users(many: Run) -> None:
    printed = many()
    sizes, immediate, ahead = zip(*users_of(printed.out).values(), strict=True)
    for table, weights, means in (
        (printed.out[-9:-5], sizes, "means weighted by reviews"),
        (printed.out[-4:], [1, 1], "means over users"),
    ):
        header, *rows, closing = table
        assert header.split() == ["LogLoss", "RMSE(bins)", "AUC"]
        for row, metrics in zip(rows, (immediate, ahead), strict=True):
            expected = np.average([of_user["LogLoss"] for of_user in metrics], weights=weights)
            assert float(row.split()[1]) == pytest.approx(expected, abs=6e-5)
        assert closing == f"2 users, {sum(sizes):,} reviews, {means}"


def test_verbose_lines_name_their_user(many: Run, run: Run) -> None:
    printed = many(VERBOSE=True)
    alone = run(VERBOSE=True).out
    lines = [line for line in alone if line.startswith("review, ")]
    assert [line for line in printed.out if line.startswith(f"user, {USER}, ")] == [f"user, {USER}, {x}" for x in lines]


def test_users_outside_the_dataset_or_without_keys_are_reported(many: Run) -> None:
    """User 5 is not in the dataset; without keys under the prefix nobody can be scored, which ends with 1."""
    printed = many(USER_START=None, USER_END=None, USER_IDS=[USER, 5])
    assert printed.code == 0
    assert set(users_of(printed.out)) == {USER}
    assert "not in the dataset: 1 of 2 configured users" in printed.err
    lost = many(LABEL_FILTER_KEY_PREFIX="other_")
    assert lost.code == 1
    assert "3 users were skipped" in lost.err
    assert "Traceback" not in lost.err


def test_one_user_and_many_at_once_are_refused(many: Run) -> None:
    printed = many(USER=USER)
    assert printed.code == 2
    assert f"USER = {USER}: expected a user number" in printed.err
