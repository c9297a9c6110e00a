"""Writes trained weights as the package ships them: bfloat16 in safetensors, with the model card of card.json.

python -m recipes.weights.export work/runs/weights/decay_8000.pth
"""

import json
import sys
from pathlib import Path

import torch

from rwkv.model.card import CARD, SHIPPED
from rwkv.model.checkpoint import read_weights, write_weights

_CARD = Path(__file__).with_name("card.json")


def main(trained: Path) -> None:
    """Write rwkv/weights/rwkv.safetensors."""
    card = json.loads(_CARD.read_text())
    SHIPPED.parent.mkdir(exist_ok=True)
    weights = {name: weight.to(torch.bfloat16) for name, weight in read_weights(trained).items()}
    write_weights(SHIPPED, weights, {CARD: json.dumps(card)})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
