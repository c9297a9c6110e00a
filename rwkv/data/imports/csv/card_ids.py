"""Ids of cards as files of text have them -> numbers. Spreadsheets and data frames damage them; that is found here."""

import re
from collections.abc import Sequence

_WHOLE = re.compile(r"([+-]?[0-9]+)(?:\.0*)?")
# Whole or not, short or long, in groups of thousands, or none.
_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:E[+-]?[0-9]+)?|[0-9]{1,3}(?:[., '\u00a0\u202f][0-9]{3})+"
    r"|inf|infinity|nan)",
    re.IGNORECASE,
)
# As spreadsheets show long numbers, and cells that are too narrow or wrong.
_SHORTENED = re.compile(r"[+-]?[0-9](?:[.,][0-9]+)?E[+-][0-9]+|#+|#(?:N/A|REF!|VALUE!|NAME\?|NUM!|NULL!|DIV/0!)")
_NOTHING = {"NA", "N/A", "NULL", "null", "None", "<NA>", "\\N"}

_KEPT_DIGITS = 15
_LONG = re.compile(rf"[0-9]{{{_KEPT_DIGITS + 1},}}")
# Fewer may end in zeros by chance.
_LEAST_LONG = 3

# Whole numbers beyond this are rounded once they were written with a decimal point.
_MOST_EXACT = 2**53


def first_damaged(texts: Sequence[str]) -> int | None:
    """The place of the first id that is not what it was: missing, shortened, or no whole number among numbers."""
    for place, text in enumerate(texts):
        if not text or _SHORTENED.fullmatch(text):
            return place
    if not all(_NUMBER.fullmatch(text) or text in _NOTHING for text in texts):
        return None
    return next((place for place, text in enumerate(texts) if _exact(text) is None), None)


def numbered(texts: Sequence[str]) -> tuple[list[int], list[str] | None]:
    """(the number of each of these ids, None) where all are whole numbers of 64 bits.

    Otherwise (1, 2, ... in their order, the text of each number). 160 and 160.0 are one number.
    """
    exact = [_exact(text) for text in texts]
    if all(number is not None and -(2**63) <= number < 2**63 for number in exact):
        return exact, None  # type: ignore[return-value]
    if all(number is not None for number in exact):
        texts = list(map(str, exact))
    number_of = {text: number for number, text in enumerate(dict.fromkeys(texts), 1)}
    return [number_of[text] for text in texts], list(number_of)


def are_rounded(texts: Sequence[str]) -> bool:
    """Whether all long numbers among several look as a spreadsheet writes them, which keeps 15 digits."""
    long = {text for text in texts if _LONG.fullmatch(text)}
    return len(long) >= _LEAST_LONG and all(not text[_KEPT_DIGITS:].strip("0") for text in long)


def _exact(text: str) -> int | None:
    """The whole number that a text says without a loss."""
    match = _WHOLE.fullmatch(text)
    if match is None:
        return None
    number = int(match[1])
    return number if match.end(1) == len(text) or abs(number) <= _MOST_EXACT else None
