"""Export trained weights for the package: bfloat16 in safetensors, with the model card of card.json.

python -m recipes.weights.export work/runs/weights/stable_9000.pth work/runs/weights/decay_8000.pth

The average of several checkpoints of one training is exported (Wortsman et al., 2022, "Model soups").
"""

import argparse
import json
from pathlib import Path

import torch

from rwkv.errors import InputError
from rwkv.model.card import CARD, SHIPPED
from rwkv.model.checkpoint import read_weights, write_weights
from rwkv.runtime import run_command

_CARD = Path(__file__).with_name("card.json")


def main() -> int:
    """Write rwkv/weights/rwkv.safetensors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+", help="checkpoints of one training")
    checkpoints = [read_weights(path) for path in parser.parse_args().checkpoints]
    card = json.loads(_CARD.read_text())
    SHIPPED.parent.mkdir(exist_ok=True)
    write_weights(SHIPPED, _average(checkpoints), {CARD: json.dumps(card)})
    return 0


def _average(checkpoints: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of each weight, computed in float32, in bfloat16. Raises InputError for networks of different sizes."""
    shapes = [{name: weight.shape for name, weight in weights.items()} for weights in checkpoints]
    if any(shape != shapes[0] for shape in shapes):
        raise InputError("The checkpoints have networks of different sizes.", hint="name checkpoints of one training")
    return {
        name: torch.stack([weights[name].float() for weights in checkpoints]).mean(0).to(torch.bfloat16)
        for name in checkpoints[0]
    }


if __name__ == "__main__":
    raise SystemExit(run_command(main))
