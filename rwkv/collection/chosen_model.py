"""The model of a command: a file of weights, or those of the package."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rwkv.errors import CheckpointError, InputError
from rwkv.model.card import ADAPTED_TO, SHIPPED, TRAINED_ON, adaptations, is_of_demo, read_card
from rwkv.model.runner import Runner, runner_of
from rwkv.model.weights_file import Weights, load_weights
from rwkv.runtime import log

DEMO_NOTICE = "weights trained by the demo on few simulated learners; do not base decisions on their numbers"
SHIPPED_NOTICE = "the package's own weights, trained only on simulated learners"


@dataclass(frozen=True)
class ChosenModel:
    """A loaded model.

    Attributes:
        path: The file of weights.
        weights: Its weights.
        notice: A notice about the model for every output, or None.
        threads: Most CPU threads; 0 for all.
    """

    path: Path
    weights: Weights
    notice: str | None
    threads: int = 0

    @cached_property
    def runner(self) -> Runner:
        """Runs the network on the CPU; made once."""
        return runner_of(self.weights, self.threads)


def choose_model(path: Path | None, threads: int = 0) -> ChosenModel:
    """Load a model.

    Args:
        path: The file of weights; None for those of the package.
        threads: Most CPU threads; 0 for all.

    Raises:
        InputError: The package's weights are missing.
        CheckpointError: The file does not hold weights of this network.
    """
    chosen = SHIPPED if path is None else path
    if path is None and not chosen.is_file():
        hint = "reinstall the package, or choose another `model`"
        raise InputError("The package's own weights are missing.", where=str(chosen), hint=hint)
    weights = load_weights(chosen)
    if chosen.resolve() == SHIPPED:
        return ChosenModel(chosen, weights, SHIPPED_NOTICE, threads)
    return ChosenModel(chosen, weights, "; ".join(_notices(chosen)) or None, threads)


def demo_model(folder: Path) -> Path:
    """The final weights of a demo in `folder`."""
    return folder / "model.safetensors"


def _notices(path: Path) -> list[str]:
    """A notice for each time that `rwkv finetune` has adapted the weights, and one for weights of the demo."""
    try:
        card = read_card(path) or {}
    except CheckpointError as error:
        log.warning("it is unknown whether the weights were adapted to somebody: %s", error)
        return []
    adapted = [
        f"weights adapted to {facts.get(ADAPTED_TO, 'somebody')}; scores on the reviews that they were trained on, "
        f"{facts.get(TRAINED_ON, 'most of these people')}, are too good"
        for facts in adaptations(card)
    ]
    return adapted + ([DEMO_NOTICE] if is_of_demo(card) else [])
