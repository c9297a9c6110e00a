"""Unusual, damaged and hostile files of weights are read correctly or refused with a message."""

import io
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from rwkv.errors import CheckpointError, InputError
from rwkv.model import weights_file
from rwkv.model.checkpoint import read_optimizer, read_weights, write_optimizer, write_weights
from rwkv.model.spec import PUBLISHED
from tests.networks import recipe_network

WEIGHTS = recipe_network(PUBLISHED).state_dict()
# A matrix: sparse forms and channels of quantised ones need two dimensions.
NAME = "w_linear.weight"
OPTIMIZER = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(5, 2)}}, "param_groups": [{"params": [0]}]}


def equal(ours: dict[str, Tensor]) -> bool:
    return list(ours) == list(WEIGHTS) and all(torch.equal(ours[name], weight) for name, weight in WEIGHTS.items())


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    words = str(caught.value)
    assert str(path) in words
    assert len(words) < 1500
    return words


def _quantised(weight: Tensor) -> Tensor:
    return torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)


def _quantised_by_channel(weight: Tensor) -> Tensor:
    ones = torch.ones(len(weight))
    return torch.quantize_per_channel(weight, ones, torch.zeros(len(weight), dtype=torch.int64), 0, torch.qint8)


# What a weight is made into, and the word for it.
ODD: dict[str, Callable[[Tensor], Tensor]] = {
    "int8": lambda weight: weight.to(torch.int8),
    "int64": lambda weight: weight.to(torch.int64),
    "bool": lambda weight: weight != 0,
    "complex64": lambda weight: weight.to(torch.complex64),
    "float8_e4m3fn": lambda weight: weight.to(torch.float8_e4m3fn),
    "sparse_coo": lambda weight: weight.to_sparse(),
    "sparse_csr": lambda weight: weight.to_sparse_csr(),
    "sparse_bsr": lambda weight: weight.to_sparse_bsr((2, 2)),
    "meta": lambda weight: weight.to("meta"),
    "nested": lambda weight: torch.nested.nested_tensor([weight, weight]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("word", [*ODD, "quantised", "quantised by channel"])
def test_weights_of_another_kind_are_named(tmp_path: Path, word: str, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "model.pth"
    change = {**ODD, "quantised": _quantised, "quantised by channel": _quantised_by_channel}[word]
    torch.save({**WEIGHTS, NAME: change(WEIGHTS[NAME])}, path)
    recwarn.clear()
    words = refusal(path)
    assert "1 of another kind" in words
    assert f"{NAME} {word.split()[0]}" in words
    assert len(recwarn) == 0


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, torch.uint8])
def test_safetensors_of_another_kind_are_named(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({name: weight.to(dtype) for name, weight in WEIGHTS.items()}, path)
    words = refusal(path)
    assert f"{len(WEIGHTS)} of another kind" in words
    assert str(dtype).removeprefix("torch.") in words


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save({name: weight.to(dtype) for name, weight in WEIGHTS.items()}, tmp_path / "model.pth")
    read = read_weights(tmp_path / "model.pth")
    assert all(torch.equal(read[name], weight.to(dtype).float()) for name, weight in WEIGHTS.items())


def test_a_view_that_is_negated_when_read_is_negated(tmp_path: Path) -> None:
    """torch.save stores the negation as a flag, which kernels ignore."""
    negated = torch.complex(torch.zeros_like(WEIGHTS[NAME]), -WEIGHTS[NAME]).conj().imag
    assert negated.is_neg()
    torch.save({**WEIGHTS, NAME: negated}, tmp_path / "model.pth")
    read = read_weights(tmp_path / "model.pth")
    assert equal(read)
    assert not read[NAME].is_neg()


def flipped(data: bytes, place: int, bit: int = 3) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def middle_of(weight: Tensor, data: bytes) -> int:
    """The position of the middle of a weight in a file."""
    bits = weight.numpy().tobytes()
    return data.index(bits) + len(bits) // 2


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_a_flipped_bit_is_detected(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_weights(path, WEIGHTS)
    assert equal(read_weights(path))
    path.write_bytes(flipped(path.read_bytes(), middle_of(WEIGHTS[NAME], path.read_bytes())))
    assert "truncated, damaged" in refusal(path)


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_a_zeroed_block_is_detected(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_weights(path, WEIGHTS)
    data, place = path.read_bytes(), middle_of(WEIGHTS[NAME], path.read_bytes()) // 512 * 512
    path.write_bytes(data[:place] + bytes(512) + data[place + 512 :])
    assert "truncated, damaged" in refusal(path)


def test_a_flipped_bit_of_an_optimiser_state_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "optim.pth"
    write_optimizer(path, OPTIMIZER)
    data = path.read_bytes()
    path.write_bytes(flipped(data, data.index(torch.ones(5, 2).numpy().tobytes())))
    with pytest.raises(CheckpointError, match="truncated, damaged"):
        read_optimizer([path])


def test_a_damaged_directory_does_not_change_an_optimiser_state(tmp_path: Path) -> None:
    """The entry of the moment in the archive's directory says that it is a folder; torch.load then leaves it empty."""
    path = tmp_path / "optim.pth"
    write_optimizer(path, OPTIMIZER)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data/1"))
    attributes = data.rindex(name.encode()) - 8
    path.write_bytes(flipped(data, attributes, bit=4))
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo(name).external_attr == 0x10
    assert torch.equal(read_optimizer([path])["state"][0]["exp_avg"], torch.ones(5, 2))


def test_files_without_checksums_are_read(tmp_path: Path) -> None:
    """.safetensors of other programs, and archives written without checksums, which are all 0."""
    safetensors.torch.save_file(WEIGHTS, tmp_path / "model.safetensors", {"format": "pt"})
    assert equal(read_weights(tmp_path / "model.safetensors"))
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(WEIGHTS, tmp_path / "model.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert equal(read_weights(tmp_path / "model.pth"))


def test_a_checksum_whose_name_is_damaged_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_weights(path, WEIGHTS)
    path.write_bytes(path.read_bytes().replace(b"rwkv.fingerprint", b"rwkv.fingerprynt"))
    assert "the checksum is missing" in refusal(path)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Flipped, foreign, zeroed, doubled and missing blocks, mostly in the structure of the file."""
    changed, size = bytearray(data), rng.choice([1, 4, 16, 512, 4096])

    def place() -> int:
        ends = rng.randrange(min(len(data), 65_536))
        return rng.choice([rng.randrange(len(data)), ends, len(data) - 1 - ends])

    start, other = place(), place()
    act = rng.choice(["flip", "foreign", "zero", "cut", "insert", "remove", "copy"])
    if act == "flip":
        changed[start] ^= 1 << rng.randrange(8)
    elif act == "foreign":
        for _ in range(rng.randint(1, 4)):
            changed[place()] = rng.randrange(256)
    elif act == "zero":
        changed[start : start + size] = bytes(len(changed[start : start + size]))
    elif act == "cut":
        del changed[start:]
    elif act == "insert":
        changed[start:start] = rng.randbytes(size)
    elif act == "remove":
        del changed[start : start + size]
    else:
        block = changed[other : other + size]
        changed[start : start + len(block)] = block
    return bytes(changed)


@pytest.mark.parametrize(("name", "seed"), [("model.pth", 1), ("model.safetensors", 2)])
def test_damaged_files_are_loaded_right_or_refused_in_words(tmp_path: Path, name: str, seed: int) -> None:
    path, rng = tmp_path / name, random.Random(seed)
    write_weights(path, WEIGHTS)
    whole, refused = path.read_bytes(), 0
    for _ in range(60):
        path.write_bytes(mutated(whole, rng))
        try:
            assert equal(read_weights(path))
        except InputError:
            refused += 1
    assert refused > 40


# --- Hostile files


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "too large" in refusal(path)


def test_a_small_file_with_large_contents_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_file, "_MOST_BYTES", 1_000_000)
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2_000_000))
    assert path.stat().st_size < 10_000
    assert "too large" in refusal(path)


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        assert "not a file" in refusal(path)


@pytest.mark.parametrize("name", ["a" * 5000, "model\0.pth"])
def test_an_impossible_path_is_an_input_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        read_weights(tmp_path / name)
    with pytest.raises(InputError):
        read_optimizer([tmp_path / name])


def test_names_in_errors_have_no_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({**WEIGHTS, "\x1b[31mred\nline": torch.zeros(1), "long" * 10_000: torch.zeros(1)}, path)
    words = refusal(path)
    assert "\x1b" not in words
    assert "[31mred" in words


def test_a_pickle_of_an_enormous_tensor_is_refused(tmp_path: Path) -> None:
    """A pickle of a petabyte-sized tensor, backed by one number or by none."""
    path = tmp_path / "model.pth"
    torch.save({**WEIGHTS, NAME: torch.zeros(1).expand(1 << 48)}, path)
    assert "1 of another shape" in refusal(path)
    buffer = io.BytesIO()
    torch.save({NAME: torch.zeros(3)}, buffer, _use_new_zipfile_serialization=False)
    # The count of a storage, in two places of the older form.
    path.write_bytes(buffer.getvalue().replace(b"K\x03", b"J\xff\xff\xff\x7f"))
    refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        {"state": {0: {"exp_avg": torch.ones(2).to_sparse()}}, "param_groups": []},
        {"state": {0: {"exp_avg": torch.ones(2, dtype=torch.int8)}}, "param_groups": []},
        {"state": {0: {"exp_avg": torch.ones(2, device="meta")}}, "param_groups": []},
        {"state": {}, "param_groups": [{"params": [[0]]}]},
        {"state": {}, "param_groups": [{"params": [torch.zeros(1)]}]},
    ],
    ids=["sparse", "int8", "meta", "lists", "tensors"],
)
def test_odd_optimiser_states_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "optim.pth")
    with pytest.raises(CheckpointError, match="an optimiser's state"):
        read_optimizer([tmp_path / "optim.pth"])
