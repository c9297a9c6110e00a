"""The engine: one person's states, fed in bulk or one review at a time, and predictions from them (spec 7)."""

from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path

from rwkv.data.history import RevlogTable
from rwkv.errors import InputError
from rwkv.model.card import SHIPPED
from rwkv.model.inputs import EVALUATION_SEED, SequenceDraw, draw_sequence
from rwkv.model.runner import Runner, runner_of
from rwkv.model.weights_file import load_weights
from rwkv.recurrent.bulk import feed_parts
from rwkv.recurrent.checks import check_different_cards, check_draw, checked, checked_durations, checked_table
from rwkv.recurrent.features import Review, reviews_of
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
    empty_predictions,
    joined,
    outlook,
    predict_many,
    predict_one,
    prediction_of,
)
from rwkv.recurrent.rows import review_rows
from rwkv.recurrent.simulated import feed_simulated
from rwkv.recurrent.snapshot import person_bytes, read_person, write_person
from rwkv.recurrent.state_store import CURVE, DEFAULT_MEMORY, StateStore


class Engine:
    """Predicts one person's reviews in time order, with the results of `Network.forward` over the whole history.

    States are float32. Feeding in bulk needs up to 250 MB besides the states, and each review that can be undone
    280 kB.

    Args:
        runner: Runs the network, see `runner_of`.
        draw: The random encodings of the history.
        codes: Gives the identity codes in place of the draw's.
        memory: Bytes of states to keep in memory; the others are in a temporary file.
        folder: Folder of the temporary file; None for the system's.
        undo_limit: Number of latest reviews that can be undone.

    Raises:
        InputError: The draw is invalid.
    """

    def __init__(
        self,
        runner: Runner,
        draw: SequenceDraw,
        *,
        codes: CodeSource | None = None,
        memory: int = DEFAULT_MEMORY,
        folder: Path | None = None,
        undo_limit: int = DEFAULT_LIMIT,
    ) -> None:
        check_draw(draw)
        self._runner = runner
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
        """Make an engine without history from a file of weights, in float32 on the CPU.

        Args:
            path: The weights; None for those of the package.
            user: User whose random encodings are drawn.
            seed: Seed of the random encodings.
            draw: The random encodings; None to draw those of `user` and `seed`.
            codes: Gives the identity codes in place of the draw's.
            memory: Bytes of states to keep in memory.

        Raises:
            CheckpointError: The file of weights is missing, damaged or of another model.
        """
        runner = runner_of(load_weights(SHIPPED if path is None else Path(path)))
        return cls(runner, draw or draw_sequence(user, seed), codes=codes, memory=memory)

    @property
    def reviews(self) -> int:
        """Number of reviews so far."""
        return self._person.counters.totals.reviews

    @property
    def cards(self) -> list[int]:
        """The cards that were reviewed, in order of first appearance."""
        return list(self._person.identities.numbers["card_id"])

    @property
    def fingerprint(self) -> str:
        """Fingerprint of all reviews so far, in order, as hexadecimal digits."""
        return self._person.fingerprint.hex()

    @property
    def weights(self) -> str:
        """Fingerprint of the network's weights, as hexadecimal digits."""
        return self._runner.fingerprint

    def answer(self, review: Review) -> Prediction:
        """Predict a review from the reviews before it, then add it to the history.

        Raises:
            HistoryError: The review is invalid or out of order. Nothing is changed then.
        """
        person = self._person
        review = checked(review, person.counters.totals)
        lookup = person.look_up(review)
        old_states = {key: person.store.get(key) for key in keys_of(lookup)}
        *states, curve = old_states.values()
        inputs = review_rows(lookup, person.identities, person.calendar)
        outputs, new_states = self._runner.few_rows(inputs, states, writes=1)
        check_finite(outputs)
        p_ahead = ahead(curve, review.elapsed_s)
        self._undo.add(person.add(review), old_states)
        person.store.put(dict(zip(old_states, [*new_states, outputs[-1:].copy()], strict=True)))
        return prediction_of(outputs, p_ahead) if len(outputs) == 2 else Prediction(p_ahead, None, None)

    def feed(self, table: RevlogTable) -> Predictions:
        """Predict and add many reviews at once; the predictions equal those of `answer` within 2e-5.

        These reviews and all earlier ones can no longer be undone.

        Args:
            table: Reviews that follow those so far.

        Raises:
            HistoryError: A row is invalid or out of order; the error names it. Nothing is changed then.
        """
        return joined([empty_predictions(0), *self.feeding(table)])

    def feeding(self, table: RevlogTable) -> Iterator[Predictions]:
        """Like `feed`, but yield the predictions in parts. After an error, the parts yielded so far stay added."""
        table = checked_table(table, self._person.counters.totals)
        self._undo.clear()
        return feed_parts(self._runner, self._person, table)

    def feed_simulated(self, table: RevlogTable) -> None:
        """Add simulated answers, which change nothing but their cards; see `rwkv.recurrent.simulated`.

        No review so far can be undone afterwards.

        Args:
            table: Reviews that follow those so far, at most one of each card.

        Raises:
            HistoryError: A row is invalid or out of order, or a card occurs twice; the error names it. Nothing is
                changed then.
        """
        table = checked_table(table, self._person.counters.totals)
        check_different_cards(table)
        self._undo.clear()
        feed_simulated(self._runner, self._person, list(reviews_of(table)))

    def predict(self, question: Question) -> Prediction:
        """Predict a possible next review without adding it; p_imm is given even for a card's first review."""
        return predict_one(self._runner, self._person, self._possible_review(question))

    def predict_many(self, questions: Sequence[Question]) -> Predictions:
        """Predict many possible next reviews, each as if it were the only one; equals `predict` within 2e-5."""
        reviews = [self._possible_review(question) for question in questions]
        return predict_many(self._runner, self._person, reviews)

    def predict_all(self, day_offset: int, elapsed_days: Sequence[int], elapsed_s: Sequence[int]) -> Predictions:
        """Predict a review of every card now, in the order of `cards`.

        Args:
            day_offset: Today, as in a Review.
            elapsed_days: Whole days since the latest review of each card.
            elapsed_s: Seconds since the latest review of each card.
        """
        rows = zip(self.cards, elapsed_days, elapsed_s, strict=True)
        return self.predict_many([Question(card, day_offset, days, seconds) for card, days, seconds in rows])

    def curve(self, card: int) -> Curve:
        """The card's forgetting curve since its latest review.

        Raises:
            InputError: The card was never reviewed.
        """
        outputs = self._person.store.get((CURVE, self._person.identities.number("card_id", card)))
        if outputs is None:
            what, hint = "A card without reviews has no forgetting curve.", "answer the card first"
            raise InputError(what, where=f"card {card}", hint=hint)
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
        """The outcomes of answering Again, Hard, Good or Easy, without adding a review.

        Args:
            question: The review to answer.
            retention: Desired retention at the next review, between 0 and 1.
            ordered: Raise intervals so that none is shorter than that of a lower rating.
            state: State of the answer, as in a Review.
            duration_ms: Answer time in milliseconds.

        Raises:
            InputError: The retention is not between 0 and 1, or an unknown card has no place.
            HistoryError: The review is invalid or out of order.
        """
        review = self._possible_review(question, state, duration_ms)
        return buttons(self._runner, self._person, review, retention, ordered)

    def outlook(self, questions: Sequence[Question], duration_ms: Sequence[float]) -> Iterator[Outlook]:
        """Yield predictions, curves and outcomes of many cards in parts, without adding a review.

        The results equal those of `predict`, `curve` and `buttons` within 2e-5.

        Args:
            questions: The reviews to predict.
            duration_ms: Answer time of each rating in milliseconds, [4].

        Raises:
            InputError: A duration is invalid.
        """
        reviews = [self._possible_review(question) for question in questions]
        return outlook(self._runner, self._person, reviews, checked_durations(duration_ms))

    def undo(self, count: int = 1) -> None:
        """Undo the latest reviews exactly.

        Raises:
            InputError: Fewer reviews can be undone. Nothing is changed then.
        """
        self._undo.undo(self._person, count)

    def save(self, path: Path | str) -> None:
        """Write the engine to a file, without the data of `undo`. A kill leaves either the old file or the new one."""
        write_person(Path(path), self._person, self._runner)

    @property
    def saved_bytes(self) -> int:
        """Size of the file that `save` would write, without its header of a few hundred bytes."""
        return person_bytes(self._person, self._runner)

    def restore(self, path: Path | str, history: RevlogTable | None = None) -> None:
        """Restore a saved engine exactly, including its codes and draw.

        Args:
            path: The file.
            history: If given, a history that must begin with the saved reviews.

        Raises:
            SnapshotError: The file is missing, damaged, or of other weights or another history. Nothing is changed
                then.
        """
        self._person = read_person(Path(path), self._person, self._runner, history)
        self._undo.clear()

    def branch(self) -> "Engine":
        """An engine with the same history that can be fed separately; it stores only the states that it changes.

        Do not feed or close this engine before the branch is closed.
        """
        branch = copy(self)
        branch._person, branch._undo = self._person.branch(), UndoLog(0)
        return branch

    def close(self) -> None:
        """Free the memory and disk space of the states."""
        self._person.store.close()

    def _possible_review(self, question: Question, state: int = 0, duration_ms: float = 0) -> Review:
        review = self._person.review(question, state=state, duration_ms=duration_ms)
        return checked(review, self._person.counters.totals)
