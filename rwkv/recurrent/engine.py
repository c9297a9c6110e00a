"""The engine: one person's states, fed in bulk or one review at a time, and what the model says from them (spec 7)."""

from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path

import torch

from rwkv.data.history import RevlogTable
from rwkv.errors import InputError
from rwkv.model.card import SHIPPED
from rwkv.model.checkpoint import load_network
from rwkv.model.inputs import EVALUATION_SEED, SequenceDraw, draw_sequence
from rwkv.model.network import Network
from rwkv.recurrent.bulk import feed_parts
from rwkv.recurrent.checks import check_draw, checked, checked_durations, checked_table
from rwkv.recurrent.features import Review
from rwkv.recurrent.forward import Passes
from rwkv.recurrent.identities import CodeSource
from rwkv.recurrent.intervals import Button, Curve
from rwkv.recurrent.person import DEFAULT_LIMIT, Person, Question, UndoLog, keys_of
from rwkv.recurrent.predictions import (
    Outlook,
    Prediction,
    Predictions,
    ahead,
    buttons,
    check_finite,
    joined,
    nothing_said,
    outlook,
    predict_many,
    predict_one,
    said_of,
)
from rwkv.recurrent.rows import rows_of_one
from rwkv.recurrent.snapshot import person_bytes, read_person, write_person
from rwkv.recurrent.state_store import CURVE, DEFAULT_MEMORY, StateStore


