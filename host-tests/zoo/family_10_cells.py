"""Recurrent cells, memories and readers of text that PyTorch has no layer for, in their authors' code."""

import math

import torch
import torch.nn.functional as F
from inputs import System, lengths_mask, positive, real, state, tokens
from torch import nn

T, D, H = 16, 24, 16


# --- Cells -------------------------------------------------------------------------------------------------------------------------


class LayerNormLstm(nn.Module):
    """fastrnns' LayerNormLSTMCell, unrolled."""

    def __init__(self):
        super().__init__()
        self.weight_ih, self.weight_hh = nn.Parameter(torch.randn(4 * H, D) / 5), nn.Parameter(torch.randn(4 * H, H) / 4)
        self.layernorm_i, self.layernorm_h, self.layernorm_c = nn.LayerNorm(4 * H), nn.LayerNorm(4 * H), nn.LayerNorm(H)

    def forward(self, x, hx, cx):
        outputs = []
        for step in x.unbind(1):
            gates = self.layernorm_i(torch.mm(step, self.weight_ih.t())) + self.layernorm_h(torch.mm(hx, self.weight_hh.t()))
            ingate, forgetgate, cellgate, outgate = gates.chunk(4, 1)
            ingate, forgetgate, outgate = torch.sigmoid(ingate), torch.sigmoid(forgetgate), torch.sigmoid(outgate)
            cx = self.layernorm_c((forgetgate * cx) + (ingate * torch.tanh(cellgate)))
            hx = outgate * torch.tanh(cx)
            outputs.append(hx)
        return torch.stack(outputs, 1), hx, cx


class PeepholeLstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.wx, self.wh = nn.Linear(D, 4 * H), nn.Linear(H, 4 * H, bias=False)
        self.pi, self.pf, self.po = (nn.Parameter(torch.randn(H) / 4) for _ in range(3))

    def forward(self, x, h, c):
        i, f, g, o = (self.wx(x) + self.wh(h)).split(H, dim=1)
        i, f = torch.sigmoid(i + self.pi * c), torch.sigmoid(f + self.pf * c)
        c = f * c + i * torch.tanh(g)
        h = torch.sigmoid(o + self.po * c) * torch.tanh(c)
        return h, c


