"""Lists of users as text."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwkv.collection.users import gaps_between, ranges_of
from rwkv.command_line.parser import build_parser
from rwkv.command_line.user_numbers import ranges_text, user_numbers


@given(st.sets(st.integers(0, 60), min_size=1))
def test_ranges_are_read_as_the_users_they_are_written_for(users: set[int]) -> None:
    assert user_numbers(ranges_text(ranges_of(sorted(users)), most=100)) == sorted(users)


@given(st.sets(st.integers(0, 60), min_size=1))
def test_gaps_are_the_ranges_between_users(users: set[int]) -> None:
    lacking = [user for user in range(min(users), max(users)) if user not in users]
    assert gaps_between(sorted(users)) == ranges_of(lacking)


def test_long_lists_of_ranges_are_cut() -> None:
    assert ranges_text(ranges_of([1, 2, 3, 5, 7, 8]), most=2) == "1-3,5,..."


@pytest.mark.parametrize(("text", "words"), [("5-3", "write 3-5"), ("1,", "such as"), ("1-2000001", "more than")])
def test_wrong_lists(text: str, words: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        user_numbers(text)


def test_users_may_precede_the_folder() -> None:
    """Each usage line shows the options first."""
    for command, *more in (["check"], ["compare"], ["finetune", "--out", "x.safetensors"]):
        options = build_parser().parse_args([command, *more, "--users", "8,9", "people"])
        assert options.users == [8, 9]
