"""Adapt weights to one person or several, and write them if they are better on held-out reviews."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rwkv.collection.cached_import import source_of
from rwkv.collection.chosen_model import ChosenModel, choose_model
from rwkv.collection.users import shown_users, users_in
from rwkv.data.history import RevlogTable
from rwkv.data.revlogs import read_history
from rwkv.errors import InputError, RwkvError
from rwkv.files import check_output
from rwkv.locks import only_writer_of
from rwkv.model.card import ADAPTED, ADAPTED_TO, BEFORE, CARD, TRAINED_ON, Card, read_card
from rwkv.model.checkpoint import network_of, write_weights
from rwkv.ops.backend import open_compute_device
from rwkv.plurals import counted, form
from rwkv.runtime import Failures, log
from rwkv.training.adaptation import (
    FEWEST_JUDGED,
    FEWEST_OF_A_PERSON,
    NAMES,
    Adapted,
    adapt,
    judged_reviews,
    trained_reviews,
)

_ENDING = ".safetensors"


@dataclass(frozen=True)
class FineTuned:
    """The result of fine-tuning.

    Attributes:
        model: The initial weights.
        notice: A notice about the initial weights, or None.
        out: The file written, or None.
        adapted: The adapted network and its scores.
        without: For each user that was left out, why.
        failures: Users whose history cannot be used.
    """

    model: Path
    notice: str | None
    out: Path | None
    adapted: Adapted
    without: Mapping[int, str]
    failures: Failures

    @property
    def exit_code(self) -> int:
        """0 if weights were written and every history was usable, else 1."""
        return max(self.failures.exit_code(), int(self.out is None))


def finetune(folder: Path, out: Path, users: Sequence[int] | None = None, model: Path | None = None) -> FineTuned:
    """Adapt weights to users of a folder, and write them if they are better.

    Args:
        folder: A folder written by `rwkv import`, or a dataset.
        out: The .safetensors file to write.
        users: The user numbers; None for all.
        model: The initial weights; None for those of the package.

    Raises:
        InputError: `out` cannot be written, or there are not enough reviews.
        BusyError: Another command is writing to `out`.
    """
    _check_out(out, model)
    numbers = users_in(folder, None if users is None else list(dict.fromkeys(users)))
    with only_writer_of(out, "another `out`"):
        tables, without, failures = _histories(folder, numbers)
        chosen = choose_model(model)
        open_compute_device("cpu", threads=0)  # says if it will be slow
        adapted = adapt(network_of(chosen.weights), tables, log.info)
        written = None
        if adapted.better:
            weights = adapted.network.state_dict()
            card = _card(folder, tables, adapted, chosen)
            write_weights(out, weights, {CARD: json.dumps(card)})
            written = out
    return FineTuned(chosen.path, chosen.notice, written, adapted, without, failures)


def _histories(folder: Path, users: Sequence[int]) -> tuple[list[RevlogTable], dict[int, str], Failures]:
    tables, counts, without, failures = [], {}, {}, Failures()
    for user in users:
        try:
            table = read_history(folder, user)
        except RwkvError as error:
            failures.add(user, error)
            continue
        counts[user] = int(judged_reviews(table).sum())
        if counts[user] < FEWEST_OF_A_PERSON:
            verb = form(counts[user], "is", "are")
            share = f"{counts[user]:,} of {counted(len(table), 'review')} {verb}"
            without[user] = f"{share} on a later day than the card's previous review"
            log.warning("user %d is left out: %s, and %d are needed", user, without[user], FEWEST_OF_A_PERSON)
        else:
            tables.append(table)
    total = sum(counts[table.user] for table in tables)
    if total < FEWEST_JUDGED:
        people = counted(len(tables), "person", "people")
        raise InputError(
            "There are not enough reviews for fine-tuning.",
            where=source_of(folder),
            got=f"{counted(total, 'review')} of {people} on a later day than the card's previous review",
            expected=f"{FEWEST_JUDGED:,}, and {FEWEST_OF_A_PERSON} of each person",
            hint="use the weights unchanged until the history is longer, or adapt them to several people",
        )
    return tables, without, failures


def _check_out(out: Path, model: Path | None) -> None:
    """Raise InputError if weights cannot be written to `out`."""
    if out.suffix.lower() != _ENDING:
        expected, hint = f"a name ending in {_ENDING}", "choose such a name; the file also stores the model card"
        raise InputError(
            "The file's ending is wrong for weights.", where="`out`", got=str(out), expected=expected, hint=hint
        )
    check_output(out)
    if model is not None and out.exists() and model.exists() and out.samefile(model):
        hint = "choose another `out`"
        raise InputError("The initial weights would be overwritten.", where=str(out), hint=hint)


def _card(folder: Path, tables: Sequence[RevlogTable], adapted: Adapted, initial: ChosenModel) -> Card:
    """The model card for `rwkv info`: the initial weights, the people, and the improvement."""
    initial_card, fingerprint = read_card(initial.path) or {}, initial.weights.fingerprint
    return {
        ADAPTED: {
            "from": f"{initial.path.name}, fingerprint {fingerprint[:16]}",
            ADAPTED_TO: f"{form(len(tables), 'user')} {shown_users([table.user for table in tables])}",
            TRAINED_ON: _trained_on(folder, tables),
            "reviews kept aside": sum(one.reviews for one in adapted.people),
            **{name: _change(adapted, name) for name in NAMES},
        },
        **{f"{BEFORE}{title}": facts for title, facts in initial_card.items()},
    }


def _trained_on(folder: Path, tables: Sequence[RevlogTable]) -> str:
    """The reviews that the weights were trained on, in words."""
    name = Path(source_of(folder)).resolve().name
    if len(tables) == 1:
        (table,) = tables
        return f"the first {trained_reviews(table):,} of the {len(table):,} reviews of user {table.user} in {name}"
    trained, reviews = sum(map(trained_reviews, tables)), sum(map(len, tables))
    return f"the first reviews of each user in {name}, {trained:,} of {reviews:,}"


def format_finetuned(result: FineTuned) -> str:
    """LogLoss by person, means, and a sentence about the result."""
    lines = [f"{'LogLoss on held-out reviews':<32}{'reviews':>8}{'RWKV':>10}{'after':>10}{'RWKV-P':>10}{'after':>10}"]
    rows = [(f"user {one.user}", one.reviews, one.before, one.after) for one in result.adapted.people]
    if len(rows) > 1:
        rows.append(("mean", sum(row[1] for row in rows), result.adapted.before, result.adapted.after))
    for name, reviews, before, after in rows:
        cells = "".join(f"{losses[of_name]:>10.4f}" for of_name in NAMES for losses in (before, after))
        lines.append(f"{name:<32}{reviews:>8}{cells}")
    return "\n".join([*lines, "", *([f"{result.model}: {result.notice}"] if result.notice else []), _sentence(result)])


def _change(adapted: Adapted, name: str) -> str:
    """The change of one prediction on held-out reviews, in words."""
    if name not in adapted.better:
        return f"unchanged, LogLoss {adapted.before[name]:.4f}"
    steps = counted(adapted.steps[name], "step")
    return f"adapted in {steps}, LogLoss {adapted.before[name]:.4f} -> {adapted.after[name]:.4f}"


def _sentence(result: FineTuned) -> str:
    if result.out is None:
        why = (
            "the adapted weights are not better on held-out reviews"
            if any(result.adapted.steps.values())
            else "training brought no improvement"
        )
        return f"No weights were written: {why}. Keep using {result.model}."
    unchanged = [name for name in NAMES if name not in result.adapted.better]
    exception = f"; {unchanged[0]} is unchanged, because adapting did not improve it" if unchanged else ""
    worse = _worse(result.adapted)
    users = f"{form(len(worse), 'user')} {shown_users(worse)}"
    warning = f". They are worse for {users}: keep using {result.model} there" if worse else ""
    return f"adapted weights written to {result.out}{exception}{warning}"


def _worse(adapted: Adapted) -> list[int]:
    """The users whose held-out reviews an adapted prediction fits worse, though it fits better in the mean."""
    return [one.user for one in adapted.people if any(one.after[name] > one.before[name] for name in adapted.better)]


def finetuned_fields(result: FineTuned) -> dict[str, object]:
    """The fields for JSON."""
    return {
        "model": result.model,
        "notice": result.notice,
        "out": result.out,
        "steps": result.adapted.steps,
        "better": result.adapted.better,
        "people": [asdict(one) for one in result.adapted.people],
        "before": result.adapted.before,
        "after": result.adapted.after,
        "worse": _worse(result.adapted),
        "without": {str(user): why for user, why in result.without.items()},
    }