class MogrifierLstm(nn.Module):
    """Melis: input and state gate each other five times before the cell."""

    def __init__(self):
        super().__init__()
        self.q = nn.ModuleList(nn.Linear(H, D) for _ in range(3))
        self.r = nn.ModuleList(nn.Linear(D, H) for _ in range(2))
        self.cell = nn.LSTMCell(D, H)

    def forward(self, x, h, c):
        for i in range(5):
            if i % 2 == 0:
                x = 2 * torch.sigmoid(self.q[i // 2](h)) * x
            else:
                h = 2 * torch.sigmoid(self.r[i // 2](x)) * h
        return self.cell(x, (h, c))


class IndRnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.ih, self.w = nn.Linear(D, H), nn.Parameter(torch.rand(H))

    def forward(self, x):
        h = torch.zeros(x.shape[0], H)
        out = []
        for t in range(x.shape[1]):
            h = F.relu(self.ih(x[:, t]) + self.w * h)
            out.append(h)
        return torch.stack(out, dim=1)


class Qrnn(nn.Module):
    """Bradbury: convolutions and fo-pooling."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(D, 3 * H, 2)

    def forward(self, x):
        z, f, o = self.conv(F.pad(x.transpose(1, 2), (1, 0))).chunk(3, dim=1)
        z, f, o = z.tanh(), f.sigmoid(), o.sigmoid()
        c = torch.zeros_like(z[..., 0])
        hidden = []
        for t in range(z.size(2)):
            c = f[..., t] * c + (1 - f[..., t]) * z[..., t]
            hidden.append(o[..., t] * c)
        return torch.stack(hidden, dim=2).transpose(1, 2)


class ConvLstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4 + 6, 4 * 6, 3, padding=1)

    def forward(self, input_tensor, h_cur, c_cur):
        combined_conv = self.conv(torch.cat([input_tensor, h_cur], dim=1))
        cc_i, cc_f, cc_o, cc_g = torch.split(combined_conv, 6, dim=1)
        c_next = torch.sigmoid(cc_f) * c_cur + torch.sigmoid(cc_i) * torch.tanh(cc_g)
        return torch.sigmoid(cc_o) * torch.tanh(c_next), c_next


class ConvGru(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_gates, self.conv_can = nn.Conv2d(4 + 6, 12, 3, padding=1), nn.Conv2d(4 + 6, 6, 3, padding=1)

    def forward(self, x, h):
        gamma, beta = torch.split(torch.sigmoid(self.conv_gates(torch.cat([x, h], 1))), 6, 1)
        cnm = torch.tanh(self.conv_can(torch.cat([x, gamma * h], 1)))
        return (1 - beta) * h + beta * cnm


class GruD(nn.Module):
    """Che: missing values decay towards the mean, the state decays with time."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.randn(8) / 2)
        self.gamma_x, self.gamma_h = nn.Parameter(torch.rand(8)), nn.Linear(8, H)
        self.zl, self.rl, self.hl = (nn.Linear(8 + H + 8, H) for _ in range(3))

    def forward(self, x, x_last, mask, delta, h):
        delta_x = torch.exp(-torch.max(torch.zeros(8), self.gamma_x * delta))
        delta_h = torch.exp(-torch.max(torch.zeros(H), self.gamma_h(delta)))
        x = mask * x + (1 - mask) * (delta_x * x_last + (1 - delta_x) * self.mean)
        h = delta_h * h
        combined = torch.cat((x, h, mask), 1)
        z, r = torch.sigmoid(self.zl(combined)), torch.sigmoid(self.rl(combined))
        h_tilde = torch.tanh(self.hl(torch.cat((x, r * h, mask), 1)))
        return (1 - z) * h + z * h_tilde


class MLstmStep(nn.Module):
    """xLSTM's matrix memory, one step with its stabiliser."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.i, self.f, self.o = (nn.Linear(D, n) for n in (8, 8, 8, 1, 1, 8))

    def forward(self, x, C, n, m):
        q, k, v = self.q(x), self.k(x) / math.sqrt(8), self.v(x)
        i, f = self.i(x), F.logsigmoid(self.f(x))
        m_new = torch.maximum(f + m, i)
        i, f = torch.exp(i - m_new), torch.exp(f + m - m_new)
        C = f.unsqueeze(-1) * C + i.unsqueeze(-1) * (v.unsqueeze(2) @ k.unsqueeze(1))
        n = f * n + i * k
        h = (C @ q.unsqueeze(2)).squeeze(2) / torch.clamp((n * q).sum(-1, keepdim=True).abs(), min=1.0)
        return torch.sigmoid(self.o(x)) * h, C, n, m_new


class Mgu(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.h = nn.Linear(D + H, H), nn.Linear(D + H, H)

    def forward(self, x, h):
        outs = []
        for i in range(6):
            f = torch.sigmoid(self.f(torch.cat([x[:, i], h], dim=-1)))
            h = h + f * (torch.tanh(self.h(torch.cat([x[:, i], f * h], dim=-1))) - h)
            outs += [h]
        return torch.stack(outs, 1)


class Highway(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.nonlinear, self.gate = nn.Linear(n, n), nn.Linear(n, n)

    def forward(self, x):
        gate = torch.sigmoid(self.gate(x))
        return gate * F.relu(self.nonlinear(x)) + (1 - gate) * x


class RecurrentHighway(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp, self.rec = nn.Linear(D, 2 * H), nn.ModuleList(nn.Linear(H, 2 * H) for _ in range(3))

    def forward(self, x, s):
        for depth, layer in enumerate(self.rec):
            gates = layer(s) + (self.inp(x) if depth == 0 else 0)
            h, t = gates[:, :H].tanh(), gates[:, H:].sigmoid()
            s = h * t + s * (1 - t)
        return s


class ClockworkRnn(nn.Module):
    """Koutnik: a block of the state moves every 1, 2, 4 or 8 steps."""

    def __init__(self):
        super().__init__()
        self.wx, self.wh = nn.Linear(D, H), nn.Linear(H, H, bias=False)
        mask = torch.zeros(H, H)
        for i in range(4):
            mask[4 * i : 4 * i + 4, 4 * i :] = 1
        self.register_buffer("mask", mask)

    def forward(self, x):
        h = torch.zeros(x.size(0), H)
        for t in range(8):
            new = torch.tanh(self.wx(x[:, t]) + F.linear(h, self.wh.weight * self.mask))
            active = sum(1 for i in range(4) if t % 2**i == 0) * 4
            h = torch.cat([new[:, :active], h[:, active:]], dim=1)
        return h


class NeuralOde(nn.Module):
    """Four steps of Runge-Kutta 4."""

    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(8, 24), nn.Tanh(), nn.Linear(24, 8))

    def forward(self, y):
        dt = 0.25
        for _ in range(4):
            k1 = self.f(y)
            k2 = self.f(y + dt * k1 / 2)
            k3 = self.f(y + dt * k2 / 2)
            k4 = self.f(y + dt * k3)
            y = y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y


class LegendreMemory(nn.Module):
    """LMU: a fixed linear memory beside a nonlinear state."""

    def __init__(self):
        super().__init__()
        order = 8
        q = torch.arange(order, dtype=torch.float64)
        r = (2 * q + 1).unsqueeze(1) / 16
        i, j = torch.meshgrid(q, q, indexing="ij")
        a = torch.where(i < j, -1.0, (-1.0) ** (i - j + 1)) * r
        self.register_buffer("A", torch.matrix_exp(a).float())
        self.register_buffer("B", (((-1.0) ** q).unsqueeze(1) * r).float())
        self.e_x, self.e_h = nn.Linear(D, 1, bias=False), nn.Linear(H, 1, bias=False)
        self.W_x, self.W_h, self.W_m = nn.Linear(D, H), nn.Linear(H, H), nn.Linear(order, H)

    def forward(self, x, h, m):
        u = self.e_x(x) + self.e_h(h)
        m = F.linear(m, self.A) + F.linear(u, self.B)
        return torch.tanh(self.W_x(x) + self.W_h(h) + self.W_m(m)), m


# --- Memories ----------------------------------------------------------------------------------------------------------------------


class EndToEndMemory(nn.Module):
    """Sukhbaatar's bAbI model: three hops over sentences with position encoding."""

    def __init__(self):
        super().__init__()
        self.A = nn.ModuleList(nn.Embedding(30, D) for _ in range(4))
        position = torch.arange(1, 7).unsqueeze(1) / 7 * torch.arange(1, D + 1) / D
        self.register_buffer("encoding", 1 + position / 2)

    def forward(self, story, query):
        u = (self.A[0](query) * self.encoding).sum(1)
        for hop in range(3):
            m = (self.A[hop](story) * self.encoding).sum(2)
            c = (self.A[hop + 1](story) * self.encoding).sum(2)
            prob = F.softmax(torch.sum(m * u.unsqueeze(1).expand_as(m), 2), dim=1)
            u = u + torch.sum(c * prob.unsqueeze(2).expand_as(c), 1)
        return u @ self.A[3].weight.t()


class KeyValueMemory(nn.Module):
    """DKVMN of knowledge tracing: read, erase, add."""

    def __init__(self):
        super().__init__()
        self.Mk = nn.Parameter(torch.randn(10, D) / 4)
        self.q, self.v = nn.Embedding(12, D), nn.Embedding(24, D)
        self.erase, self.add, self.summary, self.p = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(2 * D, D), nn.Linear(D, 1)

    def forward(self, question, answer, memory):
        k, v = self.q(question), self.v(answer)
        w = torch.softmax(torch.matmul(k, self.Mk.T), dim=-1)
        read = (w.unsqueeze(-1) * memory).sum(-2)
        e, a = torch.sigmoid(self.erase(v)), torch.tanh(self.add(v))
        memory = memory * (1 - (w.unsqueeze(-1) * e.unsqueeze(1))) + (w.unsqueeze(-1) * a.unsqueeze(1))
        return torch.sigmoid(self.p(torch.tanh(self.summary(torch.cat([read, k], dim=-1))))), memory


class Hopfield(nn.Module):
    """Ramsauer: three updates of a state pattern against stored patterns, normalised at each."""

    def __init__(self):
        super().__init__()
        self.stored = nn.Parameter(torch.randn(20, D))
        self.norm = nn.LayerNorm(D)

    def forward(self, state):
        for _ in range(3):
            state = torch.softmax(0.5 * self.norm(state) @ self.stored.t(), dim=-1) @ self.stored
        return state


class SlotAttention(nn.Module):
    """Locatello: softmax over the slots, weighted mean over the inputs, GRU and MLP, two rounds."""

    def __init__(self):
        super().__init__()
        self.slots = nn.Parameter(torch.randn(1, 4, D))
        self.to_q, self.to_k, self.to_v = (nn.Linear(D, D) for _ in range(3))
        self.gru, self.fc1, self.fc2 = nn.GRUCell(D, D), nn.Linear(D, 2 * D), nn.Linear(2 * D, D)
        self.norm_input, self.norm_slots, self.norm_pre_ff = nn.LayerNorm(D), nn.LayerNorm(D), nn.LayerNorm(D)

    def forward(self, inputs):
        b = inputs.shape[0]
        slots = self.slots.expand(b, -1, -1)
        inputs = self.norm_input(inputs)
        k, v = self.to_k(inputs), self.to_v(inputs)
        for _ in range(2):
            slots_prev = slots
            q = self.to_q(self.norm_slots(slots))
            attn = (torch.einsum("bid,bjd->bij", q, k) * D**-0.5).softmax(dim=1) + 1e-8
            attn = attn / attn.sum(dim=-1, keepdim=True)
            updates = torch.einsum("bjd,bij->bid", v, attn)
            slots = self.gru(updates.reshape(-1, D), slots_prev.reshape(-1, D)).reshape(b, -1, D)
            slots = slots + self.fc2(F.relu(self.fc1(self.norm_pre_ff(slots))))
        return slots


class Set2Set(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTMCell(2 * D, D)

    def forward(self, x):
        h, c, q_star = torch.zeros(1, D), torch.zeros(1, D), torch.zeros(1, 2 * D)
        for _ in range(3):
            h, c = self.lstm(q_star, (h, c))
            e = (x * h).sum(dim=-1, keepdim=True)
            a = torch.softmax(e, dim=0)
            q_star = torch.cat([h, (a * x).sum(dim=0, keepdim=True)], dim=-1)
        return q_star


class CapsuleRouting(nn.Module):
    """Sabour: squash and three rounds of agreement."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(1, 20, 5, 6, 4) / 3)

    @staticmethod
    def squash(s, dim=-1):
        norm = torch.sum(s**2, dim=dim, keepdim=True)
        return (norm / (1 + norm)) * s / torch.sqrt(norm + 1e-8)

    def forward(self, u):
        u_hat = torch.matmul(self.W, self.squash(u)[:, :, None, :, None]).squeeze(-1)
        b = torch.zeros(u.size(0), 20, 5, 1)
        for _ in range(3):
            c = F.softmax(b, dim=2)
            v = self.squash((c * u_hat).sum(dim=1))
            b = b + (u_hat * v.unsqueeze(1)).sum(-1, keepdim=True)
        return v.norm(dim=-1)


# --- Readers -----------------------------------------------------------------------------------------------------------------------


class CharCnnHighway(nn.Module):
    """Kim's character model: filters of several widths, max over time, highway, LSTM over words."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(40, 10)
        self.convs = nn.ModuleList(nn.Conv1d(10, 8, k) for k in (2, 3, 4))
        self.highway, self.lstm, self.out = Highway(24), nn.LSTM(24, H, batch_first=True), nn.Linear(H, 20)

    def forward(self, chars):
        b, words, letters = chars.shape
        x = self.emb(chars).view(b * words, letters, -1).transpose(1, 2)
        x = torch.cat([F.max_pool1d(torch.tanh(conv(x)), letters - conv.kernel_size[0] + 1).squeeze(-1) for conv in self.convs], 1)
        x, _ = self.lstm(self.highway(x).view(b, words, -1))
        return F.log_softmax(self.out(x), dim=-1)


class QaNetBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(4))
        self.depth = nn.ModuleList(nn.Conv1d(D, D, 5, padding=2, groups=D) for _ in range(2))
        self.point = nn.ModuleList(nn.Conv1d(D, D, 1) for _ in range(2))
        self.att, self.ff = nn.MultiheadAttention(D, 4, batch_first=True), nn.Linear(D, D)
        signal = torch.arange(T).float().unsqueeze(1) * torch.exp(-math.log(1e4) / (D // 2 - 1) * torch.arange(D // 2).float())
        self.register_buffer("signal", torch.cat([signal.sin(), signal.cos()], 1))

    def forward(self, x, mask):
        x = x + self.signal
        for norm, depth, point in zip(self.norms, self.depth, self.point):
            x = x + F.relu(point(depth(norm(x).transpose(1, 2)))).transpose(1, 2)
        y = self.norms[2](x)
        y, _ = self.att(y, y, y, key_padding_mask=~mask, need_weights=False)
        x = x + y
        return x + F.relu(self.ff(self.norms[3](x)))


class DecomposableAttention(nn.Module):
    """Parikh: attend, compare, aggregate."""

    def __init__(self):
        super().__init__()
        mlp = lambda i, o: nn.Sequential(nn.Linear(i, o), nn.ReLU(), nn.Linear(o, o), nn.ReLU())
        self.F, self.G, self.H, self.out = mlp(D, D), mlp(2 * D, D), mlp(2 * D, D), nn.Linear(D, 3)

    def forward(self, a, b):
        e = torch.bmm(self.F(a), self.F(b).transpose(1, 2))
        beta = torch.bmm(F.softmax(e, dim=2), b)
        alpha = torch.bmm(F.softmax(e.transpose(1, 2), dim=2), a)
        v1, v2 = self.G(torch.cat([a, beta], 2)).sum(1), self.G(torch.cat([b, alpha], 2)).sum(1)
        return self.out(self.H(torch.cat([v1, v2], 1)))


class Abcnn(nn.Module):
    """Yin: an attention matrix of 1 / (1 + distance) as a second channel."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(T, D) / 4)
        self.conv, self.fc = nn.Conv2d(2, 6, (3, D)), nn.Linear(12, 2)

    def forward(self, q, a):
        q4, a4 = q.unsqueeze(1), a.unsqueeze(1)
        distance = (q.unsqueeze(2) - a.unsqueeze(1)).pow(2).sum(-1).sqrt()
        match = 1.0 / (1.0 + distance)
        q4 = torch.cat([q4, torch.matmul(match, self.W).unsqueeze(1)], 1)
        a4 = torch.cat([a4, torch.matmul(match.transpose(1, 2), self.W).unsqueeze(1)], 1)
        pool = lambda x: F.avg_pool2d(torch.tanh(self.conv(x)), (T - 2, 1)).flatten(1)
        return self.fc(torch.cat([pool(q4), pool(a4)], 1))


class StackedSelfReader(nn.Module):
    """R-Net's gated self-matching: additive scores of every position with every other, a gate, a GRU."""

    def __init__(self):
        super().__init__()
        self.W1, self.W2, self.v = nn.Linear(D, H, bias=False), nn.Linear(D, H, bias=False), nn.Linear(H, 1, bias=False)
        self.gate, self.gru = nn.Linear(2 * D, 2 * D, bias=False), nn.GRU(2 * D, H, batch_first=True, bidirectional=True)

    def forward(self, v):
        s = self.v(torch.tanh(self.W1(v).unsqueeze(2) + self.W2(v).unsqueeze(1))).squeeze(-1)
        c = torch.bmm(s.softmax(-1), v)
        vc = torch.cat([v, c], -1)
        return self.gru(torch.sigmoid(self.gate(vc)) * vc)[0]


class HfGpt2Conv1D(nn.Module):
    """transformers' GPT-2 block: Conv1D by addmm, split, a registered causal buffer, gelu_new."""

    def __init__(self, heads=4):
        super().__init__()
        self.heads = heads
        w = lambda i, o: nn.ParameterList([nn.Parameter(torch.randn(i, o) / i**0.5), nn.Parameter(torch.zeros(o))])
        self.c_attn, self.c_proj, self.c_fc, self.m_proj = w(D, 3 * D), w(D, D), w(D, 4 * D), w(4 * D, D)
        self.ln_1, self.ln_2, self.ln_f = nn.LayerNorm(D), nn.LayerNorm(D), nn.LayerNorm(D)
        self.wte, self.wpe = nn.Embedding(40, D), nn.Embedding(32, D)
        self.register_buffer("bias", torch.tril(torch.ones(32, 32, dtype=torch.bool)).view(1, 1, 32, 32))

    @staticmethod
    def conv1d(x, pair):
        return torch.addmm(pair[1], x.view(-1, x.size(-1)), pair[0]).view(x.size()[:-1] + (pair[1].shape[0],))

    def forward(self, input_ids):
        t = input_ids.shape[-1]
        x = self.wte(input_ids) + self.wpe(torch.arange(0, t).unsqueeze(0))
        q, k, v = self.conv1d(self.ln_1(x), self.c_attn).split(D, dim=2)
        heads = lambda y: y.view(*y.size()[:-1], self.heads, D // self.heads).permute(0, 2, 1, 3)
        q, k, v = heads(q), heads(k), heads(v)
        w = torch.matmul(q, k.transpose(-1, -2)) / torch.full([], v.size(-1) ** 0.5)
        w = torch.where(self.bias[:, :, :t, :t], w, torch.full([], torch.finfo(w.dtype).min))
        a = torch.matmul(F.softmax(w, dim=-1), v).permute(0, 2, 1, 3).contiguous().view(*x.size())
        x = x + self.conv1d(a, self.c_proj)
        h = self.conv1d(self.ln_2(x), self.c_fc)
        h = 0.5 * h * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (h + 0.044715 * torch.pow(h, 3.0))))
        return self.ln_f(x + self.conv1d(h, self.m_proj)) @ self.wte.weight.t()


class NeoX(nn.Module):
    """GPT-NeoX: partial rotary, parallel residual, fused qkv per head."""

    def __init__(self, heads=2, rotary=6):
        super().__init__()
        self.heads, self.size, self.rotary = heads, D // heads, rotary
        self.qkv, self.dense = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.up, self.down, self.ln1, self.ln2 = nn.Linear(D, 2 * D), nn.Linear(2 * D, D), nn.LayerNorm(D), nn.LayerNorm(D)
        inv = 1.0 / (10000 ** (torch.arange(0, rotary, 2).float() / rotary))
        self.register_buffer("inv_freq", inv)

    def rotate(self, x, cos, sin):
        rot, rest = x[..., : self.rotary], x[..., self.rotary :]
        half = torch.cat((-rot[..., self.rotary // 2 :], rot[..., : self.rotary // 2]), dim=-1)
        return torch.cat((rot * cos + half * sin, rest), dim=-1)

    def forward(self, x):
        b, t, _ = x.shape
        qkv = self.qkv(self.ln1(x)).view(b, t, self.heads, 3 * self.size).transpose(1, 2)
        q, k, v = qkv.chunk(3, dim=-1)
        freqs = torch.outer(torch.arange(t).float(), self.inv_freq)
        emb = torch.cat((freqs, freqs), dim=-1)
        q, k = self.rotate(q, emb.cos(), emb.sin()), self.rotate(k, emb.cos(), emb.sin())
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, D)
        return x + self.dense(a) + self.down(F.gelu(self.up(self.ln2(x))))


class QwenAttention(nn.Module):
    """Query and key normalised per head, one key head for two, rotary by halves."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(D, 32, bias=False), nn.Linear(D, 16), nn.Linear(D, 16), nn.Linear(32, D)
        self.qn, self.kn = nn.Parameter(torch.rand(8) + 0.5), nn.Parameter(torch.rand(8) + 0.5)

    @staticmethod
    def rms(x, w):
        return w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    def forward(self, x):
        b, t, _ = x.shape
        q = self.rms(self.q(x).view(b, t, 4, 8), self.qn).transpose(1, 2)
        k = self.rms(self.k(x).view(b, t, 2, 8), self.kn).transpose(1, 2)
        v = self.v(x).view(b, t, 2, 8).transpose(1, 2)
        angle = torch.arange(t)[:, None] * (10000.0 ** (-torch.arange(0, 8, 2) / 8))[None]
        cos, sin = torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()
        turn = lambda y: y * cos + torch.cat((-y[..., 4:], y[..., :4]), -1) * sin
        q, k = turn(q), turn(k)
        k = k[:, :, None].expand(b, 2, 2, t, 8).reshape(b, 4, t, 8)
        v = v[:, :, None].expand(b, 2, 2, t, 8).reshape(b, 4, t, 8)
        scores = q @ k.transpose(2, 3) * 8**-0.5 + torch.triu(torch.full((t, t), float("-inf")), 1)
        return self.o((scores.softmax(-1, dtype=torch.float32) @ v).transpose(1, 2).reshape(b, t, 32))


class TopTwoExperts(nn.Module):
    """A mixture of experts that computes all and keeps the two best."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = (
            nn.Linear(D, 4),
            nn.ModuleList(nn.Sequential(nn.Linear(D, 16), nn.SiLU(), nn.Linear(16, D)) for _ in range(4)),
        )

    def forward(self, x):
        logits = self.gate(x)
        top, index = logits.topk(2, dim=-1)
        weights = torch.zeros_like(logits).scatter(-1, index, top.softmax(-1))
        return sum(weights[..., i : i + 1] * expert(x) for i, expert in enumerate(self.experts))


class LinkedChunks(nn.Module):
    """Longformer's blocks: queries of a block see the block and its two neighbours."""

    def __init__(self, block=4):
        super().__init__()
        self.block, self.qkv = block, nn.Linear(D, 3 * D)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, -1)
        n = t // self.block
        q = q.view(b, n, self.block, D)
        k, v = (F.pad(y, (0, 0, self.block, self.block)).unfold(1, 3 * self.block, self.block) for y in (k, v))
        scores = torch.einsum("bnqd,bndk->bnqk", q, k) / math.sqrt(D)
        where = torch.arange(t + 2 * self.block).sub(self.block).unfold(0, 3 * self.block, self.block)
        scores = scores.masked_fill(((where < 0) | (where >= t))[None, :, None, :], -1e9)
        return torch.einsum("bnqk,bndk->bnqd", scores.softmax(-1), v).reshape(b, t, D)


class SpanConv(nn.Module):
    """ConvBERT's dynamic convolution: a kernel for each position and head, over unfolded values."""

    def __init__(self, heads=4, kernel=5):
        super().__init__()
        self.heads, self.kernel = heads, kernel
        self.key, self.value, self.attn = nn.Conv1d(D, D, kernel, padding=2, groups=D), nn.Linear(D, D), nn.Linear(D, heads * kernel)
        self.query = nn.Linear(D, D)

    def forward(self, x):
        b, t, _ = x.shape
        gate = self.key(x.transpose(1, 2)).transpose(1, 2) * self.query(x)
        kernel = torch.softmax(self.attn(gate).reshape(b * t * self.heads, self.kernel, 1), dim=1)
        out = F.unfold(self.value(x).transpose(1, 2).unsqueeze(-1), kernel_size=[self.kernel, 1], padding=[2, 0])
        out = out.transpose(1, 2).reshape(b, t, D, self.kernel).reshape(-1, D // self.heads, self.kernel)
        return torch.matmul(out, kernel).reshape(b, t, D)


x = lambda batch=0: real(1, T, D, batch=batch)
row = lambda n=D: real(1, n)

SYSTEMS = {
    "layernorm_lstm": System(LayerNormLstm, {"x": real(1, 5, D), "hx": state(1, H), "cx": state(1, H)}),
    "peephole_lstm": System(PeepholeLstm, {"x": row(), "h": state(1, H), "c": real(1, H)}, stack=False),
    "mogrifier_lstm": System(MogrifierLstm, {"x": row(), "h": state(1, H), "c": real(1, H)}),
    "ind_rnn": System(IndRnn, {"x": real(1, 8, D)}),
    "qrnn": System(Qrnn, {"x": x()}),
    "conv_lstm": System(ConvLstm, {"x": real(1, 4, 8, 8), "h": state(1, 6, 8, 8), "c": real(1, 6, 8, 8)}, stack=False),
    "conv_gru": System(ConvGru, {"x": real(1, 4, 8, 8), "h": state(1, 6, 8, 8)}, stack=False),
    "gru_d": System(
        GruD,
        {"x": row(8), "x_last": row(8), "mask": lengths_mask(1, 8, dtype="float32"), "delta": positive(1, 8), "h": state(1, H)},
        stack=False,
    ),
    "mlstm_step": System(MLstmStep, {"x": row(), "C": real(1, 8, 8), "n": row(8), "m": row(1)}),
    "mgu": System(Mgu, {"x": real(1, 6, D), "h": state(1, H)}),
    "recurrent_highway": System(RecurrentHighway, {"x": row(), "s": state(1, H)}),
    "clockwork_rnn": System(ClockworkRnn, {"x": real(1, 8, D)}),
    "neural_ode": System(NeuralOde, {"y": row(8)}),
    "legendre_memory": System(LegendreMemory, {"x": row(), "h": state(1, H), "m": row(8)}, stack=False),
    "end_to_end_memory": System(EndToEndMemory, {"story": tokens(30, 1, 8, 6), "query": tokens(30, 1, 6)}),
    "key_value_memory": System(KeyValueMemory, {"question": tokens(12, 1), "answer": tokens(24, 1), "memory": real(1, 10, D)}),
    "hopfield": System(Hopfield, {"state": x()}),
    "slot_attention": System(SlotAttention, {"inputs": x()}),
    "set2set": System(Set2Set, {"x": real(10, D, batch=None)}),
    "capsule_routing": System(CapsuleRouting, {"u": real(1, 20, 4)}),
    "char_cnn_highway": System(CharCnnHighway, {"chars": tokens(40, 1, 5, 9)}),
    "qanet_block": System(QaNetBlock, {"x": x(), "mask": lengths_mask(1, T)}),
    "decomposable_attention": System(DecomposableAttention, {"a": x(), "b": real(1, 12, D)}),
    "abcnn": System(Abcnn, {"q": x(), "a": x()}),
    "self_matching": System(StackedSelfReader, {"v": x()}),
    "hf_gpt2": System(HfGpt2Conv1D, {"input_ids": tokens(40, 1, T)}),
    "gpt_neox": System(NeoX, {"x": x()}),
    "qwen_attention": System(QwenAttention, {"x": x()}, stack=False),
    "top_two_experts": System(TopTwoExperts, {"x": x()}),
    "longformer_blocks": System(LinkedChunks, {"x": x()}, stack=False),
    "convbert_span": System(SpanConv, {"x": x()}),
}
