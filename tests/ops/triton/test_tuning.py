"""The table of constants of each GPU."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from rwkv.ops.triton import tuning

OWN = replace(tuning.HOPPER, others={"dropout": {"BLOCK": 512}})


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    tuning.tuning.cache_clear()
    yield
    tuning.tuning.cache_clear()


@pytest.mark.parametrize(
    ("name", "block"), [("NVIDIA H100 80GB HBM3", 1024), ("Other GPU of tests", 1024), ("A100", 512)]
)
def test_a_gpu_gets_its_own_table_and_any_other_the_default(
    name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "BY_GPU", {**tuning.BY_GPU, "A100": OWN})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    assert tuning.other_sizes("dropout")["BLOCK"] == block


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", tuning.HOPPER.products)
def test_wider_blocks_have_fewer_rows_and_columns(kernel: str, dtype: torch.dtype) -> None:
    """Their elements stay as many until a block has the fewest rows of a product."""
    usual = tuning.product_sizes(kernel, dtype)
    assert tuning.product_sizes(kernel, dtype, 32) == tuning.product_sizes(kernel, dtype, 128) == usual
    wide = tuning.product_sizes(kernel, dtype, 512)
    assert wide.keys() == usual.keys()
    for name, value in usual.items():
        assert wide[name] == (max(16, value // 4) if name in ("ROWS", "INNER", "HIDDEN") else value)


def test_wider_heads_get_more_warps() -> None:
    warps = [tuning.wkv_options("gradient", width, torch.float32)["num_warps"] for width in (16, 32, 64)]
    assert warps == [4, 4, 8]
