"""A dataset of several people for `rwkv compare`."""

from pathlib import Path

from rwkv import cli
from rwkv.model.checkpoint import write_weights
from rwkv.model.spec import PUBLISHED
from tests.benchmark.workspace import add_users
from tests.helpers import revlog_columns, write_history
from tests.networks import recipe_network

USERS = (1, 2, 3)
# Reviews without keys, and a history that cannot be read.
NO_KEYS_USER, BAD_USER = 4, 5


def make_people(root: Path) -> Path:
    """A dataset, a model, and no databases."""
    add_users(root / "dataset", USERS)
    write_history(root / "dataset", NO_KEYS_USER, revlog_columns([1, 2, 1], [0, 10, 90_000]))
    write_weights(root / "model.pth", recipe_network(PUBLISHED).state_dict())
    return root


def run(root: Path, *arguments: str) -> int:
    return cli.main(["compare", str(root / "dataset"), "--model", str(root / "model.pth"), *arguments])
