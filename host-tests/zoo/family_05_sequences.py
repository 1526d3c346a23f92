"""Linear attention, state spaces and forecasting as their authors write them."""

import math

import torch
import torch.nn.functional as F
from inputs import System, positive, real, state, tokens
from torch import nn
from torch.nn.utils import weight_norm
from torch.nn.utils.parametrizations import weight_norm as parametrized_weight_norm

T, D, HEADS = 16, 32, 4


# --- Attention without a softmax over keys -------------------------------------------------------------------------------------


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(D, D) for _ in range(4))

    def split(self, x):
        return tuple(f(x).view(x.shape[0], -1, HEADS, D // HEADS) for f in (self.q, self.k, self.v))


class LinearAttention(Heads):
    """Katharopoulos et al., 2020 (fast-transformers): elu + 1, einsum; over all, or causal by cumulative sums."""

    def __init__(self, causal=False):
        super().__init__()
        self.causal, self.eps = causal, 1e-6

    def forward(self, x):
        Q, K, values = self.split(x)
        Q, K = F.elu(Q) + 1, F.elu(K) + 1
        if self.causal:
            KV = torch.cumsum(torch.einsum("nshd,nshm->nshdm", K, values), dim=1)
            Z = 1 / (torch.einsum("nlhd,nlhd->nlh", Q, K.cumsum(1)) + self.eps)
            V = torch.einsum("nlhd,nlhdm,nlh->nlhm", Q, KV, Z)
        else:
            KV = torch.einsum("nshd,nshm->nhmd", K, values)
            Z = 1 / (torch.einsum("nlhd,nhd->nlh", Q, K.sum(dim=1)) + self.eps)
            V = torch.einsum("nlhd,nhmd,nlh->nlhm", Q, KV, Z)
        return self.out(V.reshape(x.shape[0], -1, D))


class EfficientAttention(Heads):
    """Shen et al., 2018: a softmax of queries over channels and of keys over time."""

    def forward(self, x):
        q, k, v = (y.transpose(1, 2) for y in self.split(x))
        context = k.softmax(dim=-2).transpose(-1, -2) @ v
        return self.out((q.softmax(dim=-1) @ context).transpose(1, 2).reshape(x.shape))


class Performer(Heads):
    """lucidrains': random features with the maximum taken out, exp, plus eps."""

    def __init__(self, features=16):
        super().__init__()
        self.register_buffer("projection_matrix", torch.randn(features, D // HEADS))

    def kernel(self, data, is_query, eps=1e-4):
        data_normalizer = data.shape[-1] ** -0.25
        ratio = self.projection_matrix.shape[0] ** -0.5
        data_dash = torch.einsum("bhid,jd->bhij", data_normalizer * data, self.projection_matrix)
        diag_data = torch.sum(data**2, dim=-1)
        diag_data = (diag_data / 2.0 * data_normalizer**2).unsqueeze(dim=-1)
        if is_query:
            top = torch.amax(data_dash, dim=-1, keepdim=True)
        else:
            top = torch.amax(data_dash, dim=(-1, -2), keepdim=True)
        return ratio * (torch.exp(data_dash - diag_data - top) + eps)

    def forward(self, x):
        q, k, v = (y.transpose(1, 2) for y in self.split(x))
        q, k = self.kernel(q, True), self.kernel(k, False)
        k_cumsum = k.sum(dim=-2)
        D_inv = 1.0 / torch.einsum("bhnd,bhd->bhn", q, k_cumsum.type_as(q))
        context = torch.einsum("bhnd,bhne->bhde", k, v)
        out = torch.einsum("bhde,bhnd,bhn->bhne", context, q, D_inv)
        return self.out(out.transpose(1, 2).reshape(x.shape))


class Linformer(Heads):
    """Keys and values projected along time."""

    def __init__(self, k=6):
        super().__init__()
        self.proj_k, self.proj_v = nn.Parameter(torch.randn(T, k) / 4), nn.Parameter(torch.randn(T, k) / 4)

    def forward(self, x):
        b, n, d = x.shape
        queries = self.q(x).reshape(b, n, HEADS, -1).transpose(1, 2)
        keys = torch.einsum("bnd,nk->bkd", self.k(x), self.proj_k).reshape(b, -1, HEADS, d // HEADS).transpose(1, 2)
        values = torch.einsum("bnd,nk->bkd", self.v(x), self.proj_v).reshape(b, -1, HEADS, d // HEADS).transpose(1, 2)
        attn = (torch.einsum("bhnd,bhkd->bhnk", queries, keys) * (d // HEADS) ** -0.5).softmax(dim=-1)
        return self.out(torch.einsum("bhnk,bhkd->bhnd", attn, values).transpose(1, 2).reshape(b, n, -1))


class Aft(nn.Module):
    """AFT-full and AFT-simple (Zhai et al., 2021; the rish-16 code)."""

    def __init__(self, full):
        super().__init__()
        self.full = full
        self.to_q, self.to_k, self.to_v, self.project = (nn.Linear(D, D) for _ in range(4))
        self.wbias = nn.Parameter(0.5 * torch.randn(T, T))

    def forward(self, x):
        B, n, _ = x.shape
        Q, K, V = self.to_q(x), self.to_k(x), self.to_v(x)
        Q_sig = torch.sigmoid(Q)
        if self.full:
            temp_wbias = self.wbias[:n, :n].unsqueeze(0)
            num = torch.exp(temp_wbias) @ torch.mul(torch.exp(K), V)
            den = torch.exp(temp_wbias) @ torch.exp(K)
            Yt = torch.mul(Q_sig, num / den)
        else:
            weights = torch.mul(torch.softmax(K, 1), V).sum(dim=1, keepdim=True)
            Yt = torch.mul(Q_sig, weights)
        return self.project(Yt)


class FNet(nn.Module):
    """Mixing by a fixed real Fourier matrix, as those write it who export."""

    def __init__(self):
        super().__init__()
        n = torch.arange(T)
        self.register_buffer("cos", torch.cos(2 * math.pi * n[:, None] * n / T))
        self.norm, self.ff = nn.LayerNorm(D), nn.Sequential(nn.Linear(D, 64), nn.GELU(), nn.Linear(64, D))

    def forward(self, x):
        x = self.norm(x + torch.einsum("ts,bsd->btd", self.cos, x) / 4)
        return x + self.ff(x)


# --- Steps with state ----------------------------------------------------------------------------------------------------------


class RwkvStep(nn.Module):
    """RWKV v4's time mixing of one token ("RWKV in 150 lines"): token shift, numerator, denominator and exponent as state."""

    def __init__(self):
        super().__init__()
        self.mix_k, self.mix_v, self.mix_r = (nn.Parameter(torch.rand(D)) for _ in range(3))
        self.time_first, self.time_decay = nn.Parameter(torch.randn(D)), nn.Parameter(-torch.exp(torch.randn(D)))
        self.key, self.value, self.receptance, self.output = (nn.Linear(D, D, bias=False) for _ in range(4))
        self.ln1 = nn.LayerNorm(D)

    def forward(self, x, last_x, aa, bb, pp):
        x = self.ln1(x)
        k = self.key(x * self.mix_k + last_x * (1 - self.mix_k))
        v = self.value(x * self.mix_v + last_x * (1 - self.mix_v))
        r = torch.sigmoid(self.receptance(x * self.mix_r + last_x * (1 - self.mix_r)))
        ww = self.time_first + k
        qq = torch.maximum(pp, ww)
        e1, e2 = torch.exp(pp - qq), torch.exp(ww - qq)
        wkv = (e1 * aa + e2 * v) / (e1 * bb + e2)
        ww = pp + self.time_decay
        qq = torch.maximum(ww, k)
        e1, e2 = torch.exp(ww - qq), torch.exp(k - qq)
        return self.output(r * wkv), x, e1 * aa + e2 * v, e1 * bb + e2, qq


class RwkvChannelMix(nn.Module):
    """Squared ReLU, receptance, the row before by ZeroPad2d((0, 0, 1, -1))."""

    def __init__(self):
        super().__init__()
        self.time_shift = nn.ZeroPad2d((0, 0, 1, -1))
        self.mix_k, self.mix_r = nn.Parameter(torch.rand(1, 1, D)), nn.Parameter(torch.rand(1, 1, D))
        self.key, self.receptance, self.value = nn.Linear(D, 64, bias=False), nn.Linear(D, D, bias=False), nn.Linear(64, D, bias=False)

    def forward(self, x):
        xx = self.time_shift(x)
        k = torch.square(torch.relu(self.key(x * self.mix_k + xx * (1 - self.mix_k))))
        return torch.sigmoid(self.receptance(x * self.mix_r + xx * (1 - self.mix_r))) * self.value(k)


class MambaStep(nn.Module):
    """Mamba's `step`: convolution over a kept window, selective state [channels, n], gate."""

    def __init__(self, inner=32, n=8, conv=4, rank=2):
        super().__init__()
        self.n, self.rank = n, rank
        self.in_proj, self.x_proj = nn.Linear(D, 2 * inner, bias=False), nn.Linear(inner, rank + 2 * n, bias=False)
        self.dt_proj, self.out_proj = nn.Linear(rank, inner), nn.Linear(inner, D, bias=False)
        self.conv_weight, self.conv_bias = nn.Parameter(torch.randn(inner, 1, conv) / 2), nn.Parameter(torch.randn(inner))
        self.A_log = nn.Parameter(torch.log(torch.arange(1, n + 1).float()).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))

    def forward(self, hidden_states, conv_state, ssm_state):
        xz = self.in_proj(hidden_states.squeeze(1))
        x, z = xz.chunk(2, dim=-1)
        conv_state = torch.cat([conv_state[:, :, 1:], x.unsqueeze(-1)], dim=-1)
        x = F.silu(torch.sum(conv_state * self.conv_weight.squeeze(1), dim=-1) + self.conv_bias)
        dt, B, C = torch.split(self.x_proj(x), [self.rank, self.n, self.n], dim=-1)
        dt = F.softplus(F.linear(dt, self.dt_proj.weight) + self.dt_proj.bias)
        A = -torch.exp(self.A_log.float())
        dA = torch.exp(torch.einsum("bd,dn->bdn", dt, A))
        dB = torch.einsum("bd,bn->bdn", dt, B)
        ssm_state = ssm_state * dA + x.unsqueeze(-1) * dB
        y = torch.einsum("bdn,bn->bd", ssm_state, C) + self.D * x
        return self.out_proj(y * F.silu(z)).unsqueeze(1), conv_state, ssm_state


class S4dStep(nn.Module):
    """S4D's recurrence with real and imaginary parts apart: diagonal state, read by C, skip D, GLU."""

    def __init__(self, n=8):
        super().__init__()
        dt, angle = 0.1, math.pi * torch.arange(n)
        self.register_buffer("a_real", math.exp(-0.5 * dt) * torch.cos(angle * dt))
        self.register_buffer("a_imag", math.exp(-0.5 * dt) * torch.sin(angle * dt))
        self.B, self.C_real, self.C_imag = (nn.Parameter(torch.randn(D, n) / 3) for _ in range(3))
        self.D, self.out = nn.Parameter(torch.randn(D)), nn.Sequential(nn.Linear(D, 2 * D), nn.GLU(dim=-1))

    def forward(self, u, real, imag):
        next_real = self.a_real * real - self.a_imag * imag + self.B * u.unsqueeze(-1)
        next_imag = self.a_real * imag + self.a_imag * real
        y = 2 * (self.C_real * next_real - self.C_imag * next_imag).sum(-1) + u * self.D
        return self.out(F.gelu(y)), next_real, next_imag


class S4dKernel(nn.Module):
    """The same over a window: its kernel as a long causal depthwise convolution."""

    def __init__(self):
        super().__init__()
        decay = torch.exp(-torch.rand(D, 1) * torch.arange(T))
        self.kernel = nn.Parameter((torch.randn(D, 1) * decay * torch.cos(torch.rand(D, 1) * torch.arange(T))).flip(-1).unsqueeze(1))
        self.D, self.out = nn.Parameter(torch.randn(D)), nn.Conv1d(D, 2 * D, 1)

    def forward(self, u):
        y = F.conv1d(F.pad(u, (T - 1, 0)), self.kernel, groups=D) + u * self.D.unsqueeze(-1)
        return F.glu(self.out(F.gelu(y)), dim=-2)


class MinGru(nn.Module):
    """minGRU's parallel form for a short window: log-space cumulative sums (Feng et al., 2024)."""

    def __init__(self):
        super().__init__()
        self.to_hidden_and_gate = nn.Linear(D, 2 * D, bias=False)

    def forward(self, x):
        hidden, gate = self.to_hidden_and_gate(x).chunk(2, dim=-1)
        log_coeffs = -F.softplus(gate)
        log_z = -F.softplus(-gate)
        log_tilde_h = torch.where(hidden >= 0, (F.relu(hidden) + 0.5).log(), -F.softplus(-hidden))
        a_star = log_coeffs.cumsum(dim=1)
        values = torch.exp(log_z + log_tilde_h - a_star)
        return torch.exp(a_star) * values.cumsum(dim=1)


class HandGru(nn.Module):
    """nn.GRUCell unrolled over a short window, and an LSTMCell written by hand with chunk."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.gru = nn.GRUCell(12, 16)
        self.ih, self.hh = nn.Linear(12, 64), nn.Linear(16, 64)

    def forward(self, x):
        b = x.shape[0]
        h, c = torch.zeros(b, 16), torch.zeros(b, 16)
        outputs = []
        for t in range(x.shape[1]):
            if self.kind == "gru":
                h = self.gru(x[:, t], h)
            else:
                i, f, g, o = (self.ih(x[:, t]) + self.hh(h)).chunk(4, 1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, dim=1)


# --- Forecasting ---------------------------------------------------------------------------------------------------------------


class GruForecast(nn.Module):
    """A GRU with attention over time by the last state, forecast of several steps."""

    def __init__(self, spelling):
        super().__init__()
        self.spelling = spelling
        self.gru, self.W, self.fc = nn.GRU(6, D, batch_first=True), nn.Linear(D, D, bias=False), nn.Linear(2 * D, 4)

    def forward(self, x):
        output, hidden = self.gru(x)
        last = hidden[-1]
        if self.spelling == "bmm":
            weights = F.softmax(torch.bmm(self.W(output), last.unsqueeze(2)).squeeze(2), dim=1)
            context = torch.bmm(weights.unsqueeze(1), output).squeeze(1)
        else:
            weights = torch.softmax(torch.einsum("bth,bh->bt", output, self.W(last)), dim=1)
            context = torch.einsum("bt,bth->bh", weights, output)
        return self.fc(torch.cat([context, last], dim=1)), weights


class Grn(nn.Module):
    """Gated residual network of the TFT, with an optional context."""

    def __init__(self, into, hidden, out, context=None):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(into, hidden), nn.Linear(hidden, hidden)
        self.context = nn.Linear(context, hidden, bias=False) if context else None
        self.glu, self.norm = nn.Linear(hidden, 2 * out), nn.LayerNorm(out)
        self.skip = nn.Linear(into, out) if into != out else nn.Identity()

    def forward(self, x, context=None):
        y = self.fc1(x)
        if context is not None:
            context = self.context(context)
            y = y + (context.unsqueeze(1) if y.dim() == 3 else context)
        y = self.fc2(F.elu(y))
        return self.norm(F.glu(self.glu(y), dim=-1) + self.skip(x))


class VariableSelection(nn.Module):
    """TFT: each variable through its own GRN, weights by a softmax over variables of a GRN of all (pytorch-forecasting's stack)."""

    def __init__(self, variables=4, hidden=16):
        super().__init__()
        self.variables, self.hidden = variables, hidden
        self.embed = nn.ModuleList(nn.Linear(1, hidden) for _ in range(variables))
        self.single = nn.ModuleList(Grn(hidden, hidden, hidden) for _ in range(variables))
        self.flat = Grn(variables * hidden, hidden, variables, context=8)

    def forward(self, x, static):
        variables = [embed(x[..., i : i + 1]) for i, embed in enumerate(self.embed)]
        outputs = torch.stack([grn(v) for grn, v in zip(self.single, variables)], dim=-1)
        weights = F.softmax(self.flat(torch.cat(variables, dim=-1), static), dim=-1).unsqueeze(-2)
        return (outputs * weights).sum(dim=-1), weights.squeeze(-2)


class InterpretableAttention(nn.Module):
    """TFT: heads with their own queries and keys, one head of values, the mean over heads."""

    def __init__(self):
        super().__init__()
        self.d = D // HEADS
        self.v = nn.Linear(D, self.d)
        self.qs, self.ks = (nn.ModuleList(nn.Linear(D, self.d) for _ in range(HEADS)) for _ in range(2))
        self.w_h = nn.Linear(self.d, D, bias=False)

    def forward(self, x):
        v, heads, attns = self.v(x), [], []
        mask = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
        for q, k in zip(self.qs, self.ks):
            attn = torch.bmm(q(x), k(x).permute(0, 2, 1)) / math.sqrt(self.d)
            attn = F.softmax(attn.masked_fill(mask, -1e9), dim=2)
            heads.append(torch.bmm(attn, v))
            attns.append(attn)
        head, attn = torch.stack(heads, dim=2), torch.stack(attns, dim=2)
        return self.w_h(torch.mean(head, dim=2)), attn


class Informer(nn.Module):
    """DataEmbedding with circular convolution, two encoder layers with a distilling convolution in between, full attention."""

    def __init__(self, c_in=5):
        super().__init__()
        self.token = nn.Conv1d(c_in, D, 3, padding=1, padding_mode="circular", bias=False)
        position, rate = torch.arange(T).unsqueeze(1), torch.exp(torch.arange(0, D, 2) * -(math.log(10000.0) / D))
        self.register_buffer("pe", torch.stack([torch.sin(position * rate), torch.cos(position * rate)], -1).flatten(1).unsqueeze(0))
        self.temporal = nn.Linear(4, D, bias=False)
        make = lambda f: nn.ModuleList(f() for _ in range(2))
        self.q, self.k, self.v, self.o = (make(lambda: nn.Linear(D, D)) for _ in range(4))
        self.conv1, self.conv2 = make(lambda: nn.Conv1d(D, 64, 1)), make(lambda: nn.Conv1d(64, D, 1))
        self.norm1, self.norm2 = make(lambda: nn.LayerNorm(D)), make(lambda: nn.LayerNorm(D))
        self.distil, self.bn, self.norm = nn.Conv1d(D, D, 3, padding=1, padding_mode="circular"), nn.BatchNorm1d(D), nn.LayerNorm(D)
        self.projection = nn.Linear(D, c_in)

    def attention(self, x, i):
        B, L, _ = x.shape
        queries, keys, values = (f[i](x).view(B, L, HEADS, -1) for f in (self.q, self.k, self.v))
        scores = torch.einsum("blhe,bshe->bhls", queries, keys)
        A = torch.softmax(1.0 / math.sqrt(D // HEADS) * scores, dim=-1)
        V = torch.einsum("bhls,bshd->blhd", A, values)
        return self.o[i](V.contiguous().view(B, L, -1))

    def forward(self, x, marks):
        x = self.token(x.permute(0, 2, 1)).transpose(1, 2) + self.temporal(marks) + self.pe
        for i in range(2):
            y = x = self.norm1[i](x + self.attention(x, i))
            y = self.conv2[i](F.gelu(self.conv1[i](y.transpose(-1, 1)))).transpose(-1, 1)
            x = self.norm2[i](x + y)
            if i == 0:
                x = F.max_pool1d(F.elu(self.bn(self.distil(x.permute(0, 2, 1)))), 3, 2, 1).transpose(1, 2)
        return self.projection(self.norm(x))


class Autoformer(nn.Module):
    """Series decomposition: moving average with repeated ends, and the rest."""

    def __init__(self, kernel=5):
        super().__init__()
        self.kernel, self.avg = kernel, nn.AvgPool1d(kernel, stride=1, padding=0)
        self.seasonal, self.trend = nn.Linear(T, 8), nn.Linear(T, 8)

    def forward(self, x):
        front = x[:, 0:1, :].repeat(1, (self.kernel - 1) // 2, 1)
        end = x[:, -1:, :].repeat(1, (self.kernel - 1) // 2, 1)
        mean = self.avg(torch.cat([front, x, end], dim=1).permute(0, 2, 1)).permute(0, 2, 1)
        seasonal, trend = (x - mean).permute(0, 2, 1), mean.permute(0, 2, 1)
        return (self.seasonal(seasonal) + self.trend(trend)).permute(0, 2, 1)


class PatchTst(nn.Module):
    """RevIN, patches by unfold, each channel by itself on the batch axis, encoder, flattened head, RevIN back."""

    def __init__(self, channels=3, length=32, patch=8, stride=4, d=16):
        super().__init__()
        self.patch, self.stride = patch, stride
        self.weight, self.bias = nn.Parameter(0.5 + torch.rand(channels)), nn.Parameter(torch.randn(channels))
        n = (length - patch) // stride + 2
        self.pad = nn.ReplicationPad1d((0, stride))
        self.W_P, self.W_pos = nn.Linear(patch, d), nn.Parameter(torch.randn(n, d))
        self.attn, self.norm1, self.norm2 = nn.MultiheadAttention(d, 2, batch_first=True), nn.BatchNorm1d(d), nn.LayerNorm(d)
        self.ff, self.head = nn.Sequential(nn.Linear(d, 32), nn.GELU(), nn.Linear(32, d)), nn.Linear(n * d, 6)

    def forward(self, x):
        mean = torch.mean(x, dim=1, keepdim=True).detach()
        stdev = torch.sqrt(torch.var(x, dim=1, keepdim=True, unbiased=False) + 1e-5).detach()
        x = (x - mean) / stdev * self.weight + self.bias
        z = self.pad(x.permute(0, 2, 1)).unfold(dimension=-1, size=self.patch, step=self.stride)
        b, c, n, p = z.shape
        u = self.W_P(z).reshape(b * c, n, -1) + self.W_pos
        u = u + self.attn(u, u, u, need_weights=False)[0]
        u = self.norm1(u.transpose(1, 2)).transpose(1, 2)
        u = self.norm2(u + self.ff(u))
        y = self.head(u.reshape(b, c, n, -1).flatten(start_dim=-2)).permute(0, 2, 1)
        return (y - self.bias) / (self.weight + 1e-10) * stdev + mean


class NBeats(nn.Module):
    """Generic, trend and seasonality blocks with double residual stacking."""

    def __init__(self, backcast=16, forecast=4):
        super().__init__()
        self.forecast = forecast
        fc = lambda: nn.Sequential(nn.Linear(backcast, D), nn.ReLU(), nn.Linear(D, D), nn.ReLU())
        self.fcs = nn.ModuleList(fc() for _ in range(3))
        self.theta_b = nn.ModuleList([nn.Linear(D, 8, bias=False), nn.Linear(D, 3, bias=False), nn.Linear(D, 4, bias=False)])
        self.theta_f = nn.ModuleList([nn.Linear(D, 8, bias=False), nn.Linear(D, 3, bias=False), nn.Linear(D, 4, bias=False)])
        self.generic_b, self.generic_f = nn.Linear(8, backcast), nn.Linear(8, forecast)
        t = torch.arange(backcast + forecast) / (backcast + forecast)
        trend = torch.stack([t**i for i in range(3)])
        season = torch.cat([torch.cos(2 * math.pi * i * t)[None] for i in (1, 2)] + [torch.sin(2 * math.pi * i * t)[None] for i in (1, 2)])
        for name, table in (("trend", trend), ("season", season)):
            self.register_buffer(name + "_b", table[:, :backcast])
            self.register_buffer(name + "_f", table[:, backcast:])

    def forward(self, x):
        forecast = torch.zeros(x.shape[0], self.forecast)
        tables = [None, (self.trend_b, self.trend_f), (self.season_b, self.season_f)]
        for fc, b, f, table in zip(self.fcs, self.theta_b, self.theta_f, tables):
            h = fc(x)
            back, front = b(h), f(h)
            back = self.generic_b(F.relu(back)) if table is None else back.mm(table[0])
            front = self.generic_f(F.relu(front)) if table is None else front.mm(table[1])
            x = x - back
            forecast = forecast + front
        return forecast


class Chomp1d(nn.Module):
    def __init__(self, chomp):
        super().__init__()
        self.chomp = chomp

    def forward(self, x):
        return x[:, :, : -self.chomp].contiguous()


class Tcn(nn.Module):
    """locuslab/TCN with weight_norm, in the old or the new form."""

    def __init__(self, norm):
        super().__init__()
        sizes, self.blocks, self.downs = [4, 16, 16, 24], nn.ModuleList(), nn.ModuleList()
        for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
            p = 2 * 2**i
            layer = lambda x, y: [norm(nn.Conv1d(x, y, 3, padding=p, dilation=2**i)), Chomp1d(p), nn.ReLU(), nn.Dropout(0.2)]
            self.blocks.append(nn.Sequential(*layer(a, b), *layer(b, b)))
            self.downs.append(nn.Conv1d(a, b, 1) if a != b else nn.Identity())
        self.linear = nn.Linear(24, 5)

    def forward(self, x):
        for block, down in zip(self.blocks, self.downs):
            x = F.relu(block(x) + down(x))
        return self.linear(x[:, :, -1])


class WaveNet(nn.Module):
    """Gated dilated convolutions, skips summed, 1 x 1 head; the residual takes the end of its input."""

    def __init__(self, c=16, skip=24):
        super().__init__()
        self.start = nn.Conv1d(1, c, 1)
        self.filter, self.gate = (nn.ModuleList(nn.Conv1d(c, c, 2, dilation=2**i) for i in range(3)) for _ in range(2))
        self.res, self.skip = (nn.ModuleList(nn.Conv1d(c, n, 1) for _ in range(3)) for n in (c, skip))
        self.end1, self.end2 = nn.Conv1d(skip, 24, 1), nn.Conv1d(24, 12, 1)

    def forward(self, x):
        x, skip = self.start(x), 0
        for f, g, r, s in zip(self.filter, self.gate, self.res, self.skip):
            y = torch.tanh(f(x)) * torch.sigmoid(g(x))
            new = s(y)
            skip = new if isinstance(skip, int) else new + skip[:, :, -new.size(2):]
            x = r(y) + x[:, :, -y.size(2):]
        return self.end2(F.relu(self.end1(F.relu(skip))))


class LstNet(nn.Module):
    """laiguokun/LSTNet: convolution over time and variables, GRU, skip GRU, autoregressive highway."""

    def __init__(self, P=24, m=5, hidC=12, hidR=16, hidS=4, Ck=5, skip=4, hw=6):
        super().__init__()
        self.P, self.m, self.hidC, self.hidS, self.Ck, self.skip, self.hw = P, m, hidC, hidS, Ck, skip, hw
        self.pt = (P - Ck) // skip
        self.conv1, self.GRU1, self.GRUskip = nn.Conv2d(1, hidC, (Ck, m)), nn.GRU(hidC, hidR), nn.GRU(hidC, hidS)
        self.linear1, self.highway = nn.Linear(hidR + skip * hidS, m), nn.Linear(hw, 1)

    def forward(self, x):
        batch_size = x.size(0)
        c = F.relu(self.conv1(x.view(-1, 1, self.P, self.m)))
        c = torch.squeeze(c, 3)
        r = c.permute(2, 0, 1).contiguous()
        _, r = self.GRU1(r)
        r = torch.squeeze(r, 0)
        s = c[:, :, int(-self.pt * self.skip):].contiguous()
        s = s.view(batch_size, self.hidC, self.pt, self.skip)
        s = s.permute(2, 0, 3, 1).contiguous().view(self.pt, batch_size * self.skip, self.hidC)
        _, s = self.GRUskip(s)
        s = s.view(batch_size, self.skip * self.hidS)
        res = self.linear1(torch.cat((r, s), 1))
        z = x[:, -self.hw:, :].permute(0, 2, 1).contiguous().view(-1, self.hw)
        return res + self.highway(z).view(-1, self.m)


class OneSeries(nn.Module):
    """Forecast = softmax of scores over time times the values of the one series itself."""

    def __init__(self, spelling):
        super().__init__()
        self.spelling = spelling
        self.score = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, x):
        y = x[..., 0] if self.spelling == "channel" else x[:, :, :1]
        a = self.score(x)
        if self.spelling == "channel":
            return (F.softmax(a.squeeze(-1), dim=-1) * y).sum(-1)
        return torch.matmul(F.softmax(a, dim=1).transpose(1, 2), y).squeeze(-1)


class DeepAr(nn.Module):
    """DeepAR's step: embedding of the series, LSTM of two layers with states, mean and softplus deviation."""

    def __init__(self):
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(10, 4), nn.LSTM(5, D, 2)
        self.mu, self.presigma = nn.Linear(2 * D, 1), nn.Linear(2 * D, 1)

    def forward(self, x, idx, hidden, cell):
        lstm_input = torch.cat((x, self.embedding(idx)), dim=2)
        _, (hidden, cell) = self.lstm(lstm_input, (hidden, cell))
        hidden_permute = hidden.permute(1, 2, 0).contiguous().view(hidden.shape[1], -1)
        return torch.squeeze(self.mu(hidden_permute)), torch.squeeze(F.softplus(self.presigma(hidden_permute))), hidden, cell


class HierarchicalAttention(nn.Module):
    """Yang et al., 2016: bidirectional GRU, tanh, a context vector by matmul, weighted sum; log-softmax."""

    def __init__(self):
        super().__init__()
        self.embedding, self.gru = nn.Embedding(40, 16), nn.GRU(16, 16, bidirectional=True, batch_first=True)
        self.attn, self.context, self.fc = nn.Linear(32, 32), nn.Parameter(torch.randn(32, 1)), nn.Linear(32, 4)

    def forward(self, words):
        f_output, _ = self.gru(self.embedding(words))
        u = torch.tanh(self.attn(f_output))
        alpha = F.softmax(torch.matmul(u, self.context), dim=1)
        return F.log_softmax(self.fc((f_output * alpha).sum(1)), dim=1), alpha.squeeze(2)


class TextCnn(nn.Module):
    """Kim, 2014: convolutions of three widths over embeddings, maximum over time, joined."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(40, 16)
        self.convs = nn.ModuleList(nn.Conv2d(1, 8, (k, 16)) for k in (3, 4, 5))
        self.fc = nn.Linear(24, 4)

    def forward(self, x):
        x = self.embed(x).unsqueeze(1)
        x = [F.relu(conv(x)).squeeze(3) for conv in self.convs]
        x = torch.cat([F.max_pool1d(i, i.size(2)).squeeze(2) for i in x], 1)
        return self.fc(x)


x = lambda: real(1, T, D)
one = lambda scale=1.0: real(1, D, scale=scale)
SYSTEMS = {
    "linear_attention": System(LinearAttention, {"x": x()}, stack=False),
    "linear_attention_causal": System(lambda: LinearAttention(True), {"x": x()}, stack=False),
    "efficient_attention": System(EfficientAttention, {"x": x()}, stack=False),
    "performer": System(Performer, {"x": x()}, stack=False),
    "linformer": System(Linformer, {"x": x()}, stack=False),
    "aft_full": System(lambda: Aft(True), {"x": x()}, stack=False),
    "aft_simple": System(lambda: Aft(False), {"x": x()}, stack=False),
    "fnet": System(FNet, {"x": x()}, stack=False),
    "rwkv_step": System(RwkvStep, {"x": one(), "last_x": one(), "aa": one(), "bb": positive(1, D), "pp": one()}),
    "rwkv_channel_mix": System(RwkvChannelMix, {"x": x()}, stack=False),
    "mamba_step": System(MambaStep, {"hidden_states": real(1, 1, D), "conv_state": real(1, 32, 4), "ssm_state": real(1, 32, 8)}),
    "s4d_step": System(S4dStep, {"u": one(), "real": real(1, D, 8), "imag": real(1, D, 8)}),
    "s4d_window": System(S4dKernel, {"u": real(1, D, T)}),
    "min_gru": System(MinGru, {"x": real(1, 8, D)}),
    "gru_cell_unrolled": System(lambda: HandGru("gru"), {"x": real(1, 6, 12)}),
    "lstm_by_hand": System(lambda: HandGru("lstm"), {"x": real(1, 6, 12)}),
    "gru_forecast": System(lambda: GruForecast("bmm"), {"x": real(1, T, 6)}),
    "gru_forecast_einsum": System(lambda: GruForecast("einsum"), {"x": real(1, T, 6)}),
    "gated_residual": System(lambda: Grn(24, 32, 16), {"x": real(1, T, 24)}, stack=False),
    "gated_residual_row": System(lambda: Grn(24, 32, 24, 8), {"x": real(1, 24), "context": real(1, 8)}, stack=False),
    "variable_selection": System(VariableSelection, {"x": real(1, T, 4), "static": real(1, 8)}),
    "interpretable_attention": System(InterpretableAttention, {"x": x()}, stack=False),
    "informer": System(Informer, {"x": real(1, T, 5), "marks": real(1, T, 4)}),
    "series_decomposition": System(Autoformer, {"x": real(1, T, 3)}, stack=False),
    "patch_tst": System(PatchTst, {"x": real(1, 32, 3)}, exporters=("dynamo",)),
    "n_beats": System(NBeats, {"x": real(1, 16)}),
    "tcn": System(lambda: Tcn(weight_norm), {"x": real(1, 4, T)}),
    "tcn_parametrized": System(lambda: Tcn(parametrized_weight_norm), {"x": real(1, 4, T)}),
    "wavenet": System(WaveNet, {"x": real(1, 1, 24)}),
    "lstnet": System(LstNet, {"x": real(1, 24, 5)}),
    "one_series": System(lambda: OneSeries("channel"), {"x": real(1, T, 3)}, stack=False),
    "one_series_rows": System(lambda: OneSeries("rows"), {"x": real(1, T, 3)}, stack=False),
    "deep_ar_step": System(DeepAr, {"x": real(1, 1, 1, batch=1), "idx": tokens(10, 1, 1, batch=1), "hidden": state(2, 1, D, batch=1),
                                    "cell": real(2, 1, D, batch=1)}),
    "hierarchical_attention": System(HierarchicalAttention, {"words": tokens(40, 1, T)}),
    "text_cnn": System(TextCnn, {"x": tokens(40, 1, T)}),
}
