"""Numbers with their nouns in messages: 1 review, 1,234 reviews."""

import re


def counted(number: int, noun: str, several: str = "") -> str:
    """A number and the noun's form for it. several: the plural, if it is not that of card or entry."""
    return f"{number:,} {form(number, noun, several)}"


def form(number: int, noun: str, several: str = "") -> str:
    """The form of a noun, or of a verb that follows one, for a number."""
    return noun if number == 1 else several or re.sub("(?<![aeiou])ys$", "ies", f"{noun}s")
