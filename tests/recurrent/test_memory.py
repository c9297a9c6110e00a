"""The memory of feeding in bulk besides the states is bounded, even if every review is of a new card."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# As the docstring of Engine promises.
MOST_MB = 250
_MEMORY_MB = 20

_FEEDING = f"""
import numpy as np, torch
from rwkv.model.inputs import draw_sequence
from rwkv.model.spec import PUBLISHED
from rwkv.recurrent.engine import Engine
from tests.helpers import make_table, revlog_columns
from tests.networks import recipe_network, runner_for

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024

torch.set_num_threads(1)
table = make_table(revlog_columns(np.arange(3100), np.arange(3100) * 60))
engine = Engine(runner_for(recipe_network(PUBLISHED)), draw_sequence(1), memory={_MEMORY_MB}_000_000)
engine.feed(table.part(slice(10)))
before = peak()
engine.feed(table.part(slice(10, None)))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from /proc")
def test_feeding_needs_no_more_memory_than_documented() -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    completed = subprocess.run(
        [sys.executable, "-c", _FEEDING], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    assert int(completed.stdout) < _MEMORY_MB + MOST_MB
