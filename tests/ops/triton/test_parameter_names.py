"""Parameters of Triton kernels do not have names that a launch takes for itself."""

import ast
from pathlib import Path

import pytest

import rwkv.ops.triton

# A launch passes arguments by name. Triton refuses the first line, and takes the others as its own options.
RESERVED = {
    *("stream", "device", "device_type", "grid", "warmup"),
    *("num_warps", "num_ctas", "num_stages", "maxnreg", "ptx_version", "ptx_options", "ir_override", "debug"),
    *("warp_size", "enable_fp_fusion", "extern_libs", "backend_name", "sanitize_overflow", "arch", "launch_pdl"),
}

FILES = sorted(Path(rwkv.ops.triton.__file__).parent.glob("*.py"))


def kernels(file: Path) -> list[ast.FunctionDef]:
    functions = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]
    return [one for one in functions if any("jit" in ast.unparse(decorator) for decorator in one.decorator_list)]


def test_kernels_are_recognised() -> None:
    assert sum(len(kernels(file)) for file in FILES) > 20


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_parameter_has_a_reserved_name(file: Path) -> None:
    for kernel in kernels(file):
        parameters = {argument.arg for argument in kernel.args.args + kernel.args.kwonlyargs}
        assert not parameters & RESERVED, kernel.name
