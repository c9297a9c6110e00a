"""Batches of random histories and a small network, for tests of training."""

import torch

from rwkv.batches.collate import Batch, collate
from rwkv.data.segments import whole_history
from rwkv.model.dropout import DropoutMasks
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network
from rwkv.training.optimizer import Optimizer, make_optimizer, set_learning_rate
from tests.helpers import make_table, random_revlog


def some_batch(seed: int = 1, users: int = 3, reviews: int = 30) -> Batch:
    """A batch of whole histories; a third of the reviews are keys of the benchmark."""
    tables = [make_table(random_revlog(seed + user, reviews, cards=8), user=user) for user in range(users)]
    segments = [whole_history(table, table.review_th % 3 == 0) for table in tables]
    return collate(segments, [draw_sequence(segment.user, seed) for segment in segments])


def optimizer_of(network: Network, rate: float = 1e-3, name: str = "adamw") -> Optimizer:
    optimizer = make_optimizer(dict(network.named_parameters()), name)
    set_learning_rate(optimizer, rate)
    return optimizer


def dropout_masks(seed: int = 1) -> DropoutMasks:
    return DropoutMasks(torch.tensor([seed]))
