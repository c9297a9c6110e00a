"""The time mixer of RWKV-7 (spec 4). `forward` and `step` share all parts and differ only in how they use the state."""

from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rwkv.model.initial import decay_bias, orthogonal, time_lerp
from rwkv.model.packing import source_of_states
from rwkv.model.spec import NetworkSpec
from rwkv.model.state import LayerState
from rwkv.ops.backend import Backend, Kernels
from rwkv.ops.cpu.mixers import time_mix
from rwkv.ops.groups import PackedGroups
from rwkv.ops.shift import token_mix
from rwkv.ops.time_mix import GROUP_NORM_EPS, wkv_inputs, wkv_output
from rwkv.ops.triton.run_plan import extended
from rwkv.ops.wkv import WkvInputs, wkv, wkv_read, wkv_write


class Projected(NamedTuple):
    """The results of a time mixer's linear maps for N rows, [N, C] each.

    Attributes:
        inputs: The arguments of the recurrence.
        gate: Gate of the output.
        v0: v of the stream's first layer.
    """

    inputs: WkvInputs
    gate: Tensor
    v0: Tensor


class Projection(NamedTuple):
    """The linear maps of one interpolation of a time mixer, see `TimeMixer.project`.

    Attributes:
        name: Name of the result.
        lerp: Number of the interpolation.
        down: The only map, or the first of two of low rank.
        up: The second map, if any.
    """

    name: str
    lerp: int
    down: nn.Linear
    up: nn.Linear | None = None

    @property
    def weights(self) -> list[Tensor]:
        """The weights of the maps in order, each followed by its bias if it has one."""
        maps = [self.down] if self.up is None else [self.down, self.up]
        return [weight for linear in maps for weight in (linear.weight, linear.bias) if weight is not None]


