"""`python -m rwkv.find_equalize_test_reviews` from configuration to database, and its errors."""

import numpy as np
import pytest

from rwkv.data.keys import benchmark_keys
from rwkv.data.revlogs import read_history
from tests.benchmark.workspace import (
    DAMAGES,
    Damage,
    Workspace,
    add_users,
    assert_said,
    block,
    items,
    unblock,
)
from tests.helpers import revlog_columns, write_history

COMMAND = "rwkv.find_equalize_test_reviews"
USERS = [1, 2, 3, 12]
KINDS = {"": (False, False), "short_": (True, False), "secs_": (False, True), "short_secs_": (True, True)}


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    add_users(workspace.dataset, USERS)
    return workspace


# --- Which keys


def test_four_kinds_of_keys_share_a_database(filled: Workspace) -> None:
    for prefix, (short, secs) in KINDS.items():
        assert filled.find_keys(LABEL_FILTER_KEY_PREFIX=prefix, SHORT=short, SECS=secs) == 0
    for user in USERS:
        history = read_history(filled.dataset, user)
        result = set()
        for prefix, kind in KINDS.items():
            keys, expected = filled.keys(user, prefix), benchmark_keys(history, *kind)
            np.testing.assert_array_equal(keys.review_ths, expected.review_ths)
            np.testing.assert_array_equal(keys.rmse_bins, expected.rmse_bins)
            result.add(keys.review_ths.tobytes() + keys.rmse_bins.tobytes())
        # Without fractions of a day, same-day reviews are no candidates either way: two of the four agree.
        assert len(result) == len(KINDS) - 1


@pytest.mark.parametrize(("short", "secs"), list(KINDS.values())[1:])
def test_flags_mean_the_same_as_keys(filled: Workspace, short: bool, secs: bool) -> None:
    flags = [flag for flag, is_on in (("--short", short), ("--secs", secs)) if is_on]
    assert filled.find_keys(SHORT=short, SECS=secs) == 0
    assert filled.find_keys(*flags, LABEL_FILTER_LMDB_PATH=str(filled.root / "flags_db")) == 0
    assert items(filled.root / "flags_db") == items(filled.root / "keys_db")


