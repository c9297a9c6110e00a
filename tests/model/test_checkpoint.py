"""Files of weights: both forms are read back exactly, and other contents are refused and never run."""

import io
import os
import pickle
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from rwkv.errors import CheckpointError, InputError
from rwkv.model.checkpoint import (
    load_network,
    read_optimizer,
    read_weights,
    tensor_bytes,
    write_optimizer,
    write_weights,
)
from rwkv.model.network import new_network
from rwkv.model.spec import PUBLISHED
from tests.networks import recipe_network

CPU = torch.device("cpu")
WEIGHTS = recipe_network(PUBLISHED).state_dict()
FIRST, LAST = next(iter(WEIGHTS)), list(WEIGHTS)[-1]

Weights = dict[str, Tensor]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pth"


def assert_same(ours: Weights, expected: Weights) -> None:
    assert list(ours) == list(expected)
    for name, weight in expected.items():
        assert ours[name].dtype == torch.float32
        assert torch.equal(ours[name], weight)


def test_written_weights_are_read(path: Path) -> None:
    write_weights(path, WEIGHTS)
    assert_same(read_weights(path), WEIGHTS)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_written_file_is_the_published_form(path: Path) -> None:
    """torch.load reads the file; names, order and shapes are those of the vectors (tests/conformance)."""
    write_weights(path, new_network(1).state_dict())
    assert_same(torch.load(path, weights_only=True), new_network(1).state_dict())


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(dict(reversed(WEIGHTS.items())), path)
    assert_same(read_weights(path), WEIGHTS)


def test_older_forms_are_read(path: Path) -> None:
    """The format before torch 1.6; weights in half precision, in another order, or as nn.Parameter."""
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)
    assert_same(read_weights(path), WEIGHTS)
    halves = {name: torch.nn.Parameter(weight.bfloat16()) for name, weight in reversed(WEIGHTS.items())}
    torch.save(halves, path)
    assert_same(read_weights(path), {name: halves[name].detach().float() for name in WEIGHTS})


def test_transposed_views_are_laid_out_as_kernels_read_them(path: Path) -> None:
    """torch.save keeps strides."""
    torch.save(
        {name: weight.T.contiguous().T if weight.ndim == 2 else weight for name, weight in WEIGHTS.items()}, path
    )
    assert not torch.load(path, weights_only=True)["w_linear.weight"].is_contiguous()
    read = read_weights(path)
    assert_same(read, WEIGHTS)
    assert all(weight.is_contiguous() for weight in read.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_is_loaded_ready_to_predict(path: Path, dtype: torch.dtype) -> None:
    write_weights(path, WEIGHTS)
    network = load_network(path, CPU, dtype)
    assert network.dtype == dtype
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert {network.p_linear.weight.dtype, network.w_linear.weight.dtype} == {torch.float32}
    assert all(
        torch.equal(weight.float(), WEIGHTS[name].to(weight.dtype).float())
        for name, weight in network.state_dict().items()
    )


def test_reading_leaves_the_random_numbers_alone(path: Path) -> None:
    write_weights(path, WEIGHTS)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    read_weights(path)
    assert torch.equal(torch.rand(1), expected)


def refused(path: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_weights(path)
    for word in (str(path), *words):
        assert word in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 6


def _without_first(weights: Weights) -> Weights:
    return {name: weight for name, weight in weights.items() if name != FIRST}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_first, [f"1 missing: {FIRST}"]),
        (lambda weights: {**weights, "lora": torch.zeros(1)}, ["1 unexpected: lora"]),
        (lambda weights: {**weights, LAST: torch.zeros(5)}, [f"1 of another shape: {LAST} [5] instead of [4]"]),
        (lambda weights: {**_without_first(weights), "x": torch.zeros(1)}, ["1 missing", "1 unexpected: x"]),
        (
            lambda weights: {"module." + name: weight for name, weight in weights.items()},
            ["504 missing", "and 499 more"],
        ),
        (lambda weights: {}, ["504 missing"]),
    ],
    ids=["missing", "unexpected", "mis-shaped", "both", "prefixed", "none"],
)
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_other_weights_are_named(
    tmp_path: Path, name: str, change: Callable[[Weights], Weights], words: list[str]
) -> None:
    path = tmp_path / name
    (safetensors.torch.save_file if path.suffix == ".safetensors" else torch.save)(change(WEIGHTS), path)
    refused(path, "does not hold this network", *words)


@pytest.mark.parametrize("content", [1, [WEIGHTS[FIRST]], {"model": WEIGHTS}, {FIRST: 1.0}, WEIGHTS[FIRST], None])
def test_other_contents_hold_no_weights(path: Path, content: object) -> None:
    torch.save(content, path)
    refused(path, "does not hold weights")


def test_numbers_as_names_are_unexpected(path: Path) -> None:
    torch.save({0: WEIGHTS[FIRST]}, path)
    refused(path, "1 unexpected: 0")


