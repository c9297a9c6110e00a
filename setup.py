"""Builds the native kernels where a C++ compiler is there; without one the package still installs."""

import os
import sys
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

CSRC = "rwkv/native/csrc"

# With the checks of ASan and UBSan: see `make sanitize`.
SANITIZED = "RWKV_SANITIZE" in os.environ
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if SANITIZED else []

# Sums may be reordered, so that they vectorise; NaN and infinity keep their meaning.
FAST = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"]
CHECKED = ["-O1", "-g", "-fno-wrapv", "-fno-omit-frame-pointer", *SANITIZERS]
FLAGS = ["-std=c++20", "-pthread", "-fvisibility=hidden", *(CHECKED if SANITIZED else FAST)]
if sys.platform == "win32":
    FLAGS = ["/std:c++20", "/O2", "/EHsc"]

# The linker's command for a wheel that also runs on systems with an older glibc than this one's: see `make wheel`.
MANYLINUX = os.environ.get("RWKV_MANYLINUX", "")
OLDER_GLIBC = ["rwkv/native/wheel/older_glibc.c"] if MANYLINUX else []

# Kernels that cannot be compiled end the installation, so that nobody tests an earlier build: see `make install`.
REQUIRED = bool(SANITIZED or MANYLINUX or "RWKV_REQUIRE_KERNELS" in os.environ)


class OptionalBuild(build_ext):
    """Goes on without the kernels where they cannot be compiled; the commands then say that they run without."""

    def run(self) -> None:
        # Builds for one version of Python, which it would load first.
        for earlier in glob("rwkv/_native.cpython-*"):
            os.remove(earlier)
        try:
            super().run()
        except (BaseError, CCompilerError, OSError) as error:
            if REQUIRED:
                raise
            print(f"rwkv: installed without native kernels, which could not be built: {error}", file=sys.stderr)

    def build_extensions(self) -> None:
        if MANYLINUX:
            # setuptools links C++ by this command, and compiles by another one.
            self.compiler.set_executable("compiler_cxx", MANYLINUX)
        super().build_extensions()


setup(
    ext_modules=[
        Extension(
            "rwkv._native",
            sorted(glob(f"{CSRC}/*.cpp")) + OLDER_GLIBC,
            depends=sorted(glob(f"{CSRC}/*.h")),
            language="c++",
            extra_compile_args=FLAGS,
            extra_link_args=[] if sys.platform == "win32" else ["-pthread", *SANITIZERS],
            # One build serves Python 3.11 and all later versions.
            py_limited_api=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
    cmdclass={"build_ext": OptionalBuild},
)
