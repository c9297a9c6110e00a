"""A comparison as text tables and as fields for JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rwkv.collection.compare import ComparedFolders
from rwkv.evaluation.metrics import METRICS
from rwkv.evaluation.summary import COLUMNS, CONFIDENCE, FEWEST_USERS, SIGNIFICANT, Estimate, SignedRank
from rwkv.plurals import counted

_MOST_USERS, _MOST_LINES = 10, 200

_WIDTH = 19
_CELL = 8


def format_comparison(comparison: ComparedFolders) -> str:
    """The tables: means, LogLoss by user, metrics of at most ten users, superiority and tests."""
    parts = [_heading(comparison)]
    if len(comparison.counted) > 1:
        parts.append(format_estimates("weighted by reviews", comparison.means.weighted))
        parts.append(format_estimates("every user with equal weight", comparison.means.unweighted))
    if len(comparison.users) + len(comparison.without) > 1:
        parts.append(_users(comparison))
    if len(comparison.users) <= _MOST_USERS:
        parts += [format_estimates(f"user {label}", _estimates_of(comparison, label)) for label in comparison.users]
    if len(comparison.counted) > 1:
        parts += [_superiority(comparison.superiority), _signed_ranks(comparison.signed_ranks)]
    return "\n\n".join(parts)


def format_estimates(title: str, rows: Mapping[str, Mapping[str, Estimate]]) -> str:
    """A table of metrics by algorithm, with half the width of their confidence intervals."""
    width = _name_width([title, *rows])
    lines = [f"{title:<{width}}" + "".join(f"{metric:<{_WIDTH}}" for metric in COLUMNS)]
    for name, estimates in rows.items():
        lines.append(f"{name:<{width}}" + "".join(f"{_cell(estimates[metric]):<{_WIDTH}}" for metric in COLUMNS))
    return "\n".join(line.rstrip() for line in lines)


def comparison_fields(comparison: ComparedFolders) -> dict[str, object]:
    """The fields for JSON, with all users. Single predictions are left out; `rwkv.collection.compare` has them."""
    return {
        "model": comparison.model,
        "notice": comparison.notice,
        "confidence": CONFIDENCE,
        "reviews": sum(map(len, comparison.users.values())),
        "left_out": comparison.left_out,
        "users": {
            label: {"user": one.user, "size": len(one), "metrics": _plain(_estimates_of(comparison, label))}
            for label, one in comparison.users.items()
        },
        "without": comparison.without,
        "counted": list(comparison.counted),
        "weighted": _plain(comparison.means.weighted),
        "unweighted": _plain(comparison.means.unweighted),
        "superiority": comparison.superiority,
        "signed_ranks": {
            a: {b: asdict(test) for b, test in tests.items()} for a, tests in comparison.signed_ranks.items()
        },
        "fewest_users_for_tests": FEWEST_USERS,
    }


def _heading(comparison: ComparedFolders) -> str:
    reviews = sum(map(len, comparison.users.values()))
    lines = [
        f"{counted(reviews, 'review')} of {counted(len(comparison.users), 'user')}, no same-day reviews; "
        f"± {CONFIDENCE:.0%} confidence",
        f"model: {comparison.model}" + (f", {comparison.notice}" if comparison.notice else ""),
    ]
    if comparison.left_out:
        lines.append(f"{counted(comparison.left_out, 'review')} left out: no earlier review to predict from")
    if 1 < len(comparison.counted) < FEWEST_USERS:
        lines.append(f"no ± beside means: they need at least {FEWEST_USERS} users")
    if len(comparison.counted) < len(comparison.users):
        lines.append(f"means over the {counted(len(comparison.counted), 'user')} with results of every algorithm")
    return "\n".join(lines)


def _estimates_of(comparison: ComparedFolders, label: str) -> dict[str, Mapping[str, Estimate]]:
    """A user's metrics by algorithm. Those from result files have no interval."""
    ran = comparison.estimates[label]
    read = {
        name: {metric: Estimate(value) for metric, value in scores[label].metrics.items()}
        for name, scores in comparison.scores.items()
        if name not in ran and label in scores
    }
    return {**ran, **read}


def _users(comparison: ComparedFolders) -> str:
    """LogLoss by user and algorithm, with the lowest marked."""
    names = list(comparison.scores)
    shown = list(comparison.users)[:_MOST_LINES]
    width = _name_width(["LogLoss by user", *shown, *comparison.without])
    widths = [max(_CELL, len(name) + 2) for name in names]
    heads = "".join(f"{name:>{size}}" for name, size in zip(names, widths, strict=True))
    lines = [f"{'LogLoss by user':<{width}}{'reviews':>{_CELL}}{heads}"]
    for label in shown:
        losses = [
            comparison.scores[name][label].metrics["LogLoss"] if label in comparison.scores[name] else None
            for name in names
        ]
        best = min(loss for loss in losses if loss is not None)
        marked = ["-" if loss is None else f"{'*' if loss == best else ''}{loss:.4f}" for loss in losses]
        cells = "".join(f"{cell:>{size}}" for cell, size in zip(marked, widths, strict=True))
        lines.append(f"{label:<{width}}{len(comparison.users[label]):>{_CELL}}{cells}")
    if len(shown) < len(comparison.users):
        lines.append(f"... and {len(comparison.users) - len(shown)} more. Use --json for all.")
    lines += [f"{label:<{width}}{0:>{_CELL}}  {why}" for label, why in list(comparison.without.items())[:_MOST_LINES]]
    return "\n".join([*lines, "* the lowest of its line"])


def _superiority(share: Mapping[str, Mapping[str, float | None]]) -> str:
    cells = {a: [_percent(row.get(b)) for b in share] for a, row in share.items()}
    return _matrix("superiority: the share of users for whom the row has the lower LogLoss than the column", cells)


def _signed_ranks(tests: Mapping[str, Mapping[str, SignedRank]]) -> str:
    most = max((test.n for row in tests.values() for test in row.values()), default=0)
    if most < FEWEST_USERS:
        return f"Wilcoxon signed-rank tests: too few users, {most}; at least {FEWEST_USERS} are needed"
    title = f"Wilcoxon signed-rank tests: effect size r on LogLoss; + if the row is better, · if p > {SIGNIFICANT:.2f}"
    return _matrix(title, {a: [_effect(row.get(b)) for b in tests] for a, row in tests.items()})


def _matrix(title: str, cells: Mapping[str, Sequence[str]]) -> str:
    """A square table whose columns are the numbers of the rows."""
    names = [f"{number} {name}" for number, name in enumerate(cells, 1)]
    width = _name_width(names)
    lines = [title, " " * width + "".join(f"{number:>{_CELL}}" for number in range(1, len(names) + 1))]
    for name, row in zip(names, cells.values(), strict=True):
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>{_CELL}}" for cell in row))
    return "\n".join(lines)


def _name_width(names: Sequence[str]) -> int:
    return max(map(len, names)) + 2


def _cell(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    return f"{estimate.value:.4f}" + ("" if estimate.half_width is None else f" ±{estimate.half_width:.4f}")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _effect(test: SignedRank | None) -> str:
    if test is None:
        return ""
    if test.p is None or test.effect is None:
        return "too few"
    return f"{test.effect:+.2f}" if test.p < SIGNIFICANT else "·"


def _plain(rows: Mapping[str, Mapping[str, Estimate]]) -> dict[str, object]:
    return {name: {metric: asdict(estimates[metric]) for metric in METRICS} for name, estimates in rows.items()}
