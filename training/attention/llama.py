"""Rotary positions, grouped-query attention, and the llama-style block that puts them together."""

import math

import torch
from torch import nn

T, D = 16, 32


def angles(steps, width, interleaved):
    """Cosines and sines `[steps, width]`, each angle twice: of both halves, or of neighbours."""
    rate = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angle = torch.arange(steps).unsqueeze(1) * rate
    angle = angle.repeat_interleave(2, dim=-1) if interleaved else torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def rotate_half(x):
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


def rotate_neighbours(x, cos, sin):
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = cos[..., 0::2], sin[..., 0::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class RmsNorm(nn.Module):
    """As llama-style models write it; the TorchScript exporter does not know nn.RMSNorm."""

    def __init__(self, width=D):
        super().__init__()
        self.weight = nn.Parameter(0.5 + torch.rand(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class Attention(nn.Module):
    """Causal attention with fewer key and value heads, and rotary positions in one of two layouts or none."""

    def __init__(self, heads=4, key_heads=2, rotary="half", repeat="expand", width=D, causal=True, longest=64):
        super().__init__()
        self.heads, self.key_heads, self.rotary, self.repeat, self.causal = heads, key_heads, rotary, repeat, causal
        self.d = width // heads
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, key_heads * self.d, bias=False)
        self.v = nn.Linear(width, key_heads * self.d, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        cos, sin = angles(longest, self.d, rotary == "interleaved")
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)

    def turned(self, x):
        cos, sin = self.cos[: x.shape[2]], self.sin[: x.shape[2]]
        if self.rotary == "half":
            return x * cos + rotate_half(x) * sin
        return rotate_neighbours(x, cos, sin) if self.rotary else x

    def repeated(self, x):
        """[1, key_heads, t, d] to [1, heads, t, d]"""
        groups = self.heads // self.key_heads
        if self.repeat == "interleave":
            return x.repeat_interleave(groups, dim=1)
        b, h, t, d = x.shape
        return x[:, :, None].expand(b, h, groups, t, d).reshape(b, h * groups, t, d)

    def forward(self, x):
        b, t, width = x.shape
        q = self.turned(self.q(x).view(b, t, self.heads, self.d).transpose(1, 2))
        k = self.turned(self.k(x).view(b, t, self.key_heads, self.d).transpose(1, 2))
        v = self.v(x).view(b, t, self.key_heads, self.d).transpose(1, 2)
        y = nn.functional.scaled_dot_product_attention(q, self.repeated(k), self.repeated(v), is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(b, t, width))


class Block(nn.Module):
    """RMSNorm, rotary grouped-query causal attention, SwiGLU."""

    def __init__(self, width=D, hidden=80, longest=64):
        super().__init__()
        self.norm1, self.norm2 = RmsNorm(width), RmsNorm(width)
        self.attention = Attention(width=width, longest=longest)
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y = self.norm2(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


SYSTEMS = {
    "grouped_query": (lambda: Attention(rotary=None, causal=False), {"x": (T, D)}),
    "grouped_interleave": (lambda: Attention(4, 1, rotary=None, repeat="interleave"), {"x": (T, D)}),
    "rotary_half": (lambda: Attention(4, 4), {"x": (T, D)}),
    "rotary_interleaved": (lambda: Attention(4, 4, rotary="interleaved"), {"x": (T, D)}),
    "llama_block": (Block, {"x": (T, D)}),
}
