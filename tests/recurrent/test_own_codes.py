"""The user's own identity codes and draws, through public names only."""

from pathlib import Path

import numpy as np
import pytest

import rwkv
from rwkv.errors import InputError
from rwkv.recurrent.features import reviews_of
from tests.networks import runner_for
from tests.recurrent.engines import NETWORK, some_history

TABLE = some_history(reviews=40)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a new network of the published size."""
    from rwkv.model.network import new_network

    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    rwkv.write_weights(path, new_network(5).state_dict())
    assert rwkv.read_weights(path).keys() == new_network(5).state_dict().keys()
    return path


def test_an_engine_is_loaded_with_codes_and_draw(weights: Path) -> None:
    requests: list[tuple[str, int]] = []

    def source(code: rwkv.CodeSpec, number: int) -> np.ndarray:
        requests.append((code.stream, number))
        return np.full(code.width, 0.5 + number % 2)

    draw = rwkv.SequenceDraw(prefix=7, phases=(0, 1, 2, 3, 4, 5, 6))
    engine = rwkv.Engine.load(weights, codes=source, draw=draw)
    for review in reviews_of(TABLE):
        engine.answer(review)
    for code in rwkv.CODES:
        numbers = [number for stream, number in requests if stream == code.stream]
        assert numbers == list(range(len(numbers)))
    assert len([stream for stream, _ in requests if stream == "card_id"]) == len(engine.cards)
    assert engine._person.draw == draw


def test_the_draw_of_a_user_is_the_default(weights: Path) -> None:
    assert rwkv.Engine.load(weights, user=3, seed=9)._person.draw == rwkv.draw_sequence(3, 9)


@pytest.mark.parametrize("codes", [[1.0], np.zeros((3, 3)), np.full(12, np.nan), 1.0])
def test_codes_of_another_width_are_refused(codes: object) -> None:
    engine = rwkv.Engine(runner_for(NETWORK), rwkv.draw_sequence(1), codes=lambda code, number: codes)  # type: ignore[arg-type,return-value]
    with pytest.raises(InputError, match="card_id"):
        engine.answer(next(iter(reviews_of(TABLE))))
    assert engine.reviews == 0


@pytest.mark.parametrize("draw", [(1, (1, 2)), (-1, (0,) * 7), (2**64, (0,) * 7), (0, (0.5,) * 7), (0, (-1,) * 7)])
def test_an_invalid_draw_is_refused(draw: tuple[int, tuple[int, ...]]) -> None:
    with pytest.raises(InputError, match="draw"):
        rwkv.Engine(runner_for(NETWORK), rwkv.SequenceDraw(*draw))
