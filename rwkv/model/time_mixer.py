"""The time mixer of RWKV-7 (spec 4). `mix` and `finish` hold its formulas; forward and step only differ in between."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rwkv.model.initial import decay_bias, orthogonal, time_lerp
from rwkv.model.packing import StreamLayout
from rwkv.model.spec import NetworkSpec
from rwkv.model.state import LayerState
from rwkv.model.token_shift import shift
from rwkv.ops.wkv import wkv
from rwkv.ops.wkv_reference import wkv_read, wkv_write

_GROUP_NORM_EPS = 64e-5
_NORM_CLAMP = 1e-12


class Mixed(NamedTuple):
    """The arguments of the WKV op [N, H, K], the gate [N, C], and the first layer's v [N, C]."""

    r: Tensor
    log_decay: Tensor
    k_hat: Tensor
    v: Tensor
    b: Tensor
    gate: Tensor
    v0: Tensor


class LoRA(nn.Module):
    """B_and_lamb(inner(A(x))), low-rank with a bias."""

    def __init__(self, channels: int, rank: int, bias: Tensor) -> None:
        super().__init__()
        self.A = nn.Linear(channels, rank, bias=False)
        self.B_and_lamb = nn.Linear(rank, channels)
        nn.init.zeros_(self.A.weight)
        orthogonal(self.B_and_lamb.weight)
        self.B_and_lamb.bias.data.copy_(bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.B_and_lamb(self.A(x))


class TimeMixer(nn.Module):
    """Mixes the rows of a group over time. layer, layers: place in the stream, which sets the initial weights."""

    def __init__(self, spec: NetworkSpec, layer: int, layers: int) -> None:
        super().__init__()
        channels, heads = spec.channels, spec.heads
        self.heads = heads
        self.layer = layer
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
        self.out_group_norm = nn.GroupNorm(heads, channels, eps=_GROUP_NORM_EPS)
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

    def mix(self, x: Tensor, shifted: Tensor, v0: Tensor | None) -> Mixed:
        """x, shifted [N, C]: normalised rows and the rows they are shifted to. v0: None in the stream's first layer."""
        m_r, m_k, m_v, m_d, m_a, m_g, m_k_scale, m_v_scale = x + self.rkvdag_lerp.view(8, 1, -1) * (shifted - x)
        r = self.W_r(m_r)
        k_scale = torch.sigmoid(self.k_scale_linear(m_k_scale)).unsqueeze(-1)
        v_scale = torch.sigmoid(self.v_scale_linear(m_v_scale)).unsqueeze(-1)
        v = self.W_v(m_v)
        if v0 is None:
            v0 = v
        else:
            v = v + torch.sigmoid(self.v_lora_simple(m_v)) * (v0 - v)
        a = torch.sigmoid(self.a_lora_simple(m_a))
        d = self.d_lora_mlp.B_and_lamb(torch.tanh(self.d_lora_mlp.A(m_d)))
        d = d.to(torch.promote_types(d.dtype, torch.float32))
        log_decay = -torch.exp(-0.5 - F.softplus(-d))
        k_hat = k_scale * F.normalize(self._by_head(self.W_k(m_k)), dim=-1, eps=_NORM_CLAMP)
        return Mixed(
            r=self._by_head(r),
            log_decay=self._by_head(log_decay),
            k_hat=k_hat,
            v=v_scale * F.normalize(self._by_head(v), dim=-1, eps=_NORM_CLAMP),
            b=self._by_head(a) * k_hat,
            gate=self.lora_B_g(torch.sigmoid(self.lora_A_g(m_g))),
            v0=v0,
        )

    def finish(self, out: Tensor, mixed: Mixed) -> Tensor:
        """The mixer's output [N, C] from the op's output [N, H, K]."""
        bonus = (mixed.r * self.bonus.view(1, self.heads, -1) * mixed.b).sum(-1, keepdim=True) * mixed.v
        normed = self.out_group_norm(out.flatten(1))
        return self.W_o(mixed.gate * (normed + bonus.flatten(1)))

    def forward(
        self, x: Tensor, v0: Tensor | None, layout: StreamLayout, state: LayerState | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All rows of a stream at once. Returns (output [N, C], v0, normalised x [N, C], final WKV state)."""
        x = self.layer_norm(x)
        carried = (None, None, None) if state is None else (state.time_shift, state.seen, state.wkv)
        mixed = self.mix(x, shift(x, layout, *carried[:2]), v0)
        out, final = wkv(mixed.r, mixed.log_decay, mixed.k_hat, mixed.v, mixed.b, layout.groups, carried[2])
        return self.finish(out, mixed), mixed.v0, x, final

    def step(self, x: Tensor, v0: Tensor | None, state: LayerState) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One row for each of N states. Returns the same as `forward`; the states are those after a review row."""
        x = self.layer_norm(x)
        mixed = self.mix(x, torch.where(state.seen[:, None], state.time_shift.to(x.dtype), x), v0)
        r, log_decay, k_hat, v, b = (part.to(state.wkv.dtype) for part in mixed[:5])
        out = wkv_read(state.wkv, r, log_decay, k_hat, v, b).to(x.dtype)
        return self.finish(out, mixed), mixed.v0, x, wkv_write(state.wkv, log_decay, k_hat, v, b)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(len(x), self.heads, -1)