class LoRA(nn.Module):
    """The low-rank map B_and_lamb(A(x)) with a bias."""

    def __init__(self, channels: int, rank: int, bias: Tensor) -> None:
        super().__init__()
        self.A = nn.Linear(channels, rank, bias=False)
        self.B_and_lamb = nn.Linear(rank, channels)
        nn.init.zeros_(self.A.weight)
        orthogonal(self.B_and_lamb.weight)
        self.B_and_lamb.bias.data.copy_(bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.B_and_lamb(self.A(x))
        return out


class TimeMixer(nn.Module):
    """Mixes the rows of a group over time.

    Args:
        spec: Sizes of the network.
        layer: Number of the layer in its stream, which sets the initial weights.
        layers: Number of layers of the stream.
    """

    def __init__(self, spec: NetworkSpec, layer: int, layers: int) -> None:
        super().__init__()
        channels, heads = spec.channels, spec.heads
        self.heads = heads
        self.is_first = layer == 0
        self.rkvdag_lerp = nn.Parameter(time_lerp(channels, layer, layers))
        self.bonus = nn.Parameter(torch.zeros(1, 1, heads, spec.head_width))
        self.layer_norm = nn.LayerNorm(channels)
        self.W_r = nn.Linear(channels, channels, bias=False)
        self.W_k = nn.Linear(channels, channels, bias=False)
        self.W_v = nn.Linear(channels, channels, bias=False)
        self.W_o = nn.Linear(channels, channels, bias=False)
        self.k_scale_linear = nn.Linear(channels, heads)
        self.v_scale_linear = nn.Linear(channels, heads)
        self.v_lora_simple = LoRA(channels, spec.v_rank, torch.ones(channels))
        self.a_lora_simple = LoRA(channels, spec.a_rank, torch.zeros(channels))
        self.d_lora_mlp = LoRA(channels, spec.decay_rank, decay_bias(channels, layer, layers))
        self.lora_A_g = nn.Linear(channels, spec.gate_rank, bias=False)
        self.lora_B_g = nn.Linear(spec.gate_rank, channels, bias=False)
        self.out_group_norm = nn.GroupNorm(heads, channels, eps=GROUP_NORM_EPS)
        self._initialise(channels)

    def _initialise(self, channels: int) -> None:
        bound = channels**-0.5
        nn.init.uniform_(self.W_r.weight, -0.5 * bound, 0.5 * bound)
        nn.init.uniform_(self.W_k.weight, -0.05 * bound, 0.05 * bound)
        nn.init.uniform_(self.W_v.weight, -0.5 * bound, 0.5 * bound)
        zeroed = [self.W_o.weight, self.lora_A_g.weight]
        for linear in (self.k_scale_linear, self.v_scale_linear):
            zeroed += [linear.weight, linear.bias]
        for parameter in zeroed:
            nn.init.zeros_(parameter)
        orthogonal(self.lora_B_g.weight)

    def project(self, mixed: tuple[Tensor, ...], v0: Tensor | None) -> Projected:
        """Apply the linear maps.

        Args:
            mixed: The eight interpolations [N, C], in the order of spec 4.
            v0: v of the stream's first layer, [N, C]; None in that layer.
        """
        m_r, m_k, m_v, m_d, m_a, m_g, m_k_scale, m_v_scale = mixed
        v = self.W_v(m_v)
        return Projected(
            inputs=wkv_inputs(
                r=self.W_r(m_r),
                k=self.W_k(m_k),
                v=v,
                v0=v if v0 is None else v0,
                v_mix=None if v0 is None else self.v_lora_simple(m_v),
                a=self.a_lora_simple(m_a),
                d=self.d_lora_mlp.B_and_lamb(torch.tanh(self.d_lora_mlp.A(m_d))),
                k_scale=self.k_scale_linear(m_k_scale),
                v_scale=self.v_scale_linear(m_v_scale),
            ),
            gate=self.lora_B_g(torch.sigmoid(self.lora_A_g(m_g))),
            v0=v if v0 is None else v0,
        )

    def finish(self, out: Tensor, projected: Projected) -> Tensor:
        """The mixer's output [N, C] from the recurrence's output `out` [N, C]."""
        norm, bonus, inputs = self.out_group_norm, self.bonus.view(self.heads, -1), projected.inputs
        gated = wkv_output(out, inputs.r, inputs.v, inputs.b, projected.gate, bonus, norm.weight, norm.bias)
        return self.W_o(gated)

    def mix(self, x: Tensor, source: Tensor, before: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor]:
        """Normalise rows and interpolate each with its source row, see `token_mix`."""
        lerps = self.rkvdag_lerp.view(8, -1)
        return token_mix(x, self.layer_norm.weight, self.layer_norm.bias, lerps, source, before)

    def forward(
        self,
        x: Tensor,
        v0: Tensor | None,
        source: Tensor,
        groups: PackedGroups,
        backend: Backend,
        before: LayerState | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run rows in places of a stream at once.

        Args:
            x: Rows in places of the stream, [N, C].
            v0: v of the stream's first layer, [N, C]; None in that layer.
            source: Place from which each takes its token shift, int64 [N]; N + i stands for row i of `before`.
            groups: The packed groups.
            backend: What runs the network; not TRITON, which runs whole layers.
            before: States of the first groups before the rows; None for empty ones.

        Returns:
            The output [N, C], v0 [N, C], the normalised x [N, C], and the WKV states after the rows [G, H, K, K].
        """
        shift, state = None, None
        if before is not None:
            shift, state = before.time_shift, extended(before.wkv, groups.groups, 0)
        if backend.kernels is Kernels.NATIVE:
            return time_mix(x, v0, self.weights(v0 is None), groups, source, shift, state)
        mixed, normed = self.mix(x, source, shift)
        projected = self.project(mixed, v0)
        inputs = WkvInputs(*map(self._by_head, projected.inputs))
        out, final = wkv(*inputs, groups, state)
        return self.finish(out.flatten(1), projected), projected.v0, normed, final

    def step(self, x: Tensor, v0: Tensor | None, state: LayerState) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run one row for each of N states. Returns the same as `forward`, with states after a review row."""
        mixed, normed = self.mix(x, source_of_states(state.seen), state.time_shift)
        projected = self.project(mixed, v0)
        inputs = WkvInputs(*(self._by_head(part).to(state.wkv.dtype) for part in projected.inputs))
        out = wkv_read(state.wkv, *inputs).flatten(1).to(x.dtype)
        written = wkv_write(state.wkv, **inputs.named("log_decay", "k_hat", "v", "b"))
        return self.finish(out, projected), projected.v0, normed, written

    def projections(self, first: bool) -> list[Projection]:
        """All linear maps of the interpolations, in the order of every kernel.

        Args:
            first: Whether to leave out the maps that the stream's first layer lacks.
        """
        d, a, v_mix = self.d_lora_mlp, self.a_lora_simple, self.v_lora_simple
        return [
            Projection("r", 0, self.W_r),
            Projection("k", 1, self.W_k),
            Projection("v", 2, self.W_v),
            Projection("d", 3, d.A, d.B_and_lamb),
            Projection("a", 4, a.A, a.B_and_lamb),
            Projection("gate", 5, self.lora_A_g, self.lora_B_g),
            *([] if first else [Projection("v_mix", 2, v_mix.A, v_mix.B_and_lamb)]),
            Projection("k_scale", 6, self.k_scale_linear),
            Projection("v_scale", 7, self.v_scale_linear),
        ]

    def weights(self, first: bool) -> list[Tensor]:
        """All weights in the order of rwkv/native/csrc/time_mix.h; those that a first layer lacks come last."""
        common = [part.weights for part in self.projections(True)]
        later_only = [part.weights for part in self.projections(first) if part.name == "v_mix"]
        norm = self.out_group_norm
        weights = [self.layer_norm.weight, self.layer_norm.bias, self.rkvdag_lerp.view(8, -1), *chain(*common)]
        weights += [self.bonus.view(self.heads, -1), norm.weight, norm.bias, self.W_o.weight]
        return [*weights, *chain(*later_only)]

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(len(x), self.heads, -1)