class Engine:
    """Walks one person's history. Gives the numbers of `Network.forward` over the whole of it. States are float32.

    network: ready to predict; its weights must not change. draw: the random encodings of the history. codes: gives the
    identity codes instead. memory: bytes of states that are held, the others lie in a temporary file in `folder`; a
    pass in bulk takes up to 250 MB beside them, and each review that can be undone 280 kB. undo_limit: how many of
    the latest reviews can be taken back. Raises InputError for a draw that cannot be.
    """

    def __init__(
        self,
        network: Network,
        draw: SequenceDraw,
        *,
        codes: CodeSource | None = None,
        memory: int = DEFAULT_MEMORY,
        folder: Path | None = None,
        undo_limit: int = DEFAULT_LIMIT,
    ) -> None:
        check_draw(draw)
        self._passes = Passes(network)
        self._person = Person(draw, StateStore(memory, folder), codes)
        self._undo = UndoLog(undo_limit)

    @classmethod
    def load(
        cls,
        path: Path | str | None = None,
        *,
        user: int = 1,
        seed: int = EVALUATION_SEED,
        draw: SequenceDraw | None = None,
        codes: CodeSource | None = None,
        memory: int = DEFAULT_MEMORY,
    ) -> "Engine":
        """An engine without history from a file of weights, those of the package by default, in float32 on the CPU.

        draw: the random encodings, None for those of `user` and `seed`. The others: as of an Engine. Raises
        CheckpointError.
        """
        network = load_network(SHIPPED if path is None else Path(path), torch.device("cpu"), torch.float32)
        return cls(network, draw or draw_sequence(user, seed), codes=codes, memory=memory)

    @property
    def reviews(self) -> int:
        """How many reviews were taken in."""
        return self._person.counters.totals.reviews

    @property
    def cards(self) -> list[int]:
        """The cards that were reviewed, in order of first appearance."""
        return list(self._person.identities.numbers["card_id"])

    @property
    def fingerprint(self) -> str:
        """Of all reviews so far, in order."""
        return self._person.fingerprint.hex()

    def answer(self, review: Review) -> Prediction:
        """Predict a review from what came before it, then take it in. Reviews come in time order.

        Raises HistoryError, and changes nothing, where the review cannot be one.
        """
        person = self._person
        review = checked(review, person.counters.totals)
        found = person.look(review)
        before = {key: person.store.get(key) for key in keys_of(found)}
        *states, curve = before.values()
        inputs = rows_of_one(found, person.identities, person.calendar)
        outputs, after = self._passes.few(inputs, states, writes=1)
        check_finite(outputs)
        p_ahead = ahead(curve, review.elapsed_s)
        self._undo.add(person.take_in(review), before)
        person.store.put(dict(zip(before, [*after, outputs[-1:].clone()], strict=True)))
        return said_of(outputs, p_ahead) if len(outputs) == 2 else Prediction(p_ahead, None, None)

    def feed(self, table: RevlogTable) -> Predictions:
        """Predict and take in a history that goes on from what came before, in bulk: as `answer` within 2e-5.

        Raises HistoryError, naming the row, and changes nothing, where a row cannot be a review. Reviews taken in so,
        and those before them, can no longer be taken back.
        """
        return joined([nothing_said(0), *self.feeding(table)])

    def feeding(self, table: RevlogTable) -> Iterator[Predictions]:
        """The same part by part, as they are done; where an error ends it, the parts before it are taken in."""
        table = checked_table(table, self._person.counters.totals)
        self._undo.clear()
        return feed_parts(self._passes, self._person, table)

    def predict(self, question: Question) -> Prediction:
        """What is said of a review that may come next; p_imm is said also of a card's first. Changes nothing."""
        return predict_one(self._passes, self._person, self._asked(question))

    def predict_many(self, questions: Sequence[Question]) -> Predictions:
        """The same of many, none of which knows of the others, within 2e-5 of one at a time."""
        return predict_many(self._passes, self._person, [self._asked(question) for question in questions])

    def predict_all(self, day_offset: int, elapsed_days: Sequence[int], elapsed_s: Sequence[int]) -> Predictions:
        """The same of the whole collection now. elapsed_days, elapsed_s: since the latest review of each of `cards`."""
        when = zip(self.cards, elapsed_days, elapsed_s, strict=True)
        return self.predict_many([Question(card, day_offset, days, seconds) for card, days, seconds in when])

    def curve(self, card: int) -> Curve:
        """The forgetting curve since the card's latest review. Raises InputError for a card that was never reviewed."""
        outputs = self._person.store.get((CURVE, self._person.identities.number("card_id", card)))
        if outputs is None:
            raise InputError("The card was never reviewed, so it has no forgetting curve.", where=f"card {card}")
        return Curve(outputs)

    def buttons(
        self,
        question: Question,
        retention: float = 0.9,
        *,
        ordered: bool = False,
        state: int = 2,
        duration_ms: float = 0,
    ) -> list[Button]:
        """What Again, Hard, Good and Easy would lead to. Changes nothing.

        retention: desired at the next review. ordered: none of the intervals is shorter than one before it.
        state, duration_ms: of the answer, as of a Review.
        """
        review = self._asked(question, state, duration_ms)
        return buttons(self._passes, self._person, review, retention, ordered)

    def outlook(self, questions: Sequence[Question], duration_ms: Sequence[float]) -> Iterator[Outlook]:
        """The predictions, curves and buttons of many cards, part by part; as one at a time within 2e-5.

        duration_ms: of an answer of each rating [4]. Changes nothing. Raises InputError for other durations.
        """
        reviews = [self._asked(question) for question in questions]
        return outlook(self._passes, self._person, reviews, checked_durations(duration_ms))

    def undo(self, count: int = 1) -> None:
        """Take the latest reviews back, bit for bit. Raises InputError where so many cannot be."""
        self._undo.undo(self._person, count)

    def save(self, path: Path | str) -> None:
        """Write everything but what `undo` needs. A kill at any moment leaves the old file or the new one, whole."""
        write_person(Path(path), self._person, self._passes.network)

    @property
    def saved_bytes(self) -> int:
        """The size of the file that `save` would write, but for a few hundred bytes."""
        return person_bytes(self._person, self._passes.network)

    def restore(self, path: Path | str, history: RevlogTable | None = None) -> None:
        """Become the engine that was saved, bit for bit, codes and draw included.

        history: what the saved reviews must have been, perhaps with more after them. Raises SnapshotError, and changes
        nothing, where the file is damaged, or of other weights or another history.
        """
        self._person = read_person(Path(path), self._person, self._passes.network, history)
        self._undo.clear()

    def branch(self) -> "Engine":
        """An engine after the same reviews, to ask what would come of others; its memory grows by what it takes in.

        This one must take nothing in, and not be closed, before that one is closed.
        """
        twin = copy(self)
        twin._person, twin._undo = self._person.branch(), UndoLog(0)
        return twin

    def close(self) -> None:
        """Free memory and disk of the states."""
        self._person.store.close()

    def _asked(self, question: Question, state: int = 0, duration_ms: float = 0) -> Review:
        review = self._person.review(question, state=state, duration_ms=duration_ms)
        return checked(review, self._person.counters.totals)
