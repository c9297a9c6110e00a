"""A restored engine continues exactly; files of other weights or histories are refused; a kill leaves a whole file."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rwkv.data.history import RevlogTable
from rwkv.errors import InputError, SnapshotError
from rwkv.model.inputs import draw_sequence
from rwkv.model.network import Network
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.features import reviews_of
from tests.helpers import first_reviews
from tests.networks import recipe_network, runner_for, small_network
from tests.recurrent.engines import (
    NETWORK,
    after,
    answered,
    assert_equal_to_the_bit,
    engine_for,
    everything,
    now,
    some_history,
)

TABLE = some_history(81, reviews=90, cards=25)
REVIEWS = list(reviews_of(TABLE))
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("network", [NETWORK, small_network()], ids=["native", "small"])
def test_a_restored_engine_continues_exactly(network: Network, tmp_path: Path) -> None:
    answered(first_reviews(TABLE, 50), network).save(tmp_path / "saved")
    never_stopped = answered(first_reviews(TABLE, 50), network)
    # The draw comes from the file.
    restored = Engine(runner_for(network), draw_sequence(99))
    restored.restore(tmp_path / "saved", TABLE)
    assert (restored.reviews, restored.fingerprint) == (50, never_stopped.fingerprint)
    for review in REVIEWS[50:]:
        assert_equal_to_the_bit(restored.answer(review), never_stopped.answer(review))
    assert everything(restored, tmp_path / "a") == everything(never_stopped, tmp_path / "b")
    restored.undo(40)
    assert restored.reviews == 50


def test_a_restored_engine_continues_in_bulk(tmp_path: Path) -> None:
    first, rest = engine_for(TABLE), engine_for(TABLE)
    first.feed(first_reviews(TABLE, 50))
    first.save(tmp_path / "saved")
    rest.restore(tmp_path / "saved")
    assert [rest.answer(review).p_imm for review in REVIEWS[50:70]] == [
        first.answer(review).p_imm for review in REVIEWS[50:70]
    ]
    last = after(TABLE, 70)
    np.testing.assert_array_equal(rest.feed(last).p_all, first.feed(last).p_all)
    assert everything(rest, tmp_path / "a") == everything(first, tmp_path / "b")


def test_own_codes_are_in_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    engine = engine_for(TABLE, codes=lambda code, number: rng.choice([-1.5, 1.5], code.width))
    for review in REVIEWS[:50]:
        engine.answer(review)
    engine.save(tmp_path / "saved")
    restored = engine_for(TABLE)
    restored.restore(tmp_path / "saved")
    for card in engine.cards:
        assert_equal_to_the_bit(restored.predict(now(TABLE, card)), engine.predict(now(TABLE, card)))


def test_restoring_more_states_than_memory(tmp_path: Path) -> None:
    engine, small = answered(TABLE), engine_for(TABLE, memory=20_000)
    engine.save(tmp_path / "saved")
    small.restore(tmp_path / "saved")
    assert everything(small, tmp_path / "small") == (tmp_path / "saved").read_bytes()
    small.close()


def test_an_engine_without_reviews(tmp_path: Path) -> None:
    engine_for(TABLE).save(tmp_path / "saved")
    engine = answered(TABLE)
    engine.restore(tmp_path / "saved", TABLE)
    assert (engine.reviews, engine.cards) == (0, [])
    assert_equal_to_the_bit(engine.answer(REVIEWS[0]), engine_for(TABLE).answer(REVIEWS[0]))


def refuses(engine: Engine, path: Path, *words: str, history: RevlogTable | None = None) -> None:
    before = (engine.reviews, engine.fingerprint)
    with pytest.raises(SnapshotError) as caught:
        engine.restore(path, history)
    assert all(word in str(caught.value) for word in words)
    assert (engine.reviews, engine.fingerprint) == before
    assert issubclass(SnapshotError, InputError)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    answered(TABLE).save(tmp_path / "saved")
    other = Network(NETWORK.spec)
    weights = {name: weight.clone() for name, weight in NETWORK.state_dict().items()}
    weights["p_linear.bias"][0] += 1e-6
    other.load_state_dict(weights)
    refuses(engine_for(TABLE, other), tmp_path / "saved", "other weights")
    of_another_size = recipe_network(NETWORK.spec.resized(channels=48, heads=2))
    refuses(engine_for(TABLE, of_another_size), tmp_path / "saved", "other weights")


def test_another_history_is_refused(tmp_path: Path) -> None:
    answered(first_reviews(TABLE, 50)).save(tmp_path / "saved")
    rating = TABLE.rating.copy()
    rating[20] = 5 - rating[20]
    engine = answered(first_reviews(TABLE, 10))
    refuses(engine, tmp_path / "saved", "another history", history=replace(TABLE, rating=rating))
    refuses(engine, tmp_path / "saved", "49 reviews", history=first_reviews(TABLE, 49))
    later = TABLE.rating.copy()
    later[60] = 5 - later[60]
    engine.restore(tmp_path / "saved", replace(TABLE, rating=later))


def test_damage_is_detected(tmp_path: Path) -> None:
    engine = answered(TABLE)
    whole = everything(engine, tmp_path / "saved")
    damaged = tmp_path / "damaged"
    refuses(engine, tmp_path / "absent", "does not exist", "absent")
    for place in (20, len(whole) // 2, len(whole) - 1):
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        refuses(engine, damaged, "damaged")
    for length in (14, 30, len(whole) - 1):
        damaged.write_bytes(whole[:length])
        refuses(engine, damaged, "truncated")
    damaged.write_bytes(b"")
    refuses(engine, damaged, "not a saved engine")
    torch.save({}, damaged)
    refuses(engine, damaged, "not a saved engine")
    damaged.write_bytes(whole + b"more")
    refuses(engine, damaged, "damaged")


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        answered(TABLE).save(tmp_path / "file" / "saved")


SAVER = """
import sys
from pathlib import Path
from tests.recurrent.engines import answered, some_history
engine = answered(some_history(81, reviews=90, cards=25))
print("ready", flush=True)
while True:
    engine.save(Path(sys.argv[1]))
"""


def test_a_kill_leaves_a_whole_file(tmp_path: Path) -> None:
    """The process is killed while it writes the same file again and again."""
    saved = tmp_path / "saved"
    answered(first_reviews(TABLE, 50)).save(saved)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(saved)], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    for moment in range(10):
        os.kill(process.pid, signal.SIGSTOP if moment < 9 else signal.SIGKILL)
        engine = engine_for(TABLE)
        engine.restore(saved, TABLE)
        assert engine.reviews in (50, 90)
        if moment < 9:
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(0.003 * (moment + 1))
    assert process.wait() == -signal.SIGKILL
    engine.restore(saved, TABLE)
