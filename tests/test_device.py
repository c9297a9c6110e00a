"""Devices: an available one is opened; the error for any other one lists those available."""

from collections.abc import Iterator

import pytest
import torch

from rwkv.device import TORCH_DTYPES, memory_errors, open_device, threads_for
from rwkv.errors import DeviceError, RwkvError


@pytest.fixture(autouse=True)
def threads() -> Iterator[int]:
    """The number of threads is torch's own, for the whole process: put back afterwards."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_the_cpu_is_always_available() -> None:
    assert open_device("cpu", threads=1) == torch.device("cpu")


def test_threads_are_set_only_if_configured(threads: int) -> None:
    open_device("cpu", threads=0)
    assert torch.get_num_threads() == threads
    open_device("cpu", threads=threads + 1)
    assert torch.get_num_threads() == threads + 1


def test_few_rows_have_one_thread(threads: int) -> None:
    torch.set_num_threads(2)
    for rows, expected in ((1, 1), (10_000, 2)):
        with threads_for(rows):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 2


# A word torch does not know; devices that no build here has; one that holds no values.
@pytest.mark.parametrize("name", ["gpu", "hpu", "vulkan", "meta", "cuda:4096"])
def test_an_unusable_device_is_a_device_error(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        open_device(name, threads=0)
    for word in (repr(name), "where: DEVICE\n", "expected: one of cpu", 'choose "cpu"'):
        assert word in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("name", "chosen"), [("cuda:1", [torch.device("cuda:1")]), ("cuda", []), ("cpu", [])])
def test_a_numbered_gpu_becomes_the_current_one(
    name: str, chosen: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[torch.device] = []
    cpu_zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda size, device: cpu_zeros(size))
    monkeypatch.setattr(torch.cuda, "set_device", made.append)
    assert open_device(name, threads=0) == torch.device(name)
    assert made == chosen


def test_dtypes() -> None:
    assert dict(TORCH_DTYPES) == {"bfloat16": torch.bfloat16, "float32": torch.float32}


def test_too_little_gpu_memory_is_a_sentence() -> None:
    message = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139 GiB"
    with pytest.raises(RwkvError) as caught, memory_errors("do this"):
        raise torch.OutOfMemoryError(message)
    assert "The GPU has too little free memory." in str(caught.value)
    assert "CUDA out of memory" in str(caught.value)
    assert "do this" in str(caught.value)