@pytest.mark.parametrize(
    "content", [b"", b"<html>404 not found</html>", b"version https://git-lfs", b"PK\x03\x04", b"\x80\x02"]
)
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors", "model"])
def test_foreign_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "truncated, damaged or of another kind")


def test_the_contents_decide_the_format(tmp_path: Path) -> None:
    for ending in (".pth", ".SAFETENSORS", ".bin", ""):
        path = tmp_path / f"torch{ending}"
        torch.save(WEIGHTS, path)
        assert_same(read_weights(path), WEIGHTS)
        safetensors.torch.save_file(WEIGHTS, path)
        assert_same(read_weights(path), WEIGHTS)


def test_truncated_files_are_refused(path: Path) -> None:
    write_weights(path, WEIGHTS)
    whole = path.read_bytes()
    for share in (0.0001, 0.1, 0.5, 0.9, 0.9999):
        path.write_bytes(whole[: int(share * len(whole))])
        refused(path, "truncated, damaged or of another kind")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("is_new", [True, False])
def test_changed_bytes_end_in_our_errors_only(path: Path, is_new: bool) -> None:
    """A file with changed bytes is either read or refused with a message."""
    torch.save({"a": torch.zeros(3, 4), "b": torch.ones(2)}, path, _use_new_zipfile_serialization=is_new)
    whole, rng = path.read_bytes(), random.Random(1)
    for _ in range(700):
        changed = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        path.write_bytes(changed)
        with pytest.raises(InputError):  # unchanged weights would be refused too: they are not this network's
            read_weights(path)


def test_a_missing_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    for name in ("none.pth", "none.safetensors"):
        with pytest.raises(CheckpointError, match=r"The file of weights does not exist\.\n(.|\n)*train_rwkv"):
            read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["folder.pth", "folder.safetensors"])
def test_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    refused(tmp_path / name, "not a file")


class _Evil:
    """The content of a hostile file: a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_file_is_refused_and_not_run(path: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({**WEIGHTS, "evil": _Evil(trace)}, path)
    refused(path, "objects other than tensors")
    path.write_bytes(pickle.dumps({"evil": _Evil(trace)}))
    refused(path, "objects other than tensors")
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.is_dir(), "the file was harmless"


# Stops for ever between the bytes and the rename.
_STANDING_STILL = """
import os, sys, time
from pathlib import Path
import torch
from rwkv.model import checkpoint
def stand_still(file):
    print("writing", flush=True)
    time.sleep(600)
os.fsync = stand_still
checkpoint.write_weights(Path(sys.argv[1]), {"a": torch.zeros(100_000)})
"""


def test_a_kill_while_writing_leaves_the_old_file(path: Path) -> None:
    write_weights(path, WEIGHTS)
    before = path.read_bytes()
    process = subprocess.Popen([sys.executable, "-c", _STANDING_STILL, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    write_weights(path, new_network(2).state_dict())
    assert_same(read_weights(path), new_network(2).state_dict())
    assert [file.name for file in path.parent.iterdir()] == [path.name], "what the kill left is cleared away"


def test_a_full_disk_is_an_error_in_words_and_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    write_weights(path, WEIGHTS)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"model\.pth\n  got: No space left"):
        write_weights(path, new_network(2).state_dict())
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_an_error_in_words(path: Path) -> None:
    path.write_text("a file where the folder should be")
    with pytest.raises(InputError, match="cannot be read or written"):
        write_weights(path / "model.pth", WEIGHTS)


def test_written_optimiser_states_are_read(tmp_path: Path) -> None:
    state = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}}, "param_groups": [{"params": [0]}]}
    write_optimizer(tmp_path / "b", state)
    read = read_optimizer([tmp_path / "a", tmp_path / "b"])
    assert torch.equal(read["state"][0]["exp_avg"], torch.ones(2))
    assert read["param_groups"] == [{"params": [0]}]


def test_no_optimiser_state_names_both_paths(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_optimizer([tmp_path / "a", tmp_path / "b"])
    assert f"{tmp_path / 'a'} or {tmp_path / 'b'}" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        [],
        {"state": {}},
        {"state": {}, "param_groups": {}},
        {"state": [], "param_groups": []},
        {"state": {0: 1}, "param_groups": []},
        {"state": {}, "param_groups": [{"lr": 1}]},
    ],
    ids=["weights", "list", "half", "groups", "no state", "numbers", "no params"],
)
def test_contents_other_than_an_optimisers_state_are_refused(path: Path, content: object) -> None:
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="an optimiser's state"):
        read_optimizer([path])


def test_bytes_of_a_tensor() -> None:
    file = io.BytesIO(tensor_bytes(WEIGHTS[FIRST]))
    assert torch.equal(torch.load(file, weights_only=True), WEIGHTS[FIRST])
