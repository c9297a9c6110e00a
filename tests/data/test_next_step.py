"""The next step of errors about a user's files."""

import pickle
from pathlib import Path

import pytest

from rwkv.data.next_step import with_next_step
from rwkv.data.revlogs import read_history
from rwkv.errors import HistoryError, InputError
from tests.helpers import random_revlog, write_history


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("collection/user_id=2/info.json", "import the collection again"),
        ("simulated.json", "rerun the `rwkv simulate`"),
        (".cache/huggingface/x", "run `rwkv download --users 2 --out"),
        ("other", "restore the file from its source"),
    ],
)
@pytest.mark.parametrize("damage", ["unlink", "truncate"])
def test_a_damaged_history_says_what_to_do(tmp_path: Path, mark: str, words: str, damage: str) -> None:
    """By the origin of the dataset."""
    write_history(tmp_path, 2, random_revlog(1, reviews=9, cards=3))
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).write_text("")
    (file,) = (tmp_path / "revlogs" / "user_id=2").glob("*.parquet")
    file.unlink() if damage == "unlink" else file.write_bytes(b"PAR1")
    with pytest.raises(HistoryError) as caught:
        read_history(tmp_path, 2)
    error = pickle.loads(pickle.dumps(caught.value))  # as from a worker
    assert words in error.details["next"]
    assert str(tmp_path) in error.details["where"]
    assert str(error) == str(caught.value)


def test_an_error_keeps_its_own_next_step() -> None:
    error, other = HistoryError("x", hint="y"), InputError("x")

    def fail(root: Path, user: int, with_hint: bool) -> None:
        raise error if with_hint else other

    for with_hint in (True, False):
        with pytest.raises(InputError) as caught:
            with_next_step(fail)(Path(), 1, with_hint=with_hint)
        assert caught.value is (error if with_hint else other)
