"""Detect the scheduler of a revlog's answers, because Anki's old scheduler numbered the learning buttons differently.

Old: Again 1, Good 2, Easy 3. New: Again 1, Hard 2, Good 3, Easy 4. The scheduler recorded in a collection is not
reliable: exports lose it, and people switch. The answers are evidence:
- Only the new scheduler has a button 4 while learning. Only there can an answer of 3 leave learning steps, which Anki
  records as a negative interval; the old Easy always ended the learning.
- The old Good, 2, could end the learning; the new Hard almost never does.
Source: pylib/anki/sched.py of Anki 2.1 (answerButtons, _answerLrnCard, _logLrn), and the current rslib/src/scheduler.
"""

from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Bools, Ints
from rwkv.data.days import EARLIEST_S, LATEST_S, local_time
from rwkv.data.imports.anki.database import RevlogRows
from rwkv.plurals import counted, form
from rwkv.vocab import SECONDS_PER_DAY

_LEARNING, _RELEARNING = 0, 2

# Hard ends the learning if a preset has no steps, or steps of days. So a few such answers prove nothing. Neither do
# those of a single session, because nobody switches the scheduler for an hour.
_LEAST_GRADUATIONS = 3
_LEAST_MS = SECONDS_PER_DAY * 1000

_MOST_STRETCHES = 3


@dataclass(frozen=True)
class Verdict:
    """The decision. is_old: whether each answer has the old buttons, bool [n]. reasons: the evidence in words."""

    is_old: Bools
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Evidence:
    """The evidence of the answers, each bool [n].

    Attributes:
        is_step: Learning and relearning answers, the only evidence.
        only_new: Answers that the old scheduler cannot have recorded.
        only_old: Answers that the new scheduler almost never records.
    """

    is_step: Bools
    only_new: Bools
    only_old: Bools


def judged(revlog: RevlogRows, names_old: bool, is_new_form: bool) -> Verdict:
    """Decide for each period which scheduler's buttons the answers have.

    Args:
        revlog: The answers.
        names_old: Whether the collection names the old scheduler, or none. If it names the new one, all answers have
            the new buttons, because Anki maps them when a collection switches.
        is_new_form: Whether the collection has a form used by the new scheduler.
    """
    if not names_old:
        return Verdict(np.zeros(len(revlog.ease), bool), ())
    evidence = _evidence_of(revlog)
    is_old = _old_answers(revlog, evidence, is_old_unless_disproved=not is_new_form)
    is_concerned = evidence.is_step & np.isin(revlog.ease, (2, 3))
    return Verdict(is_old, (_reason(revlog, evidence, is_old),) if is_concerned.any() else ())


def _evidence_of(revlog: RevlogRows) -> _Evidence:
    is_step = np.isin(revlog.kind, (_LEARNING, _RELEARNING)) & (revlog.ease > 0)
    has_steps_left = (revlog.ease == 3) & (revlog.interval < 0)
    ends_learning = (revlog.ease == 2) & (revlog.interval > 0)
    return _Evidence(is_step, is_step & ((revlog.ease == 4) | has_steps_left), is_step & ends_learning)


def _old_answers(revlog: RevlogRows, evidence: _Evidence, is_old_unless_disproved: bool) -> Bools:
    """Whether each answer has the old scheduler's buttons, bool [n].

    A period is between two answers that only the new scheduler gives, at least a day apart. It belongs to the old
    scheduler if several answers of 2 ended the learning and 2 is more frequent than 3. Its limits are halfway between
    the evidence for one and for the other.
    """
    if is_old_unless_disproved and not evidence.only_new.any():
        return np.ones(len(revlog.ease), bool)
    stretch = np.cumsum(evidence.only_new)
    count = int(evidence.only_new.sum()) + 1
    graduations, twos, threes = (
        np.bincount(stretch[flag], minlength=count)
        for flag in (
            evidence.only_old,
            evidence.is_step & (revlog.ease == 2),
            evidence.is_step & (revlog.ease == 3) & ~evidence.only_new,
        )
    )
    time_ms = revlog.time_ms
    is_long = np.concatenate(([True], np.diff(time_ms[evidence.only_new]) >= _LEAST_MS, [True]))[:count]
    is_old = np.zeros(len(stretch), bool)
    for number in np.flatnonzero((graduations >= _LEAST_GRADUATIONS) & (twos > threes) & is_long):
        start, stop = np.searchsorted(stretch, [number, number + 1])
        marks = start + np.flatnonzero(evidence.only_old[start:stop])
        since = (time_ms[start] + time_ms[marks[0]]) / 2 if number > 0 else -np.inf
        until = (time_ms[marks[-1]] + time_ms[stop]) / 2 if stop < len(stretch) else np.inf
        is_old[start:stop] = (time_ms[start:stop] > since) & (time_ms[start:stop] < until)
    return is_old


def _reason(revlog: RevlogRows, evidence: _Evidence, is_old: Bools) -> str:
    new, steps, old = (int(flag.sum()) for flag in (evidence.only_new, evidence.is_step, evidence.only_old & is_old))
    says = "the collection names Anki's old scheduler, or none"
    proof = f"{new:,} of {counted(steps, 'learning answer')} must be from the new one (button 4, or 3 with steps left)"
    if is_old.all():
        return (
            f"{says}, and of {counted(steps, 'learning answer')} none contradicts it and {old:,} "
            f"{form(old, 'supports', 'support')} it (2 ended the learning). "
            "Learning answers 2 and 3 are mapped to Good and Easy (`grades` raw keeps them)"
        )
    if is_old.any():
        return (
            f"{says}. The old one was in use {_spans(revlog, is_old)}, where a 2 ended the learning "
            f"{counted(old, 'time')}; at other times {proof}. "
            "Only answers of the old one are mapped (`grades` raw or old decides for all)"
        )
    if not new:
        new_form = "collection.anki21 in .apkg, or tables without settings"
        proof = f"there is no evidence for the old one, and the form is that of the new one ({new_form})"
    return f"{says}, but {proof}. Ratings are kept as recorded (`grades` old maps them)"


def _spans(revlog: RevlogRows, is_old: Bools) -> str:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_old, [False]))))
    epoch_s = np.clip(revlog.time_ms[_inner(edges)] // 1000, EARLIEST_S, LATEST_S)
    dates = [f"{local_time(second, 'UTC'):%Y-%m-%d}" for second in epoch_s.tolist()]
    spans = [f"from {since} to {until}" for since, until in zip(dates[::2], dates[1::2], strict=True)]
    return ", ".join(spans[:_MOST_STRETCHES]) + (", ..." if len(spans) > _MOST_STRETCHES else "")


def _inner(edges: Ints) -> Ints:
    """The first and last index of each run, from the edges of flags."""
    return edges - np.arange(len(edges)) % 2
