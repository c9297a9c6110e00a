"""`rwkv check` of the databases of keys and of reviews: users, prefixes, and damage of single values."""

import json

import pytest

from rwkv.cli import main
from rwkv.data.database import Database
from tests.benchmark.workspace import SIZE, Workspace, add_users, assert_said, items
from tests.data.test_key_store import published

USERS = (1, 2, 4)


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    add_users(workspace.dataset, USERS)
    assert workspace.find_keys() == 0
    assert workspace.process_data() == 0
    return workspace


def check(workspace: Workspace, path: str, *arguments: str) -> int:
    return main(["check", str(workspace.root / path), *arguments])


def test_a_store(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(filled, "store_db") == 0
    reviews = sum(len(filled.stored(user).table) for user in USERS)
    assert f"store of reviews: 3 users without errors, 0 with errors, {reviews:,} reviews" in capsys.readouterr().out


def test_keys_of_several_prefixes(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.find_keys("--secs", "--short", LABEL_FILTER_KEY_PREFIX="short_secs_", USER_IDS=[1, 4]) == 0
    keys = filled.keys(1)
    with Database(filled.root / "keys_db", SIZE, "") as database:
        published(database, "old1_", 7, keys)
    capsys.readouterr()
    assert check(filled, "keys_db", "--json") == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert [(part["name"].split("'")[1], part["users"]) for part in parts] == [
        ("", 3),
        ("old1_", 1),
        ("short_secs_", 2),
    ]
    assert parts[0]["reviews"] == sum(len(filled.keys(user)) for user in USERS)
    assert check(filled, "keys_db", "--users", "1-2") == 0
    assert "2 users without errors" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["2_cards", "2_reviews_0", "2_segments", "2_rmse_bins"])
@pytest.mark.parametrize("is_missing", [True, False])
def test_damage_of_one_value(filled: Workspace, capsys: pytest.CaptureFixture[str], key: str, is_missing: bool) -> None:
    path = "keys_db" if key.endswith("bins") else "store_db"
    value = bytearray(items(filled.root / path)[key])
    value[-1] ^= 1
    if is_missing:
        with Database(filled.root / path, SIZE, "") as database:
            database.delete([key])
    else:
        filled.put(path, {key: bytes(value)})
    assert check(filled, path) == 2
    text = capsys.readouterr().out
    assert "2 users without errors, 1 with errors" in text
    assert "user 2: " in text
    assert "next: " in text
    assert check(filled, path, "--users", "1,4") == 0


def test_a_damaged_file(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    file = filled.root / "store_db" / "data.mdb"
    file.write_bytes(file.read_bytes()[:5000])
    assert check(filled, "store_db") == 2
    assert_said(capsys, "its file is damaged or truncated", "next: ")


def test_other_databases(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with Database(filled.root / "empty", SIZE, ""):
        pass
    assert check(filled, "empty") == 2
    assert_said(capsys, "The database is empty.", "data_processing")
    (filled.root / "empty" / "data.mdb").write_bytes(b"")
    assert check(filled, "empty") == 2
    assert_said(capsys, "The database does not exist.", "next: run `")
    filled.put("other", {"a": b"1"})
    assert check(filled, "other") == 2
    assert_said(capsys, "not a review store")


def test_wrong_paths_and_users(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(filled, "store_db/data.mdb") == 2
    assert_said(capsys, "This is the file of a database.", f"choose its folder, {filled.root / 'store_db'}")
    assert check(filled, "store_db", "--users", "8-9") == 2
    assert_said(capsys, "None of the users is in the database.")
