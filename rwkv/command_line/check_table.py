"""The check of a dataset or a database as text and as fields for JSON."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from rwkv.benchmark.check_database import PartCheck
from rwkv.benchmark.check_dataset import OF_USERS, QUIRKS, DatasetCheck, UserCheck
from rwkv.collection.users import ranges_of
from rwkv.command_line.user_numbers import ranges_text
from rwkv.errors import RwkvError
from rwkv.plurals import counted

_COUNTS = {
    "reviews": "reviews",
    "counted": "counted by the benchmark",
    "cards": "cards",
    "notes": "notes",
    "decks": "decks",
    "presets": "presets",
    "days": "days with reviews",
}
_RANGES = {
    "day_offset": "day_offset, days",
    "elapsed_days": "elapsed_days, days",
    "elapsed_seconds": "elapsed_seconds, s",
    "duration": "duration, ms",
}
_RATINGS = ("Again", "Hard", "Good", "Easy")
_STATES = ("New", "Learning", "Review", "Relearning", "Filtered")
_NAME, _CELL = 28, 16


def format_dataset(check: DatasetCheck) -> str:
    """Numbers, ranges, quirks and errors as text."""
    users = list(check.users.values())
    without = f", {len(check.incomplete):,} without a revlog" if check.incomplete else ""
    lines = [
        f"{check.folder}: {counted(len(users), 'user')} without errors, {len(check.errors):,} with errors{without}"
    ]
    if users:
        lines += ["", *_numbers(users), "", *_values(users)]
    lines += _quirks(check)
    lines += _errors(check.errors)
    return "\n".join(lines)


def dataset_fields(check: DatasetCheck) -> dict[str, object]:
    """The fields for JSON. Quirks list the number of users and of rows, cards or tables."""
    users = list(check.users.values())
    return {
        "dataset": check.folder,
        "users": len(users),
        "counts": {name: _spread(users, name) for name in _COUNTS} if users else {},
        "ranges": {name: _range(users, name) for name in _RANGES} if users else {},
        "ratings": _sums([user.ratings for user in users]),
        "states": _sums([user.states for user in users]),
        "quirks": {
            name: {"users": len(having), "total": sum(having.values())}
            for name in QUIRKS
            if (having := _having(check, name))
        },
        "absent": check.absent,
        "incomplete": check.incomplete,
        "errors": error_fields(check.errors),
    }


def error_fields(errors: Mapping[int, RwkvError]) -> list[dict[str, object]]:
    """The errors of users for JSON."""
    return [{"user": user, "what": error.what, **error.details} for user, error in errors.items()]


def format_database(folder: Path, parts: Sequence[PartCheck]) -> str:
    """A line for each part of a database, then the errors."""
    lines = [f"{folder}:"]
    for part in parts:
        users = f"{counted(len(part.users), 'user')} without errors, {len(part.errors):,} with errors"
        lines.append(f"  {part.name}: {users}, {counted(sum(part.users.values()), 'review')}")
    return "\n".join([*lines, *(line for part in parts for line in _errors(part.errors))])


def database_fields(folder: Path, parts: Sequence[PartCheck]) -> dict[str, object]:
    """The fields for JSON."""
    fields = [
        {
            "name": part.name,
            "users": len(part.users),
            "reviews": sum(part.users.values()),
            "errors": error_fields(part.errors),
        }
        for part in parts
    ]
    return {"database": folder, "parts": fields}


def _numbers(users: Sequence[UserCheck]) -> Iterator[str]:
    yield _row("", "in all", "least", "median", "most")
    for name, title in _COUNTS.items():
        yield _row(title, *(f"{value:,.0f}" for value in _spread(users, name).values()))


def _spread(users: Sequence[UserCheck], name: str) -> dict[str, float]:
    counts = [user.counts[name] for user in users]
    return {"total": sum(counts), "least": min(counts), "median": median(counts), "most": max(counts)}


def _values(users: Sequence[UserCheck]) -> Iterator[str]:
    yield _row("", "from", "to")
    for name, title in _RANGES.items():
        yield _row(title, *(f"{value:,}" for value in _range(users, name)))
    yield ""
    yield _shares("ratings", _RATINGS, _sums([user.ratings for user in users]))
    yield _shares("states", _STATES, _sums([user.states for user in users]))


def _range(users: Sequence[UserCheck], name: str) -> tuple[int, int]:
    return min(user.ranges[name][0] for user in users), max(user.ranges[name][1] for user in users)


def _sums(lists: Sequence[list[int]]) -> list[int]:
    return [sum(values) for values in zip(*lists, strict=True)]


def _shares(title: str, names: Sequence[str], counts: Sequence[int]) -> str:
    total = max(1, sum(counts))
    return f"{title}: " + ", ".join(f"{name} {count / total:.1%}" for name, count in zip(names, counts, strict=True))


def _quirks(check: DatasetCheck) -> Iterator[str]:
    found = {name: having for name in QUIRKS if (having := _having(check, name))}
    if found:
        yield ""
        yield f"{'users':>8}{'in all':>{_CELL}}  known of such data, and handled"
        for name, having in found.items():
            listed = f": {ranges_text(ranges_of(sorted(having)))}" if name in OF_USERS else ""
            yield f"{len(having):>8,}{sum(having.values()):>{_CELL},}  {QUIRKS[name]}{listed}"
    if check.absent or check.incomplete:
        yield ""
    if check.absent:
        count = sum(last - first + 1 for first, last in check.absent)
        yield f"not in the dataset: {ranges_text(check.absent)} ({count:,})"
    if check.incomplete:
        users = f"{ranges_text(ranges_of(check.incomplete))} ({len(check.incomplete):,})"
        yield f"with cards or decks, but without a revlog: {users}; rerun an interrupted download or import"


def _having(check: DatasetCheck, name: str) -> dict[int, int]:
    return {number: user.quirks[name] for number, user in check.users.items() if name in user.quirks}


def _errors(errors: Mapping[int, RwkvError]) -> Iterator[str]:
    for user, error in errors.items():
        yield ""
        yield f"user {user}: {error}"


def _row(title: str, *cells: str) -> str:
    return f"{title:<{_NAME}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)
