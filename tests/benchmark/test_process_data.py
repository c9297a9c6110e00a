"""`python -m rwkv.data_processing` from configuration to store, and its errors."""

import json

import numpy as np
import pytest

from rwkv.data.database import Database
from rwkv.data.revlogs import read_history
from rwkv.data.segments import segment_bounds
from rwkv.data.store import ReviewStore
from tests.benchmark.workspace import (
    DAMAGES,
    SIZE,
    Damage,
    Workspace,
    add_users,
    assert_said,
    block,
    items,
    unblock,
)
from tests.helpers import assert_same_table, revlog_columns, with_value, write_history

COMMAND = "rwkv.data_processing"
FIND_KEYS = "python -m rwkv.find_equalize_test_reviews"
USERS = [1, 2, 3, 12]


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    """Four users and their keys."""
    add_users(workspace.dataset, USERS)
    assert workspace.find_keys() == 0
    return workspace


# --- What is stored


def test_histories_are_stored_with_their_keys_and_segments(filled: Workspace) -> None:
    assert filled.process_data(MAX_BATCH_SIZE=50) == 0
    assert filled.users_stored() == USERS
    with Database(filled.root / "store_db", SIZE, "", readonly=True) as database:
        store = ReviewStore(database)
        for user in USERS:
            history, stored = read_history(filled.dataset, user), store.read(user)
            assert_same_table(stored.table, history)
            assert history.review_th[stored.is_key].tolist() == filled.keys(user).review_ths.tolist()
            assert stored.is_key.any()
            np.testing.assert_array_equal(store.bounds(user), segment_bounds(history, 50))
            assert len(store.bounds(user)) > 1


def test_keys_come_from_the_configured_prefix(filled: Workspace) -> None:
    assert filled.find_keys("--short", "--secs", LABEL_FILTER_KEY_PREFIX="short_secs_") == 0
    assert filled.process_data(LABEL_FILTER_KEY_PREFIX="short_secs_") == 0
    for user in USERS:
        stored = filled.stored(user)
        marked = stored.table.review_th[stored.is_key].tolist()
        assert marked == filled.keys(user, "short_secs_").review_ths.tolist()
        assert marked != filled.keys(user).review_ths.tolist()


def test_a_user_without_keys_is_stored(workspace: Workspace) -> None:
    write_history(workspace.dataset, 5, revlog_columns([1, 2, 3], [0, 10, 20]))
    assert workspace.find_keys() == 0
    assert workspace.process_data() == 0
    assert not workspace.stored(5).is_key.any()
    assert len(workspace.stored(5).table) == 3


def test_missing_notes_follow_the_configuration(workspace: Workspace) -> None:
    write_history(workspace.dataset, 5, revlog_columns([1, 2, 3], [0, 10, 20]))
    assert workspace.find_keys() == 0
    assert workspace.process_data() == 0
    assert workspace.process_data(MISSING_NOTES="published", LMDB_PATH=str(workspace.root / "published_db")) == 0
    assert workspace.stored(5).table.cards.note.tolist() == [0, 1, 2]
    assert workspace.stored(5, "published_db").table.cards.note.tolist() == [0, 0, 0]
    assert workspace.stored(5).table.missing_notes == "own"
    assert workspace.stored(5, "published_db").table.missing_notes == "published"


