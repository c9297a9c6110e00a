"""The native CPU kernels: built where a compiler is there; without them the package runs on its PyTorch forms."""

import sys

from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

# Sums may be reordered, so that they vectorise; NaN and infinity keep their meaning.
FLAGS = (
    ["/O2"]
    if sys.platform == "win32"
    else [
        "-O3",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fno-signed-zeros",
        "-fassociative-math",
    ]
)

setup(
    ext_modules=[
        CppExtension(
            "rwkv._native",
            [f"rwkv/ops/csrc/{name}.cpp" for name in ("module", "token_mix", "wkv_inputs", "wkv", "wkv_output")],
            depends=["rwkv/ops/csrc/rows.h", "rwkv/ops/csrc/simd.h"],
            extra_compile_args={"cxx": FLAGS},
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildExtension},
)
