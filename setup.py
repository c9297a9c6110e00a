"""Builds the native CPU kernels where PyTorch and a C++ compiler are there; without them the package still installs."""

import os
import subprocess
import sys

from setuptools import setup
from setuptools.errors import BaseError, CCompilerError

try:
    from torch.utils.cpp_extension import BuildExtension, CppExtension
except ImportError:
    sys.exit("PyTorch must be installed first: pip install torch, then pip install --no-build-isolation -e .")

# Sums may be reordered, so that they vectorise; NaN and infinity keep their meaning.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"]

# With the checks of ASan and UBSan: see `make sanitize`.
SANITIZED = "RWKV_SANITIZE" in os.environ
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if SANITIZED else []
if SANITIZED:
    FLAGS = ["-O1", "-g", "-fno-wrapv", "-fno-omit-frame-pointer", *SANITIZERS]

# PyTorch's own threads: without it at::parallel_for, a template, runs on one. Its library comes with GCC and PyTorch.
OPENMP = ["-fopenmp"] if sys.platform == "linux" else []

SOURCES = (
    "module",
    "checks",
    "dropout",
    "gemm",
    "shift",
    "wkv",
    "time_mix",
    "time_mix_backward",
    "channel_mix",
    "step",
    "curve",
)
HEADERS = ("checks", "formulas", "gemm", "gradients", "panels", "rows", "shift", "simd", "time_mix", "wkv")


class OptionalBuild(BuildExtension):
    """Goes on without the kernels where they cannot be compiled; the commands then say that they run without."""

    def run(self) -> None:
        try:
            super().run()
        except (BaseError, CCompilerError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
            if SANITIZED:
                raise
            print(f"rwkv: installed without native kernels, which could not be built: {error}", file=sys.stderr)


setup(
    ext_modules=[
        CppExtension(
            "rwkv._native",
            [f"rwkv/ops/cpu/csrc/{name}.cpp" for name in SOURCES],
            depends=[f"rwkv/ops/cpu/csrc/{name}.h" for name in HEADERS],
            extra_compile_args={"cxx": FLAGS + OPENMP},
            extra_link_args=OPENMP + SANITIZERS,
        )
    ],
    cmdclass={"build_ext": OptionalBuild},
)
