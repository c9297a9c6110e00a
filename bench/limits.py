"""Checks before a benchmark's figures: a GPU where one is needed, and no rate of something that is wrong."""

import torch


def within(what: str, found: float, limit: float) -> float:
    """The figure, where it is at most the limit; else ends the program with a sentence, also where it is no number."""
    if not found <= limit:
        raise SystemExit(f"{what} is {found:.3g}, more than {limit:.3g}, so there are no figures.")
    return found


def need_gpu() -> None:
    """End the program with a sentence where PyTorch can use no GPU."""
    if not torch.cuda.is_available():
        raise SystemExit("This benchmark needs a GPU, and PyTorch finds none that it can use.")
