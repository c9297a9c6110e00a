"""Card queries: a subset of the language of Anki's search box, with properties that the model predicts.

    word  "some words"  wor*d   text of the note's first non-empty field, in upper or lower case
    deck:NAME  preset:NAME      includes subdecks; NAME may contain *; deck:"Two words"
    is:new  is:due  is:suspended
    tag:NAME  tag:none          tags of the note, with subtags; NAME may contain *
    added:N                     created within N days, including today, by the card's id
    rated:N  rated:N:1          answered within N days, including today; with a rating, 1 Again to 4 Easy
    cid:1,2,3                   card ids
    prop:r<0.9                  recall by the forgetting curve now, as Anki's prop:r
    prop:p<0.8                  recall by RWKV-P now
    prop:left<=0                days until the curve falls to the desired retention
    prop:ivl>=21  prop:due<=0   Anki's interval; days until Anki's due day
    a b   a or b   -a   ( )     and, or, not, grouping

Operators of prop: < <= > >= = !=. Cards without the property do not match; a new card has no curve. Text is compared in
Unicode normal form.
"""

import operator
import re
import unicodedata
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from rwkv.arrays import Bools
from rwkv.errors import InputError

# Columns of card_columns and of CardPredictions.
Columns = Mapping[str, npt.NDArray[Any]]
Match = Callable[[Columns], Bools]
# What is known of a query where no card has what some terms ask for: that it matches every card, or none, or neither.
Outcome = Callable[[Set[str]], bool | None]

_TOKEN = re.compile(r"""\s*([()]|-?(?:[^\s"()]|"[^"]*")+|-)""")
_PROPERTY = re.compile(r"(\w+)(<=|>=|!=|<|>|=)(-?\d+(?:\.\d+)?)")
_OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_PROPERTIES = {
    "r": "p_curve",
    "p": "p_now",
    "left": "left_days",
    "ivl": "anki_interval_days",
    "due": "due_in_days",
}
_OF_MODEL = {"r", "p", "left"}
_MOST_TOKENS = 200
_INT64 = np.iinfo(np.int64)


@dataclass(frozen=True)
class Query:
    """A parsed query.

    Attributes:
        matches: The matching cards, bool [n], of columns [n] by name.
        asks_model: Whether the query uses columns that the model predicts.
        asks_for: What cards must have to match terms that are not negated: "words", "deck:", "is:due", "prop:ivl".
        outcome: True, False or None, if the query matches every card, none, or an unknown number where no card has
            what the given terms ask for.
    """

    matches: Match
    asks_model: bool
    asks_for: frozenset[str]
    outcome: Outcome


def parse_query(text: str) -> Query:
    """Parse a query, such as "deck:Spanish prop:r<0.8". Raises InputError, which names the wrong term."""
    tokens = _tokens(text)
    if len(tokens) > _MOST_TOKENS:
        _refuse(f"{len(tokens)} terms", f"at most {_MOST_TOKENS}; card ids fit into one term, cid:1,2,3")
    parser = _Parser(tokens)
    whole = parser.any_of()
    if parser.tokens:
        _refuse(parser.tokens[0], "an opening parenthesis before it")
    return Query(whole.matches, parser.asks_model, frozenset(parser.asks_for), whole.outcome)


def _tokens(text: str) -> list[str]:
    tokens, place = [], 0
    text = unicodedata.normalize("NFC", text).rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            _refuse(text[place:].strip(), 'a closing "')
        tokens.append(match[1])
        place = match.end()
    return tokens


@dataclass(frozen=True)
class _Part:
    """A part of a query: its matching cards, and what is known of them, as in Query."""

    matches: Match
    outcome: Outcome


