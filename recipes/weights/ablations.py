"""Measure the parts of the simulator: simulate learners without a part, and go on training with them for a while.

    python -m recipes.weights.ablations data --out ablations
    python -m recipes.weights.ablations train --out ablations --start work/runs/weights/stable_9000.pth

All trainings start from the same checkpoint, so they differ in the learners of the decay only. "nothing" leaves out
no part. The weights are in ablations/PART/runs/weights. Rerun the command to continue after an interruption.
"""

import argparse
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from recipes.weights.train import HELD_OUT, dataset_folder, decay, parsed, write_stores
from rwkv.arrays import Float32s, Floats
from rwkv.data.fsrs5 import DEFAULT
from rwkv.data.revlogs import has_revlog, write_user
from rwkv.data.simulate import Learners, draw_learners, histories
from rwkv.data.simulate.schedulers import FSRS
from rwkv.runtime import run_command
from rwkv.workers import map_users

_BATCH_USERS = 100
_SPREAD = 1.2

_Values = TypeVar("_Values", Floats, Float32s)


def _no(x: _Values) -> _Values:
    return np.zeros_like(x)


def _without_waves(learners: Learners) -> Learners:
    return replace(learners, moods=replace(learners.moods, wave=_no(learners.moods.wave)))


def _without_carelessness(learners: Learners) -> Learners:
    moods = replace(learners.moods, is_careless=np.zeros_like(learners.moods.is_careless))
    return replace(learners, moods=moods, memory=replace(learners.memory, fails_hard=_no(learners.memory.fails_hard)))


def _without_days(learners: Learners) -> Learners:
    return replace(learners, sessions=replace(learners.sessions, form=_no(learners.sessions.form)))


def _without_cards(learners: Learners) -> Learners:
    return replace(learners, collection=replace(learners.collection, ease=_no(learners.collection.ease)))


def _without_decks(learners: Learners) -> Learners:
    return replace(learners, collection=replace(learners.collection, deck_level=_no(learners.collection.deck_level)))


def _without_fading(learners: Learners) -> Learners:
    return replace(learners, memory=replace(learners.memory, fade=_no(learners.memory.fade)))


def _without_slips(learners: Learners) -> Learners:
    """All recalled cards have a right answer. Steady learners, who fail by slips only, hardly fail."""
    return replace(learners, memory=replace(learners.memory, attention=np.full_like(learners.memory.attention, 20)))


def _without_schedulers(learners: Learners) -> Learners:
    """All learners use FSRS with default parameters."""
    plans = learners.plans
    kind, fsrs = np.full_like(plans.kind, FSRS), np.broadcast_to(np.asarray(DEFAULT), plans.fsrs.shape).copy()
    return replace(learners, plans=replace(plans, kind=kind, fsrs=fsrs))


def _without_population(learners: Learners) -> Learners:
    """All memories have the default parameters and the median level."""
    memory = learners.memory
    fsrs = np.broadcast_to(np.asarray(DEFAULT), memory.fsrs.shape).copy()
    return replace(
        learners, memory=replace(memory, fsrs=fsrs, level=np.full_like(memory.level, np.median(memory.level)))
    )


PARTS: dict[str, Callable[[Learners], Learners]] = {
    "nothing": lambda learners: learners,
    "population": _without_population,
    "waves": _without_waves,
    "days": _without_days,
    "cards": _without_cards,
    "decks": _without_decks,
    "fading": _without_fading,
    "slips": _without_slips,
    "carelessness": _without_carelessness,
    "schedulers": _without_schedulers,
}


def main() -> int:
    """Simulate the learners without each part, or train with them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("data", "train"))
    parser.add_argument("--out", type=Path, required=True, help="the folder of all output")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="the parts to leave out")
    parser.add_argument("--start", type=Path, help="the checkpoint from which all trainings start")
    parser.add_argument("--users", default="3000", help="the number of training learners")
    parser.add_argument("--reviews", default="5000", help="the mean number of reviews of a learner")
    parser.add_argument("--steps", default="600", help="the number of training steps")
    parser.add_argument("--optimizer", default="adamw", help="that of the checkpoint")
    parser.add_argument("--processes", default="14")
    options = parser.parse_args()
    for part in options.parts:
        arguments = ["--out", str(options.out / part), "--users", options.users, "--reviews", options.reviews]
        arguments += ["--decay-steps", options.steps, "--processes", options.processes, "--seed", "2"]
        arguments += ["--optimizer", options.optimizer]
        training = parsed(arguments)
        if options.stage == "data":
            _simulate(part, training)
            write_stores(training)
        else:
            decay(training, options.start)
    return 0


def _simulate(part: str, training: argparse.Namespace) -> None:
    """Write the dataset of learners without a part."""
    job = functools.partial(_write, part, training)
    batches = list(range(1, HELD_OUT + training.users + 1, _BATCH_USERS))
    for outcome in map_users(job, batches, training.processes):
        if outcome.error is not None:
            raise outcome.error


def _write(part: str, training: argparse.Namespace, first: int) -> None:
    """In a worker: simulate and write one batch of learners."""
    dataset = dataset_folder(training)
    number = np.arange(first, min(first + _BATCH_USERS, HELD_OUT + training.users + 1))
    number = number[[not has_revlog(dataset, user) for user in number.tolist()]]
    if len(number) == 0:
        return
    for history in histories(PARTS[part](draw_learners(number, training.reviews, _SPREAD, training.seed))):
        write_user(dataset, history)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
