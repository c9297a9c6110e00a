"""Export trained weights for the package: bfloat16 in safetensors, with the model card of card.json.

python -m recipes.weights.export work/runs/weights/decay_8000.pth
"""

import argparse
import json
from pathlib import Path

import torch

from rwkv.model.card import CARD, SHIPPED
from rwkv.model.checkpoint import read_weights, write_weights
from rwkv.runtime import run_command

_CARD = Path(__file__).with_name("card.json")


def main() -> int:
    """Write rwkv/weights/rwkv.safetensors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="a checkpoint")
    trained = parser.parse_args().trained
    card = json.loads(_CARD.read_text())
    SHIPPED.parent.mkdir(exist_ok=True)
    weights = {name: weight.to(torch.bfloat16) for name, weight in read_weights(trained).items()}
    write_weights(SHIPPED, weights, {CARD: json.dumps(card)})
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
