"""Checks of a benchmark's results, so that no speed of a wrong result is printed."""


def within(name: str, value: float, limit: float) -> float:
    """The value, if it is at most the limit.

    Raises:
        SystemExit: The value exceeds the limit or is NaN.
    """
    if not value <= limit:
        raise SystemExit(f"{name} is {value:.3g}, more than {limit:.3g}, so no speed is reported.")
    return value
