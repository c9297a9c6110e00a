"""The model that a command predicts with: the one that was asked for, or what the demo has trained."""

from dataclasses import dataclass
from pathlib import Path

import torch

from rwkv.commands.compute import open_compute_device
from rwkv.errors import InputError
from rwkv.model.checkpoint import load_network
from rwkv.model.network import Network
from rwkv.runtime import log

DEMO = Path("rwkv-demo")
DEMO_NOTICE = "trained on simulated learners only: numbers for trying out, not for decisions"


@dataclass(frozen=True)
class ChosenModel:
    """network: ready to predict, float32 on the CPU. notice: what every output made with it must say, or None."""

    path: Path
    network: Network
    is_demo: bool
    notice: str | None


def choose_model(path: Path | None, threads: int = 0) -> ChosenModel:
    """Load the weights at `path`; without one, what `rwkv demo` left in the current folder.

    threads: of the CPU, 0 leaves it to PyTorch. Raises InputError where there is neither, CheckpointError where the
    file is none of this network's.
    """
    chosen = demo_model(DEMO) if path is None else path
    if path is None and not chosen.is_file():
        raise InputError(
            "No model was given, and there is none of a demo.",
            where=str(chosen),
            hint="run `rwkv demo` here to train one on simulated learners, or get published weights and give --model",
        )
    device = open_compute_device("cpu", threads)
    network = load_network(chosen, device, torch.float32)
    is_demo = _is_of_a_demo(chosen)
    if is_demo:
        log.warning("the model %s was %s", chosen, DEMO_NOTICE)
    return ChosenModel(chosen, network, is_demo, DEMO_NOTICE if is_demo else None)


def demo_model(folder: Path) -> Path:
    """The final weights of a demo in `folder`."""
    return folder / "model.pth"


def _is_of_a_demo(path: Path) -> bool:
    """Whether weights lie where a demo has put them, named or not."""
    folder = path.resolve().parent
    return any((of / "dataset" / "simulated.json").is_file() for of in (folder, folder.parent))
