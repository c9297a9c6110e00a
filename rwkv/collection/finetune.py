"""Weights adapted to one person or several, written where they are no worse on reviews they have not seen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rwkv.collection.chosen_model import choose_model
from rwkv.collection.users import shown_users, users_in
from rwkv.data.history import RevlogTable
from rwkv.data.revlogs import read_history
from rwkv.errors import InputError, RwkvError
from rwkv.files import check_output
from rwkv.locks import only_writer_of
from rwkv.model.card import CARD, Card, read_card
from rwkv.model.checkpoint import weights_fingerprint, write_weights
from rwkv.runtime import Failures, log
from rwkv.training.adaptation import FEWEST_JUDGED, FEWEST_OF_A_PERSON, NAMES, Adapted, adapt, judged_reviews

_ENDING = ".safetensors"


@dataclass(frozen=True)
class FineTuned:
    """model: the weights it began with. out: what was written, None for nothing. adapted: what came of it.

    without: why nothing was learnt from a user. failures: users whose history cannot be used.
    """

    model: Path
    notice: str | None
    out: Path | None
    adapted: Adapted
    without: Mapping[int, str]
    failures: Failures

    @property
    def exit_code(self) -> int:
        """0 where weights were written and every history was usable, else 1."""
        return max(self.failures.exit_code(), int(self.out is None))


def finetune(folder: Path, out: Path, users: Sequence[int] | None = None, model: Path | None = None) -> FineTuned:
    """Adapt weights to these users of a folder, all if None, and write them to `out` if that makes them better.

    Raises InputError where `out` is no place for them, or nobody has enough reviews; BusyError where another command
    writes there.
    """
    _check_out(out, model)
    wanted = users_in(folder, None if users is None else list(dict.fromkeys(users)))
    with only_writer_of(out, "another --out"):
        tables, without, failures = _histories(folder, wanted)
        chosen = choose_model(model)
        adapted = adapt(chosen.network, tables, log.info)
        written = None
        if adapted.better:
            weights = adapted.network.state_dict()
            card = _card(adapted, chosen.path, weights_fingerprint(chosen.network.state_dict()))
            write_weights(out, weights, {CARD: json.dumps(card)})
            written = out
    return FineTuned(chosen.path, chosen.notice, written, adapted, without, failures)


def _histories(folder: Path, users: Sequence[int]) -> tuple[list[RevlogTable], dict[int, str], Failures]:
    tables, judged, without, failures = [], {}, {}, Failures()
    for user in users:
        try:
            table = read_history(folder, user)
        except RwkvError as error:
            failures.add(user, error)
            continue
        judged[user] = int(judged_reviews(table).sum())
        if judged[user] < FEWEST_OF_A_PERSON:
            of_all = f"{judged[user]} of its {len(table)} reviews"
            without[user] = f"{of_all} lie on a later day than the card's review before"
            log.warning("user %d is left out: %s, and %d are needed", user, without[user], FEWEST_OF_A_PERSON)
        else:
            tables.append(table)
    total = sum(judged[table.user] for table in tables)
    if total < FEWEST_JUDGED:
        raise InputError(
            "There are not enough reviews to learn from and to judge by.",
            where=str(folder),
            got=f"{total} of {len(tables)} people that lie on a later day than the card's review before",
            expected=f"{FEWEST_JUDGED}, and {FEWEST_OF_A_PERSON} of each person",
            hint="use the weights as they are until the history is longer, or adapt them to several people at once",
        )
    return tables, without, failures


def _check_out(out: Path, model: Path | None) -> None:
    """Raise InputError where weights cannot go there."""
    if out.suffix.lower() != _ENDING:
        expected, hint = f"a name that ends in {_ENDING}", "the file also says what the weights were adapted to"
        raise InputError(
            "The weights need a file of another name.", where="--out", got=str(out), expected=expected, hint=hint
        )
    check_output(out)
    if model is not None and out.exists() and model.exists() and out.samefile(model):
        hint = "give another --out; the weights that one begins with are kept"
        raise InputError("The weights to begin with would be written over.", where=str(out), hint=hint)


def _card(adapted: Adapted, model: Path, fingerprint: str) -> Card:
    """For `rwkv info`: from what, to whom, and how much better it is."""
    began = read_card(model) or {}
    return {
        "adapted": {
            "from": f"{model.name}, fingerprint {fingerprint[:16]}",
            "to": "users " + shown_users([one.user for one in adapted.people]),
            "reviews kept aside": sum(one.reviews for one in adapted.people),
            **{name: _change(adapted, name) for name in NAMES},
        },
        **{f"before: {title}": facts for title, facts in began.items()},
    }


def format_finetuned(of: FineTuned) -> str:
    """A line a person, means, and a sentence about what came of it."""
    lines = [f"{'LogLoss on reviews kept aside':<32}{'reviews':>8}{'RWKV':>10}{'after':>10}{'RWKV-P':>10}{'after':>10}"]
    rows = [(f"user {one.user}", one.reviews, one.before, one.after) for one in of.adapted.people]
    if len(rows) > 1:
        rows.append(("mean", sum(row[1] for row in rows), of.adapted.before, of.adapted.after))
    for name, reviews, before, after in rows:
        cells = "".join(f"{losses[of_name]:>10.4f}" for of_name in NAMES for losses in (before, after))
        lines.append(f"{name:<32}{reviews:>8}{cells}")
    return "\n".join([*lines, "", *([f"{of.model}: {of.notice}"] if of.notice else []), _sentence(of)])


def _change(adapted: Adapted, name: str) -> str:
    """What has become of one prediction, on what was kept aside."""
    if name not in adapted.better:
        return f"as it was, LogLoss {adapted.before[name]:.4f}"
    return f"adapted in {adapted.steps[name]} steps, LogLoss {adapted.before[name]:.4f} -> {adapted.after[name]:.4f}"


def _sentence(of: FineTuned) -> str:
    if of.out is None:
        why = (
            "what was learnt is no better on the reviews kept aside"
            if any(of.adapted.steps.values())
            else "nothing was gained"
        )
        return f"No weights were written: {why}, so {of.model} stays the better choice."
    refused = [name for name in NAMES if name not in of.adapted.better]
    kept = f"; {refused[0]} stays as it was, for what was learnt is no better there" if refused else ""
    return f"adapted weights written to {of.out}{kept}"


def finetuned_fields(of: FineTuned) -> dict[str, object]:
    """The same for JSON."""
    return {
        "model": of.model,
        "notice": of.notice,
        "out": of.out,
        "steps": of.adapted.steps,
        "better": of.adapted.better,
        "people": [asdict(one) for one in of.adapted.people],
        "before": of.adapted.before,
        "after": of.adapted.after,
        "without": {str(user): why for user, why in of.without.items()},
    }
