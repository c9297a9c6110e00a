"""The recurrence alone on a GPU, on the streams of the first case: checked against float64, then compared with PyTorch.

python -m bench.gpu_wkv [--repeats 20]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.cases import CASES, make_batch
from bench.gpu import need_gpu
from bench.limits import within
from bench.report import print_json
from rwkv.model.packing import StreamLayout
from rwkv.model.spec import PUBLISHED
from rwkv.ops.groups import PackedGroups
from rwkv.ops.wkv import wkv
from rwkv.ops.wkv_chunked import wkv_chunked

_NAMES = ("r", "log_decay", "k_hat", "v", "b")
_GPU = torch.device("cuda")
# Limits of the relative difference from float64, as in tests/ops/triton/test_gpu_wkv.py.
_LIMITS = {torch.float32: 1e-5, torch.bfloat16: 7e-3}

Inputs = tuple[Tensor, ...]
Form = Callable[..., tuple[Tensor, Tensor]]


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    need_gpu()
    figures: dict[str, object] = {"device": torch.cuda.get_device_name()}
    layouts = make_batch(CASES[0], 1).layouts
    for dtype in (torch.bfloat16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        figures |= {f"{name}_{key}": value for key, value in _measure(layouts, dtype, options.repeats).items()}
    for key, value in figures.items():
        print(f"{key:<36} {value}")
    print_json("gpu_wkv", figures)


def _measure(layouts: tuple[StreamLayout, ...], dtype: torch.dtype, repeats: int) -> dict[str, object]:
    """Milliseconds of all 16 layers, forward and backward, and the largest errors over the streams, by tensor."""
    ours_ms = forward_ms = plain_ms = 0.0
    errors: dict[str, float] = {}
    for stream, layout in zip(PUBLISHED.streams, layouts, strict=True):
        groups = layout.to(_GPU).groups
        inputs, grad = _inputs(len(layout.order), dtype)
        for name, error in _errors(inputs, grad, groups).items():
            checked = within(f"{dtype}, {stream.name}: the error of {name}", error, _LIMITS[dtype])
            errors[name] = max(errors.get(name, 0.0), checked)
        forward, both = _times(wkv, inputs, grad, groups, repeats)
        forward_ms += stream.layers * forward
        ours_ms += stream.layers * both
        wide = tuple(x.detach().float().requires_grad_() for x in inputs)
        plain_ms += stream.layers * _once_ms(wkv_chunked, wide, grad.float(), groups)
    return {
        "forward_ms": forward_ms,
        "forward_backward_ms": ours_ms,
        "plain_float32_ms": plain_ms,
        "times_plain": plain_ms / ours_ms,
        "errors": {name: float(f"{error:.2e}") for name, error in errors.items()},
    }


def _inputs(rows: int, dtype: torch.dtype) -> tuple[Inputs, Tensor]:
    """Random arguments [N, H, K] like those of a new network, and a gradient of the output."""
    shape = (rows, PUBLISHED.heads, PUBLISHED.head_width)

    def normal() -> Tensor:
        return torch.randn(shape, device=_GPU)

    k_hat, v = (F.normalize(normal(), dim=-1) * torch.sigmoid(normal()[..., :1]) for _ in range(2))
    log_decay = -0.6 * torch.sigmoid(normal() - 2)
    made = (normal(), log_decay, k_hat, v, torch.sigmoid(normal()) * k_hat)
    kept = (x if name == "log_decay" else x.to(dtype) for name, x in zip(_NAMES, made, strict=True))
    return tuple(x.requires_grad_() for x in kept), normal().to(dtype)


def _results(form: Form, inputs: Inputs, grad: Tensor, groups: PackedGroups) -> dict[str, Tensor]:
    out, _ = form(*inputs, groups)
    return {"out": out.detach(), **dict(zip(_NAMES, torch.autograd.grad(out, inputs, grad), strict=True))}


def _errors(inputs: Inputs, grad: Tensor, groups: PackedGroups) -> dict[str, float]:
    """The difference from float64, relative to its norm."""
    ours = _results(wkv, inputs, grad, groups)
    exact = _results(wkv_chunked, tuple(x.detach().double().requires_grad_() for x in inputs), grad.double(), groups)
    return {name: float((ours[name].double() - x).norm() / x.norm()) for name, x in exact.items()}


def _times(form: Form, inputs: Inputs, grad: Tensor, groups: PackedGroups, repeats: int) -> tuple[float, float]:
    """Median milliseconds of the forward pass and of both passes, as recorded graphs, without launch times."""
    forward = _recorded_ms(lambda: form(*(x.detach() for x in inputs), groups), repeats)
    both = _recorded_ms(lambda: torch.autograd.grad(form(*inputs, groups)[0], inputs, grad), repeats)
    return forward, both


def _once_ms(form: Form, inputs: Inputs, grad: Tensor, groups: PackedGroups) -> float:
    """Milliseconds of both passes with launches, which dominate the plain form."""
    torch.cuda.synchronize()
    begun = time.perf_counter()
    torch.autograd.grad(form(*inputs, groups)[0], inputs, grad)
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - begun)


def _recorded_ms(run: Callable[[], object], repeats: int) -> float:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    times_ms = []
    for _ in range(repeats + 1):
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        graph.replay()
        ended.record()
        torch.cuda.synchronize()
        times_ms.append(begun.elapsed_time(ended))
    return statistics.median(times_ms[1:])


if __name__ == "__main__":
    main()