class _Parser:
    """A recursive descent parser: alternatives of conjunctions of terms, which may be negated."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.asks_model = False
        self.asks_for: set[str] = set()
        self._is_negated = False

    def any_of(self) -> _Part:
        part = self._all_of()
        while self.tokens and self.tokens[0].lower() == "or":
            self.tokens.pop(0)
            part = _either(part, self._all_of(must_be=True))
        return part

    def _all_of(self, must_be: bool = False) -> _Part:
        part: _Part | None = None
        while self.tokens and self.tokens[0] != ")" and self.tokens[0].lower() != "or":
            token = self.tokens.pop(0)
            if token.lower() != "and":
                part = self._term(token) if part is None else _both(part, self._term(token))
        if part is None and (must_be or self.tokens):
            _refuse(self.tokens[0] if self.tokens else "or", "a term before and after it")
        return part or _Part(_all_cards, lambda lacking: True)

    def _term(self, token: str) -> _Part:
        if token.startswith("-"):
            rest = token[1:] or (self.tokens.pop(0) if self.tokens else _refuse("-", "a term after it"))
            self._is_negated = not self._is_negated
            part = self._term(rest)
            self._is_negated = not self._is_negated
            return _not(part)
        if token == "(":
            part = self.any_of()
            if not self.tokens:
                _refuse("(", "a closing )")
            self.tokens.pop(0)
            return part
        return self._simple(token)

    def _simple(self, token: str) -> _Part:
        kind, colon, value = token.replace('"', "").partition(":")
        make = _KINDS.get(kind.lower())
        if kind.lower() == "prop" and colon:
            return self._property(token, value)
        if make is not None and colon:
            whole = f"{kind}:{value}".lower()
            return self._asking(whole if whole in ("is:due", "tag:none") else f"{kind.lower()}:", make(value))
        if colon and not token.startswith('"'):
            _refuse(token, "deck:, preset:, tag:, is:, added:, rated:, cid: or prop:, or words in quotes")
        return self._asking("words", _note(kind + colon + value))

    def _asking(self, term: str, matches: Match) -> _Part:
        if not self._is_negated:
            self.asks_for.add(term)
        return _Part(matches, lambda lacking: False if term in lacking else None)

    def _property(self, token: str, value: str) -> _Part:
        match = _PROPERTY.fullmatch(value)
        if match is None or match[1] not in _PROPERTIES:
            _refuse(token, "a term such as prop:r<0.9, with one of the properties " + ", ".join(_PROPERTIES))
        name, compare, number = _PROPERTIES[match[1]], _OPERATORS[match[2]], float(match[3])
        self.asks_model |= match[1] in _OF_MODEL
        return self._asking(
            f"prop:{match[1]}",
            lambda columns: compare(columns[name], number) & ~np.isnan(columns[name].astype(np.float64)),
        )


def _all_cards(columns: Columns) -> Bools:
    return np.ones(len(columns["card_id"]), bool)


def _both(first: _Part, second: _Part) -> _Part:
    def outcome(lacking: Set[str]) -> bool | None:
        known = {first.outcome(lacking), second.outcome(lacking)}
        return False if False in known else None if None in known else True

    return _Part(lambda columns: first.matches(columns) & second.matches(columns), outcome)


def _either(first: _Part, second: _Part) -> _Part:
    return _not(_both(_not(first), _not(second)))


def _not(part: _Part) -> _Part:
    def outcome(lacking: Set[str]) -> bool | None:
        known = part.outcome(lacking)
        return None if known is None else not known

    return _Part(lambda columns: ~part.matches(columns), outcome)


def _note(words: str) -> Match:
    return _text("note", f".*{_pattern(words)}.*")


def _deck(name: str) -> Match:
    return _text("deck", f"{_pattern(name)}(::.*)?")


def _preset(name: str) -> Match:
    return _text("preset", _pattern(name))


def _pattern(text: str, anything: str = ".") -> str:
    """A regular expression of text in which * stands for any characters. Atomic groups prevent backtracking."""
    first, *rest = map(re.escape, text.split("*"))
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>{anything}*?{part})" for part in middle) + f"{anything}*{last}"


def _text(column: str, pattern: str) -> Match:
    """Matches cards whose text in a column fits the pattern. Each distinct text is compared once."""
    expression = re.compile(pattern, re.IGNORECASE | re.DOTALL)

    def match(columns: Columns) -> Bools:
        distinct, place = np.unique(columns[column].astype(str), return_inverse=True)
        texts = (unicodedata.normalize("NFC", text) for text in distinct.tolist())
        return np.array([expression.fullmatch(text) is not None for text in texts], bool)[place]

    return match


def _tag(name: str) -> Match:
    """Matches tags, which the column holds as one text with a space before and after each."""
    tag = _pattern(name, r"\S")
    match_tags = _text("tags", r"\s*" if name.lower() == "none" else rf".*\s{tag}(::\S*)?\s.*")

    def match(columns: Columns) -> Bools:
        if "tags" not in columns:
            what, hint = "The folder was imported without tags.", "omit the term, or import the collection again"
            raise InputError(what, where="`query`", got=f"tag:{name}", hint=hint)
        return match_tags(columns)

    return match


def _added(days: str) -> Match:
    within = _days("added", days)
    return lambda columns: columns["added_days"] < within


def _rated(value: str) -> Match:
    days, colon, rating = value.partition(":")
    within = _days("rated", days)
    if colon and rating not in ("1", "2", "3", "4"):
        _refuse(f"rated:{value}", "a rating from 1 to 4, such as rated:7:1")
    names = [f"rated_days_{number}" for number in (rating or "1234")]
    return lambda columns: np.any([columns[name] < within for name in names], axis=0)


def _days(kind: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text) or int(text) == 0:
        _refuse(f"{kind}:{text}", f"a number of days such as {kind}:7")
    return int(text)


def _state(name: str) -> Match:
    name = name.lower()
    if name == "due":
        return lambda columns: (columns["due_in_days"] <= 0) & ~columns["is_suspended"]
    if name not in ("new", "suspended"):
        _refuse(f"is:{name}", "is:new, is:due or is:suspended")
    return lambda columns: columns[f"is_{name}"].astype(bool)


def _cards(ids: str) -> Match:
    if not re.fullmatch(r"-?\d{1,19}(,-?\d{1,19})*", ids):
        _refuse(f"cid:{ids}", "card ids such as cid:1,2,3")
    numbers = [int(number) for number in ids.split(",")]
    card_ids = np.array([number for number in numbers if _INT64.min <= number <= _INT64.max], np.int64)
    return lambda columns: np.isin(columns["card_id"], card_ids)


def _refuse(got: str, expected: str) -> NoReturn:
    hint = "see the syntax in `rwkv predict --help`"
    raise InputError("The card query is invalid.", where="`query`", got=got, expected=expected, hint=hint)


_KINDS: dict[str, Callable[[str], Match]] = {
    "deck": _deck,
    "preset": _preset,
    "tag": _tag,
    "is": _state,
    "added": _added,
    "rated": _rated,
    "cid": _cards,
}
EVERYTHING = parse_query("")
