"""Whose buttons the answers of a revlog are: Anki's old scheduler numbered them otherwise while learning.

Old: Again 1, Good 2, Easy 3. New: Again 1, Hard 2, Good 3, Easy 4. What a collection says of its scheduler is no proof:
exports lose it, and people change. The answers themselves tell:
- Only the new one has a button 4 while learning, and only there a 3 leaves steps to go, which Anki records as an
  interval below zero: the old Easy always ended the learning.
- The old Good, 2, could end the learning; the new Hard hardly ever does.
Source: pylib/anki/sched.py of Anki 2.1 (answerButtons, _answerLrnCard, _logLrn), rslib/src/scheduler of today.
"""

from dataclasses import dataclass

import numpy as np

from rwkv.arrays import Bools, Ints
from rwkv.data.days import EARLIEST_S, LATEST_S, local_time
from rwkv.data.imports.anki.database import RevlogRows
from rwkv.vocab import SECONDS_PER_DAY

_LEARNING, _RELEARNING = 0, 2

# Hard ends the learning where a preset has no steps, or steps of days. Fewer such answers than this tell nothing, and
# nor do those of one sitting: nobody changes the scheduler for an hour.
_LEAST_GRADUATIONS = 3
_LEAST_MS = SECONDS_PER_DAY * 1000

_MOST_STRETCHES = 3


@dataclass(frozen=True)
class Verdict:
    """is_old bool [n]: answers with the buttons of the old scheduler. reasons: what was decided, on what evidence."""

    is_old: Bools
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Evidence:
    """What the answers tell, each bool [n].

    is_step: learning and relearning answers, the only ones that tell. only_new: the old scheduler cannot have recorded
    them. only_old: the new one records them hardly ever.
    """

    is_step: Bools
    only_new: Bools
    only_old: Bools


def judged(revlog: RevlogRows, names_old: bool, is_new_form: bool) -> Verdict:
    """Decide whose buttons the answers have, for each stretch of time.

    names_old: the collection names the old scheduler, or none; where it names the new one it is believed, for Anki maps
    all answers when a collection changes. is_new_form: it has a form in which those of the new one come.
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
    """Which answers [n] have the buttons of the old scheduler.

    A stretch lies between two answers that only the new scheduler gives, a day or more apart. It is the old one's where
    several answers of 2 ended the learning and 2 is more frequent than 3. It begins and ends halfway between what tells
    of one and of the other.
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
    says = "it names Anki's old scheduler, or none"
    proof = f"{new:,} of {steps:,} answers while learning can only be of the new one (button 4, or 3 with steps to go)"
    if is_old.all():
        return (
            f"{says}, and of {steps:,} answers while learning none is against it, {old:,} for it (2 ended the "
            "learning): 2 and 3 are mapped to Good and Easy there (--grades raw leaves them)"
        )
    if is_old.any():
        return (
            f"{says}: that one was in use {_spans(revlog, is_old)}, where a 2 ended the learning {old:,} times; {proof}"
            ", at other times: only the former are mapped (--grades raw or old decides for all)"
        )
    if not new:
        form = "collection.anki21 in .apkg, or tables without settings"
        proof = f"nothing speaks for that one, and it has the form of the new one ({form})"
    return f"{says}, but {proof}: ratings are taken as recorded (--grades old maps them)"


def _spans(revlog: RevlogRows, is_old: Bools) -> str:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_old, [False]))))
    epoch_s = np.clip(revlog.time_ms[_inner(edges)] // 1000, EARLIEST_S, LATEST_S)
    dates = [f"{local_time(second, 'UTC'):%Y-%m-%d}" for second in epoch_s.tolist()]
    spans = [f"from {since} to {until}" for since, until in zip(dates[::2], dates[1::2], strict=True)]
    return ", ".join(spans[:_MOST_STRETCHES]) + (", ..." if len(spans) > _MOST_STRETCHES else "")


def _inner(edges: Ints) -> Ints:
    """Where flags begin and end -> the first and last place of each run."""
    return edges - np.arange(len(edges)) % 2