def test_dropped_reviews_are_reported(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    columns = with_value(add_users(filled.dataset, [5])[5], "rating", 3, 0)
    write_history(filled.dataset, 5, columns)
    assert filled.find_keys() == 0
    assert filled.process_data() == 0
    assert_said(capsys, "user 5: 1 review with a rating outside 1..4 dropped")


# --- Which users, and how often


def test_user_ids_override_the_range(filled: Workspace) -> None:
    assert filled.process_data(USER_IDS=[12, 2]) == 0
    assert filled.users_stored() == [2, 12]


def test_users_that_are_done_are_not_read_again(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.process_data(USER_START=2, USER_END=3) == 0
    assert filled.users_stored() == [2, 3]
    before = items(filled.root / "store_db")
    for user in (2, 3):
        (filled.dataset / "revlogs" / f"user_id={user}" / "data.parquet").write_bytes(b"")
    assert filled.process_data() == 0
    assert_said(capsys, "4 users, 2 of them done before")
    assert filled.users_stored() == USERS
    assert items(filled.root / "store_db").items() >= before.items()


def test_several_processes_make_the_same_store(filled: Workspace) -> None:
    assert filled.process_data() == 0
    assert filled.process_data(PROCESSES=3, LMDB_PATH=str(filled.root / "three_db")) == 0
    assert items(filled.root / "three_db") == items(filled.root / "store_db")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_continues(workspace: Workspace, processes: int) -> None:
    """The run stands still at user 70 of 80 when it is killed, some batches after the first."""
    revlogs = add_users(workspace.dataset, range(1, 81))
    assert workspace.find_keys() == 0
    block(workspace.dataset, 70)
    workspace.killed(COMMAND, lambda: len(workspace.users_stored()) >= 64, PROCESSES=processes)
    before = items(workspace.root / "store_db")
    assert 64 <= len(workspace.users_stored()) < 80
    unblock(workspace.dataset, 70, revlogs[70])
    assert workspace.process_data() == 0
    assert items(workspace.root / "store_db").items() >= before.items()
    assert workspace.process_data(LMDB_PATH=str(workspace.root / "whole_db")) == 0
    assert items(workspace.root / "store_db") == items(workspace.root / "whole_db")


# --- What is wrong


@DAMAGES
def test_a_damaged_user_is_skipped_and_listed(
    filled: Workspace, capsys: pytest.CaptureFixture[str], damage: Damage, words: tuple[str, ...]
) -> None:
    damage(filled.dataset, 2)
    assert filled.process_data() == 1
    assert_said(capsys, "user 2 skipped", "1 user was skipped:\n  2: ", *words)
    assert filled.users_stored() == [1, 3, 12]
    add_users(filled.dataset, [2])
    assert filled.process_data() == 0
    assert filled.users_stored() == USERS


def test_damaged_users_are_skipped_by_several_processes(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    for user in (2, 12):
        (filled.dataset / "revlogs" / f"user_id={user}" / "data.parquet").write_bytes(b"PAR1")
    assert filled.process_data(PROCESSES=2) == 1
    assert_said(capsys, "2 users were skipped:\n  2: ", "\n  12: ", "user_id=12")
    assert filled.users_stored() == [1, 3]


def test_missing_keys_name_the_command_that_finds_them(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    add_users(filled.dataset, [5])
    assert filled.process_data() == 1
    assert_said(capsys, "keys of user 5 are missing", FIND_KEYS, "1 user was skipped")
    assert filled.users_stored() == USERS
    assert filled.find_keys() == 0
    assert filled.process_data() == 0
    assert filled.users_stored() == sorted([*USERS, 5])


def test_a_missing_key_database_names_the_command(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    add_users(workspace.dataset, USERS)
    assert workspace.process_data() == 2
    assert_said(capsys, "database does not exist", str(workspace.root / "keys_db"), FIND_KEYS)
    assert not (workspace.root / "store_db").exists()


def test_a_prefix_without_keys_is_refused_at_the_start(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.process_data(LABEL_FILTER_KEY_PREFIX="short_secs_") == 2
    assert_said(capsys, "LABEL_FILTER_KEY_PREFIX 'short_secs_'", FIND_KEYS)
    assert not (filled.root / "store_db").exists()


def test_missing_and_empty_datasets_are_errors(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.process_data(DATA_PATH=str(filled.root / "nowhere")) == 2
    assert_said(capsys, "The folder has no dataset", "nowhere")
    (filled.root / "empty" / "revlogs").mkdir(parents=True)
    assert filled.process_data(DATA_PATH=str(filled.root / "empty")) == 2
    assert_said(capsys, "The dataset is empty", "empty")


@pytest.mark.parametrize(("key", "other"), [("MAX_BATCH_SIZE", 200), ("MISSING_NOTES", "published")])
def test_another_setting_in_the_same_store_is_an_error(
    filled: Workspace, capsys: pytest.CaptureFixture[str], key: str, other: object
) -> None:
    assert filled.process_data(USER_IDS=[1]) == 0
    before = items(filled.root / "store_db")
    assert filled.process_data(**{key: other}) == 2
    assert_said(capsys, f"another {key}", repr(other), "100" if key == "MAX_BATCH_SIZE" else "own")
    assert items(filled.root / "store_db") == before


def test_a_store_of_another_version_is_an_error(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.process_data(USER_IDS=[1]) == 0
    meta = items(filled.root / "store_db")["meta"]
    filled.put("store_db", {"meta": meta.replace(b'"version": 3', b'"version": 99')})
    assert filled.process_data() == 2
    assert_said(capsys, "another version", str(filled.root / "store_db"), "version 99", "version 3")
    assert filled.users_stored() == [1]


def test_a_finished_store_without_checksums_is_accepted_but_not_extended(
    filled: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they were written once: the values alone, and a whole history in one of them."""
    assert filled.process_data(USER_IDS=[1, 2]) == 0
    stored = items(filled.root / "store_db")
    meta = json.loads(stored.pop("meta"))
    del meta["checksum"]
    old = {"meta": json.dumps({**meta, "version": 1}).encode()}
    filled.put("store_db", old | {key.replace("_cards", "_reviews"): value[16:] for key, value in stored.items()})
    assert filled.process_data(USER_IDS=[1, 2]) == 0
    assert_said(capsys, "2 users, 2 of them done before")
    assert filled.process_data() == 2
    assert_said(capsys, "older version", "version 1", "version 3", "another LMDB_PATH")
    assert filled.users_stored() == [1, 2]


def test_a_published_store_is_an_error(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    filled.put("store_db", {"1_0_65536_tensors": b"..."})
    assert filled.process_data() == 2
    assert_said(capsys, "another version", str(filled.root / "store_db"))


def test_keys_of_another_version_are_refused_at_the_start(
    filled: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    filled.put("keys_db", {"meta": b'{"version": 99}'})
    assert filled.process_data() == 2
    assert_said(capsys, "another version", str(filled.root / "keys_db"), FIND_KEYS)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_full_map_names_its_key_and_loses_nothing(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], processes: int
) -> None:
    users = list(range(1, 101))
    add_users(workspace.dataset, users)
    assert workspace.find_keys() == 0
    assert workspace.process_data(LMDB_SIZE=1 << 17, PROCESSES=processes) == 2
    assert_said(capsys, "full", "LMDB_SIZE = 131_072", "raise LMDB_SIZE")
    written = items(workspace.root / "store_db")
    assert 0 < len(workspace.users_stored()) < len(users)
    assert workspace.process_data(PROCESSES=processes) == 0
    assert workspace.users_stored() == users
    assert items(workspace.root / "store_db").items() >= written.items()
