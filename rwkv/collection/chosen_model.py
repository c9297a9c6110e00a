"""The model that a command predicts with: the one that was asked for, or the weights of the package."""

from dataclasses import dataclass
from pathlib import Path

import torch

from rwkv.errors import InputError
from rwkv.model.card import SHIPPED
from rwkv.model.checkpoint import load_network
from rwkv.model.network import Network
from rwkv.ops.backend import open_compute_device

DEMO_NOTICE = "weights trained by the demo on few simulated learners: numbers for trying out, not for decisions"
SHIPPED_NOTICE = "the package's own weights, trained on simulated learners alone"


@dataclass(frozen=True)
class ChosenModel:
    """network: ready to predict, float32 on the CPU. notice: what every output says of the model, or None."""

    path: Path
    network: Network
    notice: str | None


def choose_model(path: Path | None, threads: int = 0) -> ChosenModel:
    """Load the weights at `path`; without one, those that come with the package.

    threads: of the CPU, 0 leaves it to PyTorch. Raises InputError where the package lacks its weights, CheckpointError
    where the file is none of this network's.
    """
    chosen = SHIPPED if path is None else path
    if path is None and not chosen.is_file():
        hint = "install the package again, or give weights with --model"
        raise InputError("The package's own weights are missing.", where=str(chosen), hint=hint)
    device = open_compute_device("cpu", threads)
    network = load_network(chosen, device, torch.float32)
    if chosen.resolve() == SHIPPED:
        return ChosenModel(chosen, network, SHIPPED_NOTICE)
    if _is_of_a_demo(chosen):
        return ChosenModel(chosen, network, DEMO_NOTICE)
    return ChosenModel(chosen, network, None)


def demo_model(folder: Path) -> Path:
    """The final weights of a demo in `folder`."""
    return folder / "model.pth"


def _is_of_a_demo(path: Path) -> bool:
    """Whether weights lie where a demo has put them, named or not."""
    folder = path.resolve().parent
    return any((place / "dataset" / "simulated.json").is_file() for place in (folder, folder.parent))
