"""Checks before a benchmark's figures: no rate is printed of something that is wrong."""


def within(what: str, found: float, limit: float) -> float:
    """The figure, where it is at most the limit; else ends the program with a sentence, also where it is no number."""
    if not found <= limit:
        raise SystemExit(f"{what} is {found:.3g}, more than {limit:.3g}, so there are no figures.")
    return found
