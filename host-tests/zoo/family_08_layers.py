"""PyTorch's own layers with each of their options, and newer attention and recurrent layers in their authors' code."""

import math

import torch
import torch.nn.functional as F
from inputs import Input, System, lengths_mask, padding_mask, positive, real, state, tokens
from torch import nn

T, D, HEADS = 12, 24, 4


# --- Options of PyTorch's layers -----------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """nn.GRU, nn.LSTM and nn.RNN with options; without states, with zeros made in forward, or with states as inputs."""

    def __init__(self, kind, zeros=False, **words):
        super().__init__()
        self.kind, self.zeros = kind, zeros
        self.rnn = getattr(nn, kind)(D, 16, **words)

    def forward(self, x, h=None, c=None):
        states = tuple(given for given in (h, c) if given is not None)
        if self.zeros:
            count = self.rnn.num_layers * (2 if self.rnn.bidirectional else 1)
            h0 = torch.zeros(count, x.size(0 if self.rnn.batch_first else 1), self.rnn.hidden_size)
            states = (h0, torch.zeros_like(h0)) if self.kind == "LSTM" else (h0,)
        if not states:
            return self.rnn(x)
        return self.rnn(x, states if self.kind == "LSTM" else states[0])


class LastByLength(nn.Module):
    """The last row in use of a padded batch: by gather, or by index, from a length that is an input."""

    def __init__(self, spelling):
        super().__init__()
        self.spelling, self.gru, self.fc = spelling, nn.GRU(D, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x, length):
        y, _ = self.gru(x)
        if self.spelling == "gather":
            last = y.gather(1, (length - 1).view(-1, 1, 1).expand(-1, 1, y.size(2))).squeeze(1)
        elif self.spelling == "index":
            last = y[torch.arange(y.size(0)), length - 1]
        else:
            mask = (torch.arange(y.size(1))[None, :] < length[:, None]).unsqueeze(-1).float()
            last = (y * mask).sum(1) / length[:, None]
        return self.fc(last)


class Mha(nn.Module):
    """nn.MultiheadAttention with options."""

    def __init__(self, kdim=None, **words):
        super().__init__()
        if kdim:
            words.update(kdim=kdim, vdim=kdim + 2)
        self.attention = nn.MultiheadAttention(D, HEADS, batch_first=True, **words)

    def forward(self, x, memory=None, values=None):
        if memory is not None:
            return self.attention(x, memory, values)
        return self.attention(x, x, x, average_attn_weights=False)


class MhaPadded(nn.Module):
    """key_padding_mask and attn_mask together, averaged weights too."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(D, HEADS, batch_first=True)
        self.register_buffer("causal", torch.triu(torch.ones(T, T, dtype=torch.bool), 1))

    def forward(self, x, padding):
        return self.attention(x, x, x, key_padding_mask=padding, attn_mask=self.causal)


class Unbatched(nn.Module):
    """Layers on rows without a batch axis: nn.MultiheadAttention, nn.GRU, nn.Conv1d."""

    def __init__(self):
        super().__init__()
        self.attention, self.gru, self.conv = nn.MultiheadAttention(D, HEADS), nn.GRU(D, D), nn.Conv1d(D, 8, 3, padding=1)

    def forward(self, x):
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x, h = self.gru(x)
        return self.conv(x.t()).t(), h


class TimeFirstLayer(nn.Module):
    """nn.TransformerEncoderLayer, time first, with the final output's mean."""

    def __init__(self):
        super().__init__()
        self.layer, self.fc = nn.TransformerEncoderLayer(D, HEADS, 48), nn.Linear(D, 3)

    def forward(self, x):
        return self.fc(self.layer(x).mean(dim=0))


