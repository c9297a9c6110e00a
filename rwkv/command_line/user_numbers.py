"""Lists of users, as text on the command line."""

import argparse
import re
from collections.abc import Sequence
from itertools import chain

_MOST_USERS = 1_000_000


def user_numbers(text: str) -> list[int]:
    """1,4-6 -> [1, 4, 5, 6]. Raises ArgumentTypeError for other text, and for more than a million users."""
    ranges: list[range] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", part, re.ASCII)
        if not match:
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of users such as 1,4-6")
        if int(match[2] or match[1]) < int(match[1]):
            raise argparse.ArgumentTypeError(f"the range {part} has no users; write {match[2]}-{match[1]}")
        ranges.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    if sum(map(len, ranges)) > _MOST_USERS:
        raise argparse.ArgumentTypeError(f"{text!r} names more than {_MOST_USERS} users")
    return list(dict.fromkeys(chain.from_iterable(ranges)))


def ranges_text(ranges: Sequence[tuple[int, int]], most: int = 12) -> str:
    """(1, 1), (4, 6) -> 1,4-6, as `user_numbers` reads it. After `most` ranges the text ends in ",..."."""
    parts = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:most]]
    return ",".join([*parts, "..."] if len(ranges) > most else parts)
