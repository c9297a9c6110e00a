"""Numbers from the card ids of text files, and detection of ids damaged by spreadsheets and data frames."""

import re
from collections.abc import Sequence

_WHOLE = re.compile(r"([+-]?[0-9]+)(?:\.0*)?")
# Numbers: integers or decimals, with or without thousands separators.
_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:E[+-]?[0-9]+)?|[0-9]{1,3}(?:[., '\u00a0\u202f][0-9]{3})+"
    r"|inf|infinity|nan)",
    re.IGNORECASE,
)
# How spreadsheets show long numbers, narrow cells and errors.
_SHORTENED = re.compile(r"[+-]?[0-9](?:[.,][0-9]+)?E[+-][0-9]+|#+|#(?:N/A|REF!|VALUE!|NAME\?|NUM!|NULL!|DIV/0!)")
_NOTHING = {"NA", "N/A", "NULL", "null", "None", "<NA>", "\\N"}

_KEPT_DIGITS = 15
_LONG = re.compile(rf"[0-9]{{{_KEPT_DIGITS + 1},}}")
# With fewer ids, trailing zeros may be a coincidence.
_LEAST_LONG = 3

# Larger integers lose precision when written with a decimal point.
_MOST_EXACT = 2**53


def first_damaged(texts: Sequence[str]) -> int | None:
    """The index of the first damaged id: missing, shortened, with a quote, or not an integer among numbers; or None."""
    for place, text in enumerate(texts):
        if not text or '"' in text or _SHORTENED.fullmatch(text):
            return place
    if not all(_NUMBER.fullmatch(text) or text in _NOTHING for text in texts):
        return None
    return next((place for place, text in enumerate(texts) if _exact(text) is None), None)


def numbered(texts: Sequence[str]) -> tuple[list[int], list[str] | None]:
    """Numbers for ids.

    Returns:
        The ids themselves and None, if all are integers of 64 bits, where 160 and 160.0 are equal. Otherwise the
        numbers 1, 2, ... in order, and the text of each.
    """
    exact = [_exact(text) for text in texts]
    if all(number is not None and -(2**63) <= number < 2**63 for number in exact):
        return exact, None  # type: ignore[return-value]
    if all(number is not None for number in exact):
        texts = list(map(str, exact))
    number_of = {text: number for number, text in enumerate(dict.fromkeys(texts), 1)}
    return [number_of[text] for text in texts], list(number_of)


def are_rounded(texts: Sequence[str]) -> bool:
    """Whether several long ids all look rounded by a spreadsheet, which keeps 15 digits."""
    long = {text for text in texts if _LONG.fullmatch(text)}
    return len(long) >= _LEAST_LONG and all(not text[_KEPT_DIGITS:].strip("0") for text in long)


def not_integers(texts: Sequence[str]) -> list[str]:
    """The ids that are no integers; none if no id is one."""
    others = [text for text in texts if _exact(text) is None]
    return others if len(others) < len(texts) else []


def _exact(text: str) -> int | None:
    """The integer that a text represents exactly, or None."""
    match = _WHOLE.fullmatch(text)
    if match is None:
        return None
    number = int(match[1])
    return number if match.end(1) == len(text) or abs(number) <= _MOST_EXACT else None
