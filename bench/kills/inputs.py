"""What the killed commands read: simulated learners, their keys and stores, a tiny network, and collections."""

from pathlib import Path

from bench.from_nothing import write_csv
from rwkv.benchmark.find_keys import find_keys
from rwkv.benchmark.process_data import process_data
from rwkv.benchmark.simulate import simulate
from rwkv.config import FindKeysConfig, ProcessDataConfig
from rwkv.data.revlogs import read_history
from rwkv.model.checkpoint import write_weights
from rwkv.model.network import new_network
from rwkv.model.spec import PUBLISHED

# The largest size of each database.
SIZE = 1 << 26
USERS = 400
# Those of training and evaluation, and the collections to import.
FEW, COLLECTIONS = 24, 40
# Rows of a training segment, and of a training step.
SEGMENT_ROWS, STEP_ROWS = 100, 200
# The network: channels, heads, and layers of each stream.
CHANNELS, HEADS, LAYERS = 16, 1, [1, 1, 1, 1, 1]
WEIGHTS = "model.safetensors"
_REVIEWS = 120
# The history of which the engine saves states.
LONG_DATA, _LONG_REVIEWS = "long", 1500
_SEED = 5


def prepare(root: Path, users: int = USERS) -> None:
    """Write all inputs to a folder."""
    simulate(users, _REVIEWS, _SEED, root / "data")
    simulate(1, _LONG_REVIEWS, _SEED, root / LONG_DATA, spread=0)
    keys = FindKeysConfig(
        data_path=root / "data",
        user_ids=tuple(range(1, users + 1)),
        short=True,
        secs=True,
        label_filter_lmdb_path=root / "keys",
        label_filter_lmdb_size=SIZE,
    )
    find_keys(keys)
    for name, rows in (("store", 1 << 20), ("segments", SEGMENT_ROWS)):
        store = ProcessDataConfig(
            data_path=keys.data_path,
            user_ids=keys.user_ids,
            lmdb_path=root / name,
            lmdb_size=SIZE,
            max_batch_size=rows,
            label_filter_lmdb_path=keys.label_filter_lmdb_path,
            label_filter_lmdb_size=SIZE,
        )
        process_data(store)
    network = new_network(_SEED, PUBLISHED.resized(CHANNELS, HEADS, tuple(LAYERS)))
    write_weights(root / WEIGHTS, network.state_dict())
    for user in range(1, min(users, COLLECTIONS) + 1):
        write_csv(root / f"{user}.csv", read_history(root / "data", user))