def test_another_kind_under_the_same_prefix_is_an_error(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.find_keys() == 0
    before = items(filled.root / "keys_db")
    assert filled.find_keys("--short", "--secs") == 2
    words = ("LABEL_FILTER_KEY_PREFIX ''", "SHORT = True, SECS = True", "SHORT = False, SECS = False")
    assert_said(capsys, *words)
    assert items(filled.root / "keys_db") == before


def test_keys_of_the_newest_published_configuration_have_no_prefix(filled: Workspace) -> None:
    """It has SHORT and SECS in the file."""
    assert filled.find_keys(SHORT=True, SECS=True, ALGO="FSRS-6", PROCESSES=9) == 0
    for user in USERS:
        expected = benchmark_keys(read_history(filled.dataset, user), True, True)
        np.testing.assert_array_equal(filled.keys(user).review_ths, expected.review_ths)


@pytest.mark.parametrize(
    ("prefix", "flags", "lacking"),
    [
        ("short_secs_", (), "--short --secs"),
        ("short_secs_", ("--short",), "--secs"),
        ("short_", ("--secs",), "--short"),
        ("mine_secs_2_", (), "--secs"),
    ],
)
def test_a_prefix_that_names_another_kind_is_refused(
    filled: Workspace, capsys: pytest.CaptureFixture[str], prefix: str, flags: tuple[str, ...], lacking: str
) -> None:
    assert filled.find_keys(*flags, LABEL_FILTER_KEY_PREFIX=prefix) == 2
    assert_said(capsys, f"LABEL_FILTER_KEY_PREFIX = '{prefix}'", f"next: use {lacking}, or choose another prefix")
    assert not (filled.root / "keys_db").exists()
    assert filled.find_keys(*flags, *lacking.split(), LABEL_FILTER_KEY_PREFIX=prefix) == 0


@pytest.mark.parametrize("prefix", ["", "secs_"])
def test_the_keys_of_one_prefix_are_deleted(filled: Workspace, capsys: pytest.CaptureFixture[str], prefix: str) -> None:
    for other, (short, secs) in KINDS.items():
        assert filled.find_keys(LABEL_FILTER_KEY_PREFIX=other, SHORT=short, SECS=secs) == 0
    before = items(filled.root / "keys_db")
    assert filled.find_keys("--delete", LABEL_FILTER_KEY_PREFIX=prefix) == 0
    assert_said(capsys, f"deleted 9 entries with LABEL_FILTER_KEY_PREFIX '{prefix}'")
    assert filled.users_with_keys(prefix) == []
    left = items(filled.root / "keys_db")
    assert len(left) == len(before) - 9
    assert before.items() > left.items()
    assert filled.find_keys("--short", "--secs", LABEL_FILTER_KEY_PREFIX=prefix) == 0, "also of another kind"


def test_deleting_from_a_missing_database_is_refused(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.find_keys("--delete") == 2
    assert_said(capsys, "The database does not exist", "keys_db")
    assert not (filled.root / "keys_db").exists()


def test_keys_may_be_set_on_the_command_line(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.find_keys("--set", "USER_IDS=[2, 12]", "--set", "LABEL_FILTER_KEY_PREFIX=other_") == 0
    assert filled.users_with_keys("other_") == [2, 12]
    assert filled.find_keys("--set", "USER_IDS=[]") == 2
    assert_said(capsys, "USER_IDS = []", "and --set")
    with pytest.raises(SystemExit) as caught:
        filled.find_keys("--set", "USER_START")
    assert caught.value.code == 2
    assert_said(capsys, "'USER_START' is not of the form KEY=VALUE")


def test_a_user_without_keys_is_reported_and_marked_done(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    write_history(filled.dataset, 5, revlog_columns([1, 2, 3], [0, 10, 20]))
    assert filled.find_keys() == 0
    assert_said(capsys, "user 5 has no keys")
    assert len(filled.keys(5)) == 0
    assert filled.find_keys() == 0
    assert_said(capsys, "5 users, 5 of them done before")


# --- Which users, and how often


def test_user_ids_override_the_range(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.find_keys(USER_IDS=[12, 2, 999]) == 0
    assert filled.users_with_keys() == [2, 12]
    stored = len(filled.keys(2)) + len(filled.keys(12))
    assert_said(capsys, "not in the dataset: 1 of 3 configured users", f"keys of {stored:,} reviews stored")
    assert filled.find_keys(USER_START=None, USER_END=None, USER_IDS=[3]) == 0
    assert filled.users_with_keys() == [2, 3, 12]
    assert filled.find_keys(USER_IDS=list(range(12, 1512))) == 0
    assert_said(capsys, "not in the dataset: 1,499 of 1,500 configured users")
    assert filled.find_keys(USER_IDS=[999]) == 2
    assert_said(capsys, "users between 1 and 12", "correct USER_START and USER_END, or USER_IDS")


def test_both_ends_of_the_range_are_included(filled: Workspace) -> None:
    assert filled.find_keys(USER_START=2, USER_END=3) == 0
    assert filled.users_with_keys() == [2, 3]


def test_users_that_are_done_are_not_read_again(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.find_keys(USER_IDS=[1, 3]) == 0
    before = items(filled.root / "keys_db")
    for user in (1, 3):
        (filled.dataset / "revlogs" / f"user_id={user}" / "data.parquet").write_bytes(b"")
    assert filled.find_keys() == 0
    assert_said(capsys, "4 users, 2 of them done before")
    assert filled.users_with_keys() == USERS
    assert items(filled.root / "keys_db").items() >= before.items()


def test_several_processes_make_the_same_database(filled: Workspace) -> None:
    add_users(filled.dataset, range(20, 30))
    assert filled.find_keys() == 0
    assert filled.find_keys(PROCESSES=3, LABEL_FILTER_LMDB_PATH=str(filled.root / "three_db")) == 0
    assert items(filled.root / "three_db") == items(filled.root / "keys_db")
    assert len(items(filled.root / "keys_db")) == 2 * 14 + 1


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_continues(workspace: Workspace, processes: int) -> None:
    """The run stands still at user 70 of 80 when it is killed, some batches after the first."""
    revlogs = add_users(workspace.dataset, range(1, 81))
    block(workspace.dataset, 70)
    workspace.killed(COMMAND, lambda: len(workspace.users_with_keys()) >= 64, PROCESSES=processes)
    before = items(workspace.root / "keys_db")
    assert 64 <= len(workspace.users_with_keys()) < 80
    unblock(workspace.dataset, 70, revlogs[70])
    assert workspace.find_keys() == 0
    assert items(workspace.root / "keys_db").items() >= before.items()
    assert workspace.find_keys(LABEL_FILTER_LMDB_PATH=str(workspace.root / "whole_db")) == 0
    assert items(workspace.root / "keys_db") == items(workspace.root / "whole_db")


# --- What is wrong


@pytest.mark.parametrize("processes", [1, 2])
@DAMAGES
def test_a_damaged_user_is_skipped_and_listed(
    filled: Workspace, capsys: pytest.CaptureFixture[str], damage: Damage, words: tuple[str, ...], processes: int
) -> None:
    damage(filled.dataset, 2)
    assert filled.find_keys(PROCESSES=processes) == 1
    assert_said(capsys, "user 2 skipped", "1 user was skipped:\n  2: ", *words)
    assert filled.users_with_keys() == [1, 3, 12]
    add_users(filled.dataset, [2])
    assert filled.find_keys(PROCESSES=processes) == 0
    assert filled.users_with_keys() == USERS


def test_a_missing_dataset_is_an_error(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert workspace.find_keys() == 2
    assert_said(capsys, "The folder has no dataset", str(workspace.dataset), "rwkv simulate")
    assert not (workspace.root / "keys_db").exists()


def test_an_empty_dataset_is_an_error(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace.dataset / "revlogs").mkdir(parents=True)
    assert workspace.find_keys() == 2
    assert_said(capsys, "The dataset is empty", str(workspace.dataset))


def test_a_range_without_users_is_an_error(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.find_keys(USER_START=5, USER_END=9) == 2
    assert_said(capsys, "users 5 to 9", "users between 1 and 12", "USER_START")


def test_a_wrong_configuration_is_an_error(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.find_keys(PROCESSES="two", SHRT=True) == 2
    assert_said(capsys, "PROCESSES", "SHRT", "SHORT")


def test_keys_of_another_version_are_an_error(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.find_keys(USER_IDS=[1]) == 0
    path = filled.root / "keys_db"
    changed = items(path)["meta"].replace(b'"version": 1', b'"version": 99')
    filled.put("keys_db", {"meta": changed})
    assert filled.find_keys() == 2
    assert_said(capsys, "another version", str(path), "version 99", "version 1")
    assert filled.users_with_keys() == [1]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_full_map_names_its_key_and_loses_nothing(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], processes: int
) -> None:
    add_users(workspace.dataset, range(1, 101))
    size = 1 << 16
    assert workspace.find_keys(LABEL_FILTER_LMDB_SIZE=size, PROCESSES=processes) == 2
    assert_said(capsys, "full", "LABEL_FILTER_LMDB_SIZE = 65_536", "raise LABEL_FILTER_LMDB_SIZE")
    written = items(workspace.root / "keys_db")
    assert 0 < len(workspace.users_with_keys()) < 100
    assert workspace.find_keys(PROCESSES=processes) == 0
    assert workspace.users_with_keys() == list(range(1, 101))
    assert items(workspace.root / "keys_db").items() >= written.items()
