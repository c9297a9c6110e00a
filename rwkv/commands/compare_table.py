"""A comparison for people and for programs: tables of text, and fields for JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rwkv.commands.compare import ComparedFolders
from rwkv.commands.metric_table import COLUMNS
from rwkv.evaluation.metrics import METRICS
from rwkv.evaluation.summary import CONFIDENCE, FEWEST_USERS, SIGNIFICANT, Estimate, SignedRank

_MOST_USERS, _MOST_LINES = 10, 200

_WIDTH = 19
_CELL = 8


def format_comparison(of: ComparedFolders) -> str:
    """Means, a line for each user, all metrics of each unless they are many, superiority and tests."""
    parts = [_heading(of)]
    if len(of.counted) > 1:
        parts.append(format_estimates("weighted by reviews", of.means.weighted))
        parts.append(format_estimates("every user the same", of.means.unweighted))
    if len(of.users) + len(of.without) > 1:
        parts.append(_users(of))
    if len(of.users) <= _MOST_USERS:
        parts += [format_estimates(f"user {label}", _estimates_of(of, label)) for label in of.users]
    if len(of.counted) > 1:
        parts += [_superiority(of.superiority), _signed_ranks(of.signed_ranks)]
    return "\n\n".join(parts)


def format_estimates(title: str, rows: Mapping[str, Mapping[str, Estimate]]) -> str:
    """A line an algorithm: the metrics, with half the width of their intervals where there is one."""
    width = _name_width([title, *rows])
    lines = [f"{title:<{width}}" + "".join(f"{metric:<{_WIDTH}}" for metric in COLUMNS)]
    for name, of in rows.items():
        lines.append(f"{name:<{width}}" + "".join(f"{_cell(of[metric]):<{_WIDTH}}" for metric in COLUMNS))
    return "\n".join(line.rstrip() for line in lines)


def comparison_fields(of: ComparedFolders) -> dict[str, object]:
    """The same for JSON, with everybody in it. Single predictions stay out; `rwkv.commands.compare` has them."""
    return {
        "model": of.model,
        "notice": of.notice,
        "confidence": CONFIDENCE,
        "reviews": sum(map(len, of.users.values())),
        "left_out": of.left_out,
        "users": {
            label: {"user": one.user, "size": len(one), "metrics": _plain(_estimates_of(of, label))}
            for label, one in of.users.items()
        },
        "without": of.without,
        "counted": list(of.counted),
        "weighted": _plain(of.means.weighted),
        "unweighted": _plain(of.means.unweighted),
        "superiority": of.superiority,
        "signed_ranks": {a: {b: asdict(test) for b, test in tests.items()} for a, tests in of.signed_ranks.items()},
        "fewest_users_for_tests": FEWEST_USERS,
    }


def _heading(of: ComparedFolders) -> str:
    reviews = sum(map(len, of.users.values()))
    lines = [
        f"{reviews} reviews of {_people(len(of.users))}, no same-day reviews; ± {CONFIDENCE:.0%} confidence",
        f"model: {of.model}" + (f", {of.notice}" if of.notice else ""),
    ]
    if of.left_out:
        lines.append(f"{of.left_out} reviews left out: nothing earlier in the history predicts them")
    if len(of.counted) < FEWEST_USERS:
        lines.append(f"no ± beside means: they need at least {FEWEST_USERS} users")
    if len(of.counted) < len(of.users):
        lines.append(f"means over the {len(of.counted)} users whom every algorithm has")
    return "\n".join(lines)


def _people(count: int) -> str:
    return "one user" if count == 1 else f"{count} users"


def _estimates_of(of: ComparedFolders, label: str) -> dict[str, Mapping[str, Estimate]]:
    """A user's metrics by every algorithm; those from result files have no interval."""
    ran = of.estimates[label]
    read = {
        name: {metric: Estimate(value) for metric, value in scores[label].metrics.items()}
        for name, scores in of.scores.items()
        if name not in ran and label in scores
    }
    return {**ran, **read}


def _users(of: ComparedFolders) -> str:
    """A line for each user: LogLoss by every algorithm, the lowest marked."""
    names = list(of.scores)
    shown = list(of.users)[:_MOST_LINES]
    width = _name_width(["LogLoss of each", *shown, *of.without])
    widths = [max(_CELL, len(name) + 2) for name in names]
    heads = "".join(f"{name:>{size}}" for name, size in zip(names, widths, strict=True))
    lines = [f"{'LogLoss of each':<{width}}{'reviews':>{_CELL}}{heads}"]
    for label in shown:
        losses = [of.scores[name][label].metrics["LogLoss"] if label in of.scores[name] else None for name in names]
        best = min(loss for loss in losses if loss is not None)
        marked = ["-" if loss is None else f"{'*' if loss == best else ''}{loss:.4f}" for loss in losses]
        cells = "".join(f"{cell:>{size}}" for cell, size in zip(marked, widths, strict=True))
        lines.append(f"{label:<{width}}{len(of.users[label]):>{_CELL}}{cells}")
    if len(shown) < len(of.users):
        lines.append(f"... and {len(of.users) - len(shown)} more: --json has all")
    lines += [f"{label:<{width}}{0:>{_CELL}}  {why}" for label, why in list(of.without.items())[:_MOST_LINES]]
    return "\n".join([*lines, "* the lowest of the line"])


def _superiority(share: Mapping[str, Mapping[str, float | None]]) -> str:
    cells = {a: [_percent(row.get(b)) for b in share] for a, row in share.items()}
    return _matrix("superiority: of how many users the row has the lower LogLoss than the column", cells)


def _signed_ranks(tests: Mapping[str, Mapping[str, SignedRank]]) -> str:
    most = max((test.n for row in tests.values() for test in row.values()), default=0)
    if most < FEWEST_USERS:
        return f"Wilcoxon signed-rank tests: {most} users are too few to tell, at least {FEWEST_USERS} are needed"
    title = f"Wilcoxon signed-rank tests: effect r on LogLoss, + where the row is better, · where p > {SIGNIFICANT:.2f}"
    return _matrix(title, {a: [_effect(row.get(b)) for b in tests] for a, row in tests.items()})


def _matrix(title: str, cells: Mapping[str, Sequence[str]]) -> str:
    """A square of cells, whose columns are the rows by number."""
    names = [f"{number} {name}" for number, name in enumerate(cells, 1)]
    width = _name_width(names)
    lines = [title, " " * width + "".join(f"{number:>{_CELL}}" for number in range(1, len(names) + 1))]
    for name, row in zip(names, cells.values(), strict=True):
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>{_CELL}}" for cell in row))
    return "\n".join(lines)


def _name_width(names: Sequence[str]) -> int:
    return max(map(len, names)) + 2


def _cell(of: Estimate) -> str:
    if of.value is None:
        return "-"
    return f"{of.value:.4f}" + ("" if of.half_width is None else f" ±{of.half_width:.4f}")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _effect(test: SignedRank | None) -> str:
    if test is None:
        return ""
    if test.p is None or test.effect is None:
        return "too few"
    return f"{test.effect:+.2f}" if test.p < SIGNIFICANT else "·"


def _plain(rows: Mapping[str, Mapping[str, Estimate]]) -> dict[str, object]:
    return {name: {metric: asdict(of[metric]) for metric in METRICS} for name, of in rows.items()}
