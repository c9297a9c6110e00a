"""The realism ladder as a text table and as fields for JSON."""

from collections.abc import Iterator
from dataclasses import asdict

from rwkv.evaluation.realism.figures import PERCENTILES, Spread
from rwkv.evaluation.realism.ladder import FEWEST_LEARNERS, GOAL, Ladder, Line, Ratio
from rwkv.plurals import counted

_NAME, _CELL = 26, 10


def format_ladder(ladder: Ladder) -> str:
    """For each figure, a line for the learners, one for people and one for the difference; then the ratios."""
    left_out = f" (and {counted(ladder.without, 'other')} without counted reviews)" if ladder.without else ""
    learners = f"{counted(ladder.learners, 'simulated learner')}{left_out}"
    head = f"{learners}, 9,999 people; *: a goal missed by more than {GOAL:.0%}"
    columns = "".join(f"{f'{percent} %':>{_CELL}}" for percent in PERCENTILES)
    lines = [head]
    if ladder.learners < FEWEST_LEARNERS:
        lines.append(f"NOTICE: too few learners for quantiles: {ladder.learners}; simulate at least {FEWEST_LEARNERS}")
    lines += ["", f"{'':<{_NAME}}{columns}{'mean':>{_CELL}}"]
    for line in ladder.lines:
        lines += _lines(line)
    lines += ["", "mean LogLoss as a share of AVG's" + f"{'learners':>{_CELL}}{'people':>{_CELL}}{'off':>{_CELL}}"]
    lines += [_ratio(ratio) for ratio in ladder.ratios]
    goals = [line for line in ladder.lines if line.is_goal]
    reached = ", ".join(f"{line.reached} of {len(PERCENTILES)} of {line.name}" for line in goals)
    ratios = [
        f"{ratio.name} / AVG {'yes' if abs(ratio.off) <= GOAL else 'no'}" for ratio in ladder.ratios if ratio.is_goal
    ]
    lines += ["", f"quantiles within {GOAL:.0%} of people's: {reached}" + "".join(f"; {text}" for text in ratios)]
    return "\n".join(lines)


def ladder_fields(ladder: Ladder) -> dict[str, object]:
    """The fields for JSON."""
    return {
        "learners": ladder.learners,
        "without": ladder.without,
        "fewest_learners": FEWEST_LEARNERS,
        "percentiles": PERCENTILES,
        "goal": GOAL,
        "figures": {
            line.name: {name: value for name, value in asdict(line).items() if name != "name"} for line in ladder.lines
        },
        "ratios": {ratio.name: {**asdict(ratio), "off": ratio.off} for ratio in ladder.ratios},
    }


def _lines(line: Line) -> Iterator[str]:
    yield f"{line.name:<{_NAME}}{_cells(line.simulated)}"
    if line.people is not None:
        yield f"{'  people':<{_NAME}}{_cells(line.people)}"
    if line.off is not None:
        mark = ["*" if line.is_goal and abs(share) > GOAL else "" for share in line.off]
        cells = [f"{f'{share:+.0%}{star}':>{_CELL}}" for share, star in zip(line.off, mark, strict=True)]
        yield f"{'  off':<{_NAME}}{''.join(cells)}"


def _cells(spread: Spread) -> str:
    values = (*(spread.quantiles or (None,) * len(PERCENTILES)), spread.mean)
    return "".join(f"{_number(value):>{_CELL}}" for value in values)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.0f}"


def _ratio(ratio: Ratio) -> str:
    star = "*" if ratio.is_goal and abs(ratio.off) > GOAL else ""
    width = len("mean LogLoss as a share of AVG's")
    off = f"{ratio.off:+.0%}{star}"
    return f"{ratio.name:<{width}}{ratio.simulated:>{_CELL}.4f}{ratio.people:>{_CELL}.4f}{off:>{_CELL}}"
