"""Crafted files of saved engines with a valid digest: each is refused with a message or gives a working engine."""

import hashlib
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rwkv.errors import RwkvError, SnapshotError
from rwkv.recurrent.features import reviews_of
from tests.recurrent.engines import answered, engine_for, everything, next_review, now, some_history

TABLE = some_history(83, reviews=60, cards=15)
REVIEWS = list(reviews_of(TABLE))
MARK = len(b"rwkv-engine-2\n")
DIGEST = 32

Fields = dict[str, Any]


def sealed(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


def split(whole: bytes) -> tuple[Fields, bytes]:
    """The header, and the bytes after it."""
    (length,) = struct.unpack_from("<Q", whole, MARK)
    start = MARK + 8
    return json.loads(whole[start : start + length]), whole[start + length : -DIGEST]


def snapshot(whole: bytes, header: bytes, body: bytes) -> bytes:
    return sealed(whole[:MARK] + struct.pack("<Q", len(header)) + header + body)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return everything(answered(TABLE), tmp_path_factory.mktemp("saved") / "saved")


def refused(path: Path) -> str:
    engine = engine_for(TABLE)
    with pytest.raises(SnapshotError) as caught:
        engine.restore(path)
    assert engine.reviews == 0
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def test_a_resealed_file_is_read(whole: bytes, tmp_path: Path) -> None:
    header, body = split(whole)
    (tmp_path / "saved").write_bytes(snapshot(whole, json.dumps(header).encode(), body))
    engine = engine_for(TABLE)
    engine.restore(tmp_path / "saved", TABLE)
    assert everything(engine, tmp_path / "again") == whole


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("totals"),
        lambda header: header.update(more=1),
        lambda header: header.update(history="00"),
        lambda header: header.update(history=3),
        lambda header: header.update(weights=None),
        lambda header: header.update(draw=[0]),
        lambda header: header.update(draw=[-1, header["draw"][1]]),
        lambda header: header.update(draw=[0, [10**30] * 7]),
        lambda header: header.update(totals=[60] * 6),
        lambda header: header.update(totals=["60"] * 7),
        lambda header: header.update(totals=[60, 2**80, *header["totals"][2:]]),
        lambda header: header.update(totals=[10**12, *header["totals"][1:]]),
        lambda header: header.update(totals=[0] * 7),
        lambda header: header.update(shared_note=10**6),
        lambda header: header.update(entities=[]),
        lambda header: header["entities"].update(card_id=2**60),
        lambda header: header["entities"].update(card_id=-1),
        lambda header: header["entities"].update(card_id=True),
        lambda header: header["entities"].update(card_id=1e300),
        lambda header: header["states"].update(curve=2**39),
        lambda header: header["states"].update(other=1),
    ],
)
def test_headers_with_invalid_values(whole: bytes, tmp_path: Path, change: Callable[[Fields], object]) -> None:
    header, body = split(whole)
    change(header)
    (tmp_path / "saved").write_bytes(snapshot(whole, json.dumps(header).encode(), body))
    assert "not written by this program" in refused(tmp_path / "saved")


@pytest.mark.parametrize(
    "header",
    [b"", b"{", b"[]", b"null", b"[" * 50_000, b"\xff\xfe", b'{"weights": ' + b"9" * 10_000 + b"}", b" " * 70_000],
)
def test_headers_that_are_not_json_objects(whole: bytes, tmp_path: Path, header: bytes) -> None:
    (tmp_path / "saved").write_bytes(snapshot(whole, header, split(whole)[1]))
    assert "not written by this program" in refused(tmp_path / "saved")


@pytest.mark.parametrize("length", [0, 2**16 + 1, 2**63])
def test_lengths_of_headers(whole: bytes, tmp_path: Path, length: int) -> None:
    (tmp_path / "saved").write_bytes(sealed(whole[:MARK] + struct.pack("<Q", length) + whole[MARK + 8 : -DIGEST]))
    refused(tmp_path / "saved")


def test_bodies_of_another_length(whole: bytes, tmp_path: Path) -> None:
    for body in (whole[:-DIGEST] + b"\0", whole[: -DIGEST - 4], whole[:MARK], whole[: MARK + 5]):
        (tmp_path / "saved").write_bytes(sealed(body))
        refused(tmp_path / "saved")


def test_changed_bodies_are_refused_or_give_an_engine(whole: bytes, tmp_path: Path) -> None:
    """An engine with changed arrays can predict, answer, undo and save, or gives an RwkvError."""
    rng, header_end = random.Random(3), len(whole) - DIGEST - len(split(whole)[1])
    count = {True: 0, False: 0}
    for _ in range(150):
        changed = bytearray(whole[:-DIGEST])
        for _ in range(rng.randint(1, 3)):
            start, size = header_end + rng.randrange(4000), rng.choice([1, 4, 8])
            value = rng.choice([rng.randbytes(size), b"\xff" * size, bytes(size), b"\x7f" * size])
            changed[start : start + size] = value
        (tmp_path / "saved").write_bytes(sealed(bytes(changed)))
        engine = engine_for(TABLE)
        try:
            engine.restore(tmp_path / "saved")
        except SnapshotError:
            count[False] += 1
            continue
        count[True] += 1
        try:
            for card in engine.cards[:3]:
                engine.predict(now(TABLE, card))
            engine.answer(next_review(TABLE))
            engine.undo()
            engine.save(tmp_path / "again")
        except RwkvError:
            continue
    assert min(count.values()) > 10