class BertMask(nn.Module):
    """Hugging Face's extended attention mask: (1 - mask[:, None, None, :]) * min, added; the mask is int64; token types too."""

    def __init__(self):
        super().__init__()
        self.word, self.place, self.kind = nn.Embedding(40, D), nn.Embedding(32, D), nn.Embedding(2, D)
        self.norm, self.norm2, self.norm3 = (nn.LayerNorm(D, eps=1e-12) for _ in range(3))
        self.query, self.key, self.value, self.dense = (nn.Linear(D, D) for _ in range(4))
        self.up, self.down, self.pooler, self.classifier = nn.Linear(D, 48), nn.Linear(48, D), nn.Linear(D, D), nn.Linear(D, 3)
        self.register_buffer("position_ids", torch.arange(32).expand((1, -1)))

    def transpose_for_scores(self, x):
        return x.view(x.size()[:-1] + (HEADS, D // HEADS)).permute(0, 2, 1, 3)

    def forward(self, input_ids, attention_mask, token_type_ids):
        extended = attention_mask[:, None, None, :].to(dtype=torch.float32)
        extended = (1.0 - extended) * torch.finfo(torch.float32).min
        x = self.word(input_ids) + self.kind(token_type_ids) + self.place(self.position_ids[:, : input_ids.size(1)])
        x = self.norm(x)
        q, k, v = (self.transpose_for_scores(f(x)) for f in (self.query, self.key, self.value))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(D // HEADS) + extended
        context = torch.matmul(F.softmax(scores, dim=-1), v).permute(0, 2, 1, 3).contiguous()
        x = self.norm2(self.dense(context.view(context.size()[:-2] + (D,))) + x)
        x = self.norm3(self.down(F.gelu(self.up(x))) + x)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


# --- Attention with other scores -----------------------------------------------------------------------------------------------


class CosineAttention(nn.Module):
    """Swin V2: normalised queries and keys, a clamped log scale, the bias 16 * sigmoid of a small MLP of coordinates."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(D, 3 * D, bias=False), nn.Linear(D, D)
        self.logit_scale = nn.Parameter(torch.log(10 * torch.ones((HEADS, 1, 1))))
        self.q_bias, self.v_bias = nn.Parameter(0.2 * torch.randn(D)), nn.Parameter(0.2 * torch.randn(D))
        self.cpb_mlp = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, HEADS, bias=False))
        self.register_buffer("coords", torch.arange(-(T - 1), T).float().unsqueeze(1) / T)
        self.register_buffer("index", torch.arange(T)[:, None] - torch.arange(T) + T - 1)

    def forward(self, x):
        B, N, C = x.shape
        bias = torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))
        qkv = F.linear(x, self.qkv.weight, bias).reshape(B, N, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        attn = attn * torch.clamp(self.logit_scale, max=math.log(1.0 / 0.01)).exp()
        relative = 16 * torch.sigmoid(self.cpb_mlp(self.coords)[self.index.view(-1)].view(N, N, -1).permute(2, 0, 1))
        attn = (attn + relative.unsqueeze(0)).softmax(-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


class ShawAttention(nn.Module):
    """Shaw et al., 2018: relative keys and values, [T, T, d] tables multiplied by each query."""

    def __init__(self, longest=4):
        super().__init__()
        d = D // HEADS
        self.q, self.k, self.v, self.out = (nn.Linear(D, D) for _ in range(4))
        self.relative_k, self.relative_v = nn.Embedding(2 * longest + 1, d), nn.Embedding(2 * longest + 1, d)
        distance = torch.arange(T)[None, :] - torch.arange(T)[:, None]
        self.register_buffer("index", torch.clamp(distance, -longest, longest) + longest)

    def forward(self, x):
        b, n, _ = x.shape
        q, k, v = (f(x).view(b, -1, HEADS, D // HEADS) for f in (self.q, self.k, self.v))
        attn1 = torch.matmul(q.permute(0, 2, 1, 3), k.permute(0, 2, 3, 1))
        r_q2 = q.permute(1, 0, 2, 3).contiguous().view(n, b * HEADS, -1)
        attn2 = torch.matmul(r_q2, self.relative_k(self.index).transpose(1, 2)).transpose(0, 1)
        attn2 = attn2.contiguous().view(b, HEADS, n, n)
        attn = torch.softmax((attn1 + attn2) / math.sqrt(D // HEADS), dim=-1)
        weight1 = torch.matmul(attn, v.permute(0, 2, 1, 3))
        weight2 = attn.permute(2, 0, 1, 3).contiguous().view(n, b * HEADS, n)
        weight2 = torch.matmul(weight2, self.relative_v(self.index)).transpose(0, 1).contiguous().view(b, HEADS, n, -1)
        return self.out((weight1 + weight2).permute(0, 2, 1, 3).contiguous().view(b, -1, D))


class MusicTransformer(nn.Module):
    """The skew: pad, reshape, slice of Q times relative embeddings, causal."""

    def __init__(self):
        super().__init__()
        self.qkv, self.Er = nn.Linear(D, 3 * D), nn.Parameter(torch.randn(T, D // HEADS))
        self.register_buffer("mask", torch.tril(torch.ones(T, T)).unsqueeze(0).unsqueeze(0))

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (y.reshape(b, t, HEADS, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        padded = F.pad(torch.matmul(q, self.Er.transpose(0, 1)), (1, 0))
        srel = padded.reshape(b, HEADS, t + 1, t)[:, :, 1:, :]
        attn = (torch.matmul(q, k.transpose(2, 3)) + srel) / math.sqrt(q.size(-1))
        attn = F.softmax(attn.masked_fill(self.mask == 0, float("-inf")), dim=-1)
        return torch.matmul(attn, v).transpose(1, 2).reshape(b, t, -1)


class Deberta(nn.Module):
    """Content to position and position to content, each gathered by a table of distances (torch.gather)."""

    def __init__(self, span=T):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(D, D) for _ in range(3))
        self.rel = nn.Parameter(torch.randn(2 * span, D) / 3)
        self.register_buffer("c2p", (torch.arange(T)[:, None] - torch.arange(T) + span).clamp(0, 2 * span - 1))

    def forward(self, x):
        b = x.shape[0]
        split = lambda y: y.view(y.shape[0], -1, HEADS, D // HEADS).transpose(1, 2)
        q, k, v = split(self.q(x)), split(self.k(x)), split(self.v(x))
        pk, pq = split(self.k(self.rel.unsqueeze(0))), split(self.q(self.rel.unsqueeze(0)))
        index = self.c2p.expand(b, HEADS, T, T)
        c2p = torch.gather(q @ pk.transpose(-1, -2), -1, index)
        p2c = torch.gather(k @ pq.transpose(-1, -2), -1, index).transpose(-1, -2)
        scores = (q @ k.transpose(-1, -2) + c2p + p2c) / math.sqrt(3 * D // HEADS)
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, T, D)


class GatedMil(nn.Module):
    """Ilse et al., 2018: gated attention over a bag; tanh times sigmoid, transposed, softmax over instances; no batch axis."""

    def __init__(self):
        super().__init__()
        self.V, self.U, self.w, self.fc = nn.Linear(D, 16), nn.Linear(D, 16), nn.Linear(16, 2), nn.Linear(2 * D, 1)

    def forward(self, H):
        A = self.w(torch.tanh(self.V(H)) * torch.sigmoid(self.U(H)))
        A = F.softmax(torch.transpose(A, 1, 0), dim=1)
        Z = torch.mm(A, H)
        return torch.sigmoid(self.fc(Z.view(-1, 2 * D))), A


class Nystrom(nn.Module):
    """Nyströmformer: landmarks by means of segments, the iterative pseudo-inverse, a depthwise residual over time."""

    def __init__(self, landmarks=4):
        super().__init__()
        self.m, self.qkv = landmarks, nn.Linear(D, 3 * D)
        self.conv = nn.Conv2d(HEADS, HEADS, (3, 1), padding=(1, 0), groups=HEADS, bias=False)

    def inverse(self, mat, n_iter=3):
        I = torch.eye(mat.size(-1))
        K = mat
        V = 1 / torch.max(torch.sum(K, dim=-2), dim=-1).values[:, :, None, None] * K.transpose(-1, -2)
        for _ in range(n_iter):
            KV = torch.matmul(K, V)
            V = torch.matmul(0.25 * V, 13 * I - torch.matmul(KV, 15 * I - torch.matmul(KV, 7 * I - KV)))
        return V

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (y.reshape(b, t, HEADS, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        q, k = q / math.sqrt(math.sqrt(D // HEADS)), k / math.sqrt(math.sqrt(D // HEADS))
        mean = lambda y: y.reshape(-1, HEADS, self.m, t // self.m, D // HEADS).mean(dim=-2)
        ql, kl = mean(q), mean(k)
        k1, k2, k3 = (F.softmax(a @ c.transpose(-1, -2), dim=-1) for a, c in ((q, kl), (ql, kl), (ql, k)))
        y = torch.matmul(torch.matmul(k1, self.inverse(k2)), torch.matmul(k3, v)) + self.conv(v)
        return y.transpose(1, 2).reshape(b, t, D)


class Synthesizer(nn.Module):
    """Scores from a dense layer of each query alone, or a learned table."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Sequential(nn.Linear(D, D), nn.ReLU(), nn.Linear(D, T))
        self.table, self.v = nn.Parameter(torch.randn(T, T)), nn.Linear(D, D)

    def forward(self, x):
        v = self.v(x)
        return F.softmax(self.dense(x), dim=-1) @ v + F.softmax(self.table, dim=-1) @ v


class Softcap(nn.Module):
    """Gemma 2: query scale, scores tanh-capped, sliding causal window; RMSNorm with 1 + weight; GeGLU by tanh."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(D, D), nn.Linear(D, D // 2), nn.Linear(D, D // 2), nn.Linear(D, D)
        self.weight, self.gate, self.up, self.down = (
            nn.Parameter(0.2 * torch.randn(D)),
            nn.Linear(D, 48),
            nn.Linear(D, 48),
            nn.Linear(48, D),
        )

    def norm(self, x):
        y = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)
        return (y * (1.0 + self.weight.float())).type_as(x)

    def forward(self, x):
        b, t, _ = x.shape
        y = self.norm(x)
        q = self.q(y).view(b, t, HEADS, -1).transpose(1, 2)
        k, v = (f(y).view(b, t, HEADS // 2, -1).transpose(1, 2) for f in (self.k, self.v))
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        scores = torch.matmul(q, k.transpose(2, 3)) * 0.3
        scores = torch.tanh(scores / 5.0) * 5.0
        i, j = torch.arange(t)[:, None], torch.arange(t)[None, :]
        mask = torch.where((j <= i) & (j > i - 4), 0.0, torch.finfo(torch.float32).min)
        weights = F.softmax(scores + mask, dim=-1, dtype=torch.float32)
        x = x + self.o(torch.matmul(weights, v).transpose(1, 2).reshape(b, t, -1))
        y = self.norm(x)
        return x + self.down(F.gelu(self.gate(y), approximate="tanh") * self.up(y))


class AttentionSink(nn.Module):
    """A learned extra logit in each row (gpt-oss), or softmax with + 1 (softmax_one)."""

    def __init__(self, learned):
        super().__init__()
        self.learned, self.qkv, self.sinks = learned, nn.Linear(D, 3 * D), nn.Parameter(torch.randn(HEADS))

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(D // HEADS)
        if self.learned:
            sinks = self.sinks.reshape(1, -1, 1, 1).expand(b, -1, t, -1)
            weights = torch.softmax(torch.cat([scores, sinks], dim=-1), dim=-1)[..., :-1]
        else:
            top = scores.max(dim=-1, keepdim=True).values.clamp(min=0)
            e = torch.exp(scores - top)
            weights = e / (torch.exp(-top) + e.sum(-1, keepdim=True))
        return (weights @ v).transpose(1, 2).reshape(b, t, D)


class DifferentialAttention(nn.Module):
    """Two softmaxes, one subtracted with a learned factor; a norm of each head."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(D, D) for _ in range(3))
        self.lambdas, self.weight = nn.ParameterList(nn.Parameter(0.3 * torch.randn(3)) for _ in range(4)), nn.Parameter(torch.rand(6))

    def forward(self, x):
        b, t, _ = x.shape
        q, k = (f(x).view(b, t, 2 * HEADS, 3).transpose(1, 2) for f in (self.q, self.k))
        v = self.v(x).view(b, t, HEADS, 6).transpose(1, 2)
        attn = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(3), dim=-1)
        l1, l2 = (torch.exp(torch.sum(self.lambdas[i] * self.lambdas[i + 1], dim=-1)) for i in (0, 2))
        attn = attn.view(b, HEADS, 2, t, t)
        attn = attn[:, :, 0] - (l1 - l2 + 0.2) * attn[:, :, 1]
        y = attn @ v
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight
        return (y * 0.8).transpose(1, 2).reshape(b, t, D)


class LatentAttention(nn.Module):
    """DeepSeek's: keys and values from a small latent, a rotary part shared by heads joined to each key, values narrower than keys."""

    def __init__(self, latent=12, nope=4, rope=4, vdim=6):
        super().__init__()
        self.nope, self.rope, self.vdim, self.latent = nope, rope, vdim, latent
        self.q, self.kv_a = nn.Linear(D, HEADS * (nope + rope)), nn.Linear(D, latent + rope)
        self.kv_norm, self.kv_b, self.o = nn.LayerNorm(latent), nn.Linear(latent, HEADS * (nope + vdim)), nn.Linear(HEADS * vdim, D)
        angle = torch.arange(T)[:, None] / 100 ** (torch.arange(0, rope, 2) / rope)
        self.register_buffer("cos", torch.cat([angle, angle], -1).cos())
        self.register_buffer("sin", torch.cat([angle, angle], -1).sin())

    def turn(self, x):
        a, b = x[..., : self.rope // 2], x[..., self.rope // 2 :]
        return x * self.cos + torch.cat((-b, a), dim=-1) * self.sin

    def forward(self, x):
        b, t, _ = x.shape
        q_nope, q_pe = self.q(x).view(b, t, HEADS, -1).transpose(1, 2).split([self.nope, self.rope], dim=-1)
        kv, k_pe = self.kv_a(x).split([self.latent, self.rope], dim=-1)
        k_nope, v = self.kv_b(self.kv_norm(kv)).view(b, t, HEADS, -1).transpose(1, 2).split([self.nope, self.vdim], dim=-1)
        k_pe = self.turn(k_pe.view(b, t, 1, self.rope).transpose(1, 2))
        q = torch.cat([q_nope, self.turn(q_pe)], dim=-1)
        k = torch.cat([k_nope, k_pe.expand(-1, HEADS, -1, -1)], dim=-1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(y.transpose(1, 2).reshape(b, t, -1))


# --- Newer recurrences ---------------------------------------------------------------------------------------------------------


class Retention(nn.Module):
    """RetNet over a window: a decay mask in place of the softmax, group norm of heads, swish gate."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.g, self.o = (nn.Linear(D, D, bias=False) for _ in range(5))
        gamma = 1 - 2.0 ** (-5 - torch.arange(HEADS).float())
        n = torch.arange(T)
        self.register_buffer("decay", torch.tril(gamma[:, None, None] ** (n[:, None] - n).clamp(min=0)))
        self.norm = nn.GroupNorm(HEADS, D)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (f(x).view(b, t, HEADS, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = ((q @ k.transpose(-1, -2)) * self.decay) @ v
        y = self.norm(y.transpose(1, 2).reshape(b * t, D)).view(b, t, D)
        return self.o(F.silu(self.g(x)) * y)


class RetentionStep(nn.Module):
    """RetNet or gated linear attention, one token: outer product into a state [heads, d, d]."""

    def __init__(self):
        super().__init__()
        self.qkv, self.gate, self.o = nn.Linear(D, 3 * D), nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, x, S):
        q, k, v = (y.view(-1, HEADS, D // HEADS) for y in self.qkv(x).chunk(3, dim=-1))
        alpha = torch.sigmoid(self.gate(x)).view(-1, HEADS, D // HEADS)
        S = alpha.unsqueeze(-1) * S + k.unsqueeze(-1) * v.unsqueeze(-2)
        y = (q.unsqueeze(-2) @ S).squeeze(-2)
        return self.o(y.reshape(-1, D)), S


class DeltaRuleStep(nn.Module):
    """DeltaNet: what the memory says of this key is taken out first; L2-normalised keys."""

    def __init__(self):
        super().__init__()
        self.qkv, self.beta = nn.Linear(D, 3 * D), nn.Linear(D, HEADS)

    def forward(self, x, S):
        q, k, v = (y.view(-1, HEADS, D // HEADS) for y in self.qkv(x).chunk(3, dim=-1))
        k = k / k.norm(dim=-1, keepdim=True)
        beta = self.beta(x).sigmoid().unsqueeze(-1)
        old = torch.einsum("bhk,bhkv->bhv", k, S)
        S = S + torch.einsum("bhk,bhv->bhkv", k, beta * (v - old))
        return torch.einsum("bhk,bhkv->bhv", q, S).flatten(1), S


class RgLruStep(nn.Module):
    """Griffin: gates, a decay by exp of softplus, sqrt(1 - a^2) on the input."""

    def __init__(self):
        super().__init__()
        self.input_gate, self.a_gate, self.a_param = nn.Linear(D, D), nn.Linear(D, D), nn.Parameter(torch.randn(D))

    def forward(self, x, h):
        log_a = -8.0 * torch.sigmoid(self.a_gate(x)) * F.softplus(self.a_param)
        a = torch.exp(log_a)
        h = a * h + torch.sqrt(1 - torch.exp(2 * log_a)) * (torch.sigmoid(self.input_gate(x)) * x)
        return h


class SlstmStep(nn.Module):
    """xLSTM's sLSTM: exponential gates with a stabiliser state and a normaliser."""

    def __init__(self):
        super().__init__()
        self.w, self.r = nn.Linear(D, 4 * D), nn.Linear(D, 4 * D, bias=False)

    def forward(self, x, h, c, n, m):
        i, f, z, o = (self.w(x) + self.r(h)).chunk(4, dim=1)
        m_new = torch.maximum(F.logsigmoid(f) + m, i)
        i, f = torch.exp(i - m_new), torch.exp(F.logsigmoid(f) + m - m_new)
        c = f * c + i * torch.tanh(z)
        n = f * n + i
        h = torch.sigmoid(o) * c / n
        return h, c, n, m_new


class Sru(nn.Module):
    """SRU and QRNN over a short window, unrolled: light recurrence, highway."""

    def __init__(self):
        super().__init__()
        self.w, self.v_f, self.v_r = nn.Linear(D, 3 * D), nn.Parameter(torch.randn(D)), nn.Parameter(torch.randn(D))

    def forward(self, x):
        x_tilde, f_x, r_x = self.w(x).chunk(3, -1)
        c, out = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            f = torch.sigmoid(f_x[:, t] + self.v_f * c)
            r = torch.sigmoid(r_x[:, t] + self.v_r * c)
            c = f * c + (1 - f) * x_tilde[:, t]
            out.append(r * c + (1 - r) * x[:, t])
        return torch.stack(out, 1)


class LiquidStep(nn.Module):
    """CfC: backbone with LeCun tanh, interpolation by time sigmoid(-ta * ts + tb)."""

    def __init__(self):
        super().__init__()
        self.backbone, self.ff1, self.ff2, self.ta, self.tb = nn.Linear(D + 16, 32), *(nn.Linear(32, 16) for _ in range(4))

    def forward(self, x, hx, ts):
        x = 1.7159 * torch.tanh(0.666 * self.backbone(torch.cat([x, hx], 1)))
        ff1, ff2 = torch.tanh(self.ff1(x)), torch.tanh(self.ff2(x))
        t_interp = torch.sigmoid(-self.ta(x) * ts + self.tb(x))
        return ff1 * (1.0 - t_interp) + t_interp * ff2


lengths = lambda: Input((1,), lambda rng, s: rng.integers(4, T + 1, size=s))
x, rows = lambda: real(1, T, D), lambda n: {"x": real(1, n, D)}
row = lambda: real(1, D)
SYSTEMS = {
    "gru_zeros": System(lambda: Recurrent("GRU", True, batch_first=True, num_layers=2), {"x": x()}),
    "lstm_zeros_bidirectional": System(lambda: Recurrent("LSTM", True, batch_first=True, num_layers=2, bidirectional=True), {"x": x()}),
    "gru_no_bias": System(lambda: Recurrent("GRU", batch_first=True, bias=False), {"x": x()}),
    "rnn_tanh": System(lambda: Recurrent("RNN", batch_first=True, num_layers=2), {"x": x()}),
    "rnn_relu": System(lambda: Recurrent("RNN", batch_first=True, nonlinearity="relu"), {"x": x()}),
    "gru_bidirectional_state": System(
        lambda: Recurrent("GRU", bidirectional=True), {"x": real(T, 1, D, batch=1), "h": state(2, 1, 16, batch=1)}
    ),
    "lstm_bidirectional_state": System(
        lambda: Recurrent("LSTM", bidirectional=True),
        {"x": real(T, 1, D, batch=1), "h": state(2, 1, 16, batch=1), "c": real(2, 1, 16, batch=1)},
    ),
    **{
        f"last_by_{kind}": System(lambda kind=kind: LastByLength(kind), {"x": x(), "length": lengths()})
        for kind in ("gather", "index", "mean")
    },
    "mha_weights_per_head": System(lambda: Mha(), {"x": x()}, stack=False),
    "mha_other_widths": System(lambda: Mha(16), {"x": x(), "memory": real(1, 8, 16), "values": real(1, 8, 18)}, stack=False),
    "mha_bias_kv": System(lambda: Mha(add_bias_kv=True), {"x": x()}, stack=False),
    "mha_zero_attn": System(lambda: Mha(add_zero_attn=True), {"x": x()}, stack=False),
    "mha_padded_causal": System(MhaPadded, {"x": x(), "padding": padding_mask(1, T)}, stack=False),
    "unbatched": System(Unbatched, {"x": real(T, D, batch=None)}),
    "time_first_layer": System(TimeFirstLayer, {"x": real(T, 1, D, batch=1)}),
    "bert": System(
        BertMask,
        {"input_ids": tokens(40, 1, T), "attention_mask": lengths_mask(1, T, dtype="int64"), "token_type_ids": tokens(2, 1, T)},
    ),
    "bert_flagged": System(
        BertMask,
        {"input_ids": tokens(40, 1, T), "attention_mask": lengths_mask(1, T, dtype="int64"), "token_type_ids": tokens(2, 1, T)},
        flags=("--mask", "attention_mask", "--pad", "0"),
    ),
    "cosine_attention": System(CosineAttention, {"x": x()}, stack=False),
    "shaw_relative": System(ShawAttention, {"x": x()}, stack=False),
    "music_transformer": System(MusicTransformer, {"x": x()}, stack=False),
    "deberta": System(Deberta, {"x": x()}, stack=False),
    "gated_mil": System(GatedMil, {"H": real(10, D, batch=None)}, stack=False),
    "nystrom": System(Nystrom, {"x": x()}, stack=False),
    "synthesizer": System(Synthesizer, {"x": x()}, stack=False),
    "gemma_softcap": System(Softcap, {"x": x()}),
    "attention_sink": System(lambda: AttentionSink(True), {"x": x()}, stack=False),
    "softmax_one": System(lambda: AttentionSink(False), {"x": x()}, stack=False),
    "differential_attention": System(DifferentialAttention, {"x": x()}, stack=False),
    "latent_attention": System(LatentAttention, {"x": x()}, stack=False),
    "retention": System(Retention, {"x": x()}, stack=False),
    "retention_step": System(RetentionStep, {"x": row(), "S": real(1, HEADS, 6, 6)}),
    "delta_rule_step": System(DeltaRuleStep, {"x": row(), "S": real(1, HEADS, 6, 6)}),
    "rg_lru_step": System(RgLruStep, {"x": row(), "h": row()}),
    "slstm_step": System(SlstmStep, {"x": row(), "h": state(1, D), "c": row(), "n": positive(1, D), "m": row()}),
    "sru": System(Sru, rows(6)),
    "liquid_step": System(LiquidStep, {"x": row(), "hx": state(1, 16), "ts": positive(1, 1)}),
}
