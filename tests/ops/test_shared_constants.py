"""Constants that appear in several languages: Python, C++ and Triton."""

import inspect
import math
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import rwkv.ops
from rwkv.model import inputs
from rwkv.native.mixers import V
from rwkv.ops import dropout, shift, time_mix
from rwkv.ops.backend import HEAD_WIDTHS
from rwkv.vocab import RATINGS

OPS = Path(rwkv.ops.__file__).parent
CSRC = OPS.parent / "native" / "csrc"

# By their name in C++, in float32 where they are not whole.
SHARED = {
    "kNormClamp": time_mix.NORM_CLAMP,
    "kDecay": math.exp(-0.5),
    "kLayerNormEps": shift.EPS,
    "kGroupNormEps": time_mix.GROUP_NORM_EPS,
    "kRatings": len(RATINGS),
}


def cpp_constants() -> list[tuple[str, str]]:
    """The name and value of every numeric constant, once for each definition."""
    constants = []
    for path in sorted([*CSRC.glob("*.h"), *CSRC.glob("*.cpp")]):
        for definition in re.findall(r"constexpr (?:float|int|int64_t) (k[^;{]*);", path.read_text()):
            constants += re.findall(r"(k\w+) = ([0-9][0-9.e+-]*)f?(?=,|$)", definition)
    return constants


@pytest.mark.parametrize("name", SHARED)
def test_constants_of_the_native_kernels(name: str) -> None:
    values = [float(value) for constant, value in cpp_constants() if constant == name]
    assert values, f"{name} is not defined any more"
    assert [np.float32(value) for value in values] == [np.float32(SHARED[name])] * len(values)


def test_native_kernels_have_the_widths_of_heads() -> None:
    cases = re.findall(r"case (\d+): \{ constexpr int kWidth = (\d+);", (CSRC / "rows.h").read_text())
    assert [(int(case), int(width)) for case, width in cases] == [(width, width) for width in HEAD_WIDTHS]


def test_the_index_of_v_among_the_kept_tensors() -> None:
    (names,) = re.findall(r"enum Kept \{([^}]*)\}", (CSRC / "time_mix.h").read_text())
    assert [name.strip() for name in names.split(",")][V] == "kKeptV"


def test_the_decay_of_triton() -> None:
    (value,) = re.findall(r"^DECAY = tl\.constexpr\((.*)\)$", (OPS / "triton" / "time_inputs.py").read_text(), re.M)
    assert float(value) == math.exp(-0.5)


# The hash of dropout and that of identity codes: where else they are written down, and (shift, factor) of their rounds.
DROPOUT = [(16, dropout._FIRST_FACTOR), (15, dropout._SECOND_FACTOR)]
CODES = [(30, inputs._FIRST_FACTOR), (27, inputs._SECOND_FACTOR)]
HASHES = {"../native/csrc/dropout.cpp": DROPOUT, "triton/dropout.py": DROPOUT, "triton/encode.py": CODES}


@pytest.mark.parametrize("place", HASHES)
def test_rounds_of_the_hashes(place: str) -> None:
    rounds = re.findall(r"\(z >> (\d+)\)+ \* .*?(0x[0-9A-F]+)", (OPS / place).read_text())
    assert [(int(shift), int(factor, 16)) for shift, factor in rounds] == HASHES[place]


@pytest.mark.parametrize("place", HASHES)
def test_other_constants_of_the_hashes(place: str) -> None:
    of_dropout = HASHES[place] is DROPOUT
    others = {dropout._SITE_FACTOR, dropout._INDEX_FACTOR} if of_dropout else {inputs._INCREMENT}
    factors = {int(number, 16) for number in re.findall(r"0x[0-9A-F]+", (OPS / place).read_text())}
    assert factors == others | {factor for _, factor in HASHES[place]}


@pytest.mark.parametrize(("module", "rounds"), [(dropout, DROPOUT), (inputs, CODES)])
def test_shifts_of_the_hashes_are_those_of_their_definitions(module: ModuleType, rounds: list[tuple[int, int]]) -> None:
    shifts = re.findall(r"\(z >> (\d+)\)+ \*", inspect.getsource(module))
    assert [int(shift) for shift in shifts] == [shift for shift, _ in rounds]
