"""Transformers as their authors write them: annotated transformer, nanoGPT, llama2.c, nn.Transformer, T5, ALiBi, Transformer-XL."""

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from inputs import System, constant, lengths_mask, padding_mask, real, tokens
from torch import nn

T, D, HEADS, WORDS = 16, 32, 4, 40


# --- The annotated transformer (Harvard NLP) -----------------------------------------------------------------------------------


def clones(module, n):
    return nn.ModuleList([copy.deepcopy(module) for _ in range(n)])


class AnnotatedLayerNorm(nn.Module):
    """Its own: by the standard deviation with Bessel's correction, and eps outside of the root."""

    def __init__(self, features, eps=1e-6):
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(features))
        self.b_2 = nn.Parameter(torch.zeros(features))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        std = x.std(-1, keepdim=True)
        return self.a_2 * (x - mean) / (std + self.eps) + self.b_2


class SublayerConnection(nn.Module):
    def __init__(self, size, dropout):
        super().__init__()
        self.norm = AnnotatedLayerNorm(size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, sublayer):
        return x + self.dropout(sublayer(self.norm(x)))


def attention(query, key, value, mask=None, dropout=None):
    d_k = query.size(-1)
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(d_k)
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    p_attn = scores.softmax(dim=-1)
    if dropout is not None:
        p_attn = dropout(p_attn)
    return torch.matmul(p_attn, value), p_attn


class MultiHeadedAttention(nn.Module):
    def __init__(self, h, d_model, dropout=0.1):
        super().__init__()
        self.d_k = d_model // h
        self.h = h
        self.linears = clones(nn.Linear(d_model, d_model), 4)
        self.attn = None
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, query, key, value, mask=None):
        if mask is not None:
            mask = mask.unsqueeze(1)
        nbatches = query.size(0)
        query, key, value = [
            lin(x).view(nbatches, -1, self.h, self.d_k).transpose(1, 2) for lin, x in zip(self.linears, (query, key, value))
        ]
        x, self.attn = attention(query, key, value, mask=mask, dropout=self.dropout)
        x = x.transpose(1, 2).contiguous().view(nbatches, -1, self.h * self.d_k)
        return self.linears[-1](x)


class PositionwiseFeedForward(nn.Module):
    def __init__(self, d_model, d_ff, dropout=0.1):
        super().__init__()
        self.w_1 = nn.Linear(d_model, d_ff)
        self.w_2 = nn.Linear(d_ff, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return self.w_2(self.dropout(self.w_1(x).relu()))


class AnnotatedEmbeddings(nn.Module):
    """Scaled embeddings plus sinusoidal positions."""

    def __init__(self, d_model, vocab, max_len=64):
        super().__init__()
        self.lut = nn.Embedding(vocab, d_model)
        self.d_model = d_model
        pe = torch.zeros(max_len, d_model)
        position = torch.arange(0, max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * -(math.log(10000.0) / d_model))
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe.unsqueeze(0))

    def forward(self, x):
        x = self.lut(x) * math.sqrt(self.d_model)
        return x + self.pe[:, : x.size(1)].requires_grad_(False)


class AnnotatedEncoder(nn.Module):
    def __init__(self, layers=2):
        super().__init__()
        self.embed = AnnotatedEmbeddings(D, WORDS)
        self.attn = nn.ModuleList(MultiHeadedAttention(HEADS, D) for _ in range(layers))
        self.ff = nn.ModuleList(PositionwiseFeedForward(D, 64) for _ in range(layers))
        self.sublayer = nn.ModuleList(SublayerConnection(D, 0.1) for _ in range(2 * layers))
        self.norm = AnnotatedLayerNorm(D)

    def forward(self, src, src_mask):
        x = self.embed(src)
        for i, (attn, ff) in enumerate(zip(self.attn, self.ff)):
            x = self.sublayer[2 * i](x, lambda x: attn(x, x, x, src_mask))
            x = self.sublayer[2 * i + 1](x, ff)
        return self.norm(x)


class AnnotatedDecoder(nn.Module):
    """Decoder and generator: log-softmax of every token."""

    def __init__(self, layers=2):
        super().__init__()
        self.embed = AnnotatedEmbeddings(D, WORDS)
        self.self_attn = nn.ModuleList(MultiHeadedAttention(HEADS, D) for _ in range(layers))
        self.src_attn = nn.ModuleList(MultiHeadedAttention(HEADS, D) for _ in range(layers))
        self.ff = nn.ModuleList(PositionwiseFeedForward(D, 64) for _ in range(layers))
        self.sublayer = nn.ModuleList(SublayerConnection(D, 0.1) for _ in range(3 * layers))
        self.norm = AnnotatedLayerNorm(D)
        self.proj = nn.Linear(D, WORDS)

    def forward(self, tgt, memory, src_mask, tgt_mask):
        x = self.embed(tgt)
        for i in range(len(self.ff)):
            x = self.sublayer[3 * i](x, lambda x: self.self_attn[i](x, x, x, tgt_mask))
            x = self.sublayer[3 * i + 1](x, lambda x: self.src_attn[i](x, memory, memory, src_mask))
            x = self.sublayer[3 * i + 2](x, self.ff[i])
        return F.log_softmax(self.proj(self.norm(x)), dim=-1)


# --- nanoGPT (Karpathy) --------------------------------------------------------------------------------------------------------


class GptLayerNorm(nn.Module):
    def __init__(self, ndim, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(ndim))
        self.bias = nn.Parameter(torch.zeros(ndim)) if bias else None

    def forward(self, input):
        return F.layer_norm(input, self.weight.shape, self.weight, self.bias, 1e-5)


class CausalSelfAttention(nn.Module):
    def __init__(self, n_embd, n_head, block_size, bias, flash):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd, bias=bias)
        self.c_proj = nn.Linear(n_embd, n_embd, bias=bias)
        self.attn_dropout = nn.Dropout(0.1)
        self.resid_dropout = nn.Dropout(0.1)
        self.n_head, self.n_embd, self.flash = n_head, n_embd, flash
        if not flash:
            self.register_buffer("bias", torch.tril(torch.ones(block_size, block_size)).view(1, 1, block_size, block_size))

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        if self.flash:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=0, is_causal=True)
        else:
            att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
            att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
            att = F.softmax(att, dim=-1)
            att = self.attn_dropout(att)
            y = att @ v
        y = y.transpose(1, 2).contiguous().view(B, T, C)
        return self.resid_dropout(self.c_proj(y))


class GptMlp(nn.Module):
    def __init__(self, n_embd, bias):
        super().__init__()
        self.c_fc = nn.Linear(n_embd, 4 * n_embd, bias=bias)
        self.gelu = nn.GELU()
        self.c_proj = nn.Linear(4 * n_embd, n_embd, bias=bias)

    def forward(self, x):
        return self.c_proj(self.gelu(self.c_fc(x)))


class NanoGpt(nn.Module):
    def __init__(self, flash=False, bias=True, last_only=True, block_size=32, layers=2):
        super().__init__()
        self.last_only = last_only
        self.transformer = nn.ModuleDict(dict(
            wte=nn.Embedding(WORDS, D), wpe=nn.Embedding(block_size, D), drop=nn.Dropout(0.1),
            h=nn.ModuleList(nn.ModuleDict(dict(
                ln_1=GptLayerNorm(D, bias), attn=CausalSelfAttention(D, HEADS, block_size, bias, flash),
                ln_2=GptLayerNorm(D, bias), mlp=GptMlp(D, bias))) for _ in range(layers)),
            ln_f=GptLayerNorm(D, bias)))
        self.lm_head = nn.Linear(D, WORDS, bias=False)
        self.transformer.wte.weight = self.lm_head.weight

    def forward(self, idx):
        b, t = idx.size()
        pos = torch.arange(0, t, dtype=torch.long, device=idx.device)
        x = self.transformer.drop(self.transformer.wte(idx) + self.transformer.wpe(pos))
        for block in self.transformer.h:
            x = x + block.attn(block.ln_1(x))
            x = x + block.mlp(block.ln_2(x))
        x = self.transformer.ln_f(x)
        return self.lm_head(x[:, [-1], :]) if self.last_only else self.lm_head(x)


# --- llama2.c (Karpathy) -------------------------------------------------------------------------------------------------------


class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def _norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    def forward(self, x):
        return self._norm(x.float()).type_as(x) * self.weight


def precompute_freqs_cis(dim, end, theta=10000.0):
    freqs = 1.0 / (theta ** (torch.arange(0, dim, 2)[: (dim // 2)].float() / dim))
    freqs = torch.outer(torch.arange(end), freqs).float()
    return torch.cos(freqs), torch.sin(freqs)


def reshape_for_broadcast(freqs_cis, x):
    shape = [d if i == 1 or i == x.ndim - 1 else 1 for i, d in enumerate(x.shape)]
    return freqs_cis.view(shape)


def apply_rotary_emb(xq, xk, freqs_cos, freqs_sin):
    xq_r, xq_i = xq.float().reshape(xq.shape[:-1] + (-1, 2)).unbind(-1)
    xk_r, xk_i = xk.float().reshape(xk.shape[:-1] + (-1, 2)).unbind(-1)
    freqs_cos = reshape_for_broadcast(freqs_cos, xq_r)
    freqs_sin = reshape_for_broadcast(freqs_sin, xq_r)
    xq_out_r = xq_r * freqs_cos - xq_i * freqs_sin
    xq_out_i = xq_r * freqs_sin + xq_i * freqs_cos
    xk_out_r = xk_r * freqs_cos - xk_i * freqs_sin
    xk_out_i = xk_r * freqs_sin + xk_i * freqs_cos
    xq_out = torch.stack([xq_out_r, xq_out_i], dim=-1).flatten(3)
    xk_out = torch.stack([xk_out_r, xk_out_i], dim=-1).flatten(3)
    return xq_out.type_as(xq), xk_out.type_as(xk)


def repeat_kv(x, n_rep):
    bs, slen, n_kv_heads, head_dim = x.shape
    if n_rep == 1:
        return x
    return x[:, :, :, None, :].expand(bs, slen, n_kv_heads, n_rep, head_dim).reshape(bs, slen, n_kv_heads * n_rep, head_dim)


class LlamaAttention(nn.Module):
    def __init__(self, dim, n_heads, n_kv_heads, max_seq_len, flash):
        super().__init__()
        self.n_local_heads, self.n_local_kv_heads = n_heads, n_kv_heads
        self.n_rep, self.head_dim, self.flash = n_heads // n_kv_heads, dim // n_heads, flash
        self.wq = nn.Linear(dim, n_heads * self.head_dim, bias=False)
        self.wk = nn.Linear(dim, n_kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(dim, n_kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(n_heads * self.head_dim, dim, bias=False)
        if not flash:
            mask = torch.full((1, 1, max_seq_len, max_seq_len), float("-inf"))
            self.register_buffer("mask", torch.triu(mask, diagonal=1))

    def forward(self, x, freqs_cos, freqs_sin):
        bsz, seqlen, _ = x.shape
        xq, xk, xv = self.wq(x), self.wk(x), self.wv(x)
        xq = xq.view(bsz, seqlen, self.n_local_heads, self.head_dim)
        xk = xk.view(bsz, seqlen, self.n_local_kv_heads, self.head_dim)
        xv = xv.view(bsz, seqlen, self.n_local_kv_heads, self.head_dim)
        xq, xk = apply_rotary_emb(xq, xk, freqs_cos, freqs_sin)
        xk, xv = repeat_kv(xk, self.n_rep), repeat_kv(xv, self.n_rep)
        xq, xk, xv = xq.transpose(1, 2), xk.transpose(1, 2), xv.transpose(1, 2)
        if self.flash:
            output = F.scaled_dot_product_attention(xq, xk, xv, attn_mask=None, dropout_p=0.0, is_causal=True)
        else:
            scores = torch.matmul(xq, xk.transpose(2, 3)) / math.sqrt(self.head_dim)
            scores = scores + self.mask[:, :, :seqlen, :seqlen]
            scores = F.softmax(scores.float(), dim=-1).type_as(xq)
            output = torch.matmul(scores, xv)
        output = output.transpose(1, 2).contiguous().view(bsz, seqlen, -1)
        return self.wo(output)


class Llama2c(nn.Module):
    def __init__(self, flash=False, layers=2, hidden=64):
        super().__init__()
        self.tok_embeddings = nn.Embedding(WORDS, D)
        self.layers = nn.ModuleList(nn.ModuleDict(dict(
            attention=LlamaAttention(D, HEADS, 2, 32, flash), w1=nn.Linear(D, hidden, bias=False),
            w2=nn.Linear(hidden, D, bias=False), w3=nn.Linear(D, hidden, bias=False),
            attention_norm=RMSNorm(D), ffn_norm=RMSNorm(D))) for _ in range(layers))
        self.norm = RMSNorm(D)
        self.output = nn.Linear(D, WORDS, bias=False)
        self.tok_embeddings.weight = self.output.weight
        freqs_cos, freqs_sin = precompute_freqs_cis(D // HEADS, 32)
        self.register_buffer("freqs_cos", freqs_cos, persistent=False)
        self.register_buffer("freqs_sin", freqs_sin, persistent=False)

    def forward(self, tokens):
        _bsz, seqlen = tokens.shape
        h = self.tok_embeddings(tokens)
        freqs_cos, freqs_sin = self.freqs_cos[:seqlen], self.freqs_sin[:seqlen]
        for layer in self.layers:
            h = h + layer.attention(layer.attention_norm(h), freqs_cos, freqs_sin)
            x = layer.ffn_norm(h)
            h = h + layer.w2(F.silu(layer.w1(x)) * layer.w3(x))
        h = self.norm(h)
        return self.output(h[:, [-1], :])


# --- nn.Transformer and its layers ---------------------------------------------------------------------------------------------


class WholeTransformer(nn.Module):
    """nn.Transformer with a causal target mask from its own helper, batch first or time first."""

    def __init__(self, batch_first, norm_first=False, activation="relu"):
        super().__init__()
        self.batch_first = batch_first
        self.transformer = nn.Transformer(D, HEADS, 1, 1, 64, 0.1, activation, batch_first=batch_first, norm_first=norm_first)

    def forward(self, src, tgt):
        length = tgt.shape[1 if self.batch_first else 0]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        return self.transformer(src, tgt, tgt_mask=mask, tgt_is_causal=True)


class PyTorchLanguageModel(nn.Module):
    """pytorch/examples and the "language modeling with nn.Transformer" tutorial: time first, mask, positions."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, D)
        layer = nn.TransformerEncoderLayer(D, HEADS, 64, 0.1)
        self.transformer_encoder = nn.TransformerEncoder(layer, 2)
        position = torch.arange(64).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, D, 2) * (-math.log(10000.0) / D))
        pe = torch.zeros(64, 1, D)
        pe[:, 0, 0::2] = torch.sin(position * div_term)
        pe[:, 0, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)
        self.linear = nn.Linear(D, WORDS)

    def forward(self, src, src_mask):
        src = self.embedding(src) * math.sqrt(D)
        src = src + self.pe[: src.size(0)]
        return self.linear(self.transformer_encoder(src, src_mask, is_causal=False))


class PaddedEncoder(nn.Module):
    """nn.TransformerEncoder with src_key_padding_mask as an input, and the mean over the steps in use."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(D, HEADS, 64, 0.1, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(D, 5)

    def forward(self, x, padding):
        y = self.encoder(x, src_key_padding_mask=padding)
        used = (~padding).unsqueeze(-1).float()
        return self.fc((y * used).sum(1) / used.sum(1))


class CachedDecoderLayer(nn.TransformerDecoderLayer):
    """One token at a time: the layer's inputs of earlier tokens are kept, queries are the last row only."""

    def __init__(self):
        super().__init__(D, HEADS, 64, batch_first=True)

    def forward(self, x, cache, memory):
        keys = torch.cat([cache, x], dim=1)
        x = self.norm1(x + self.self_attn(x, keys, keys, need_weights=False)[0])
        x = self.norm2(x + self.multihead_attn(x, memory, memory, need_weights=False)[0])
        return self.norm3(x + self._ff_block(x)), keys[:, 1:]


class KeyValueCacheStep(nn.Module):
    """Past keys and values of each head in, with the new ones out, as Hugging Face exports it."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(D, 3 * D), nn.Linear(D, D)

    def forward(self, x, past_key, past_value):
        b, t, _ = x.shape
        q, k, v = (y.view(b, t, HEADS, D // HEADS).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        k, v = torch.cat((past_key, k), dim=-2), torch.cat((past_value, v), dim=-2)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(b, t, D)), k, v


class Sdpa(nn.Module):
    """F.scaled_dot_product_attention with each of its arguments."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.kv_heads = 2 if kind == "enable_gqa" else HEADS
        self.q, self.kv = nn.Linear(D, D), nn.Linear(D, 2 * self.kv_heads * D // HEADS)
        self.register_buffer("bias", 0.5 * torch.randn(1, HEADS, T, T))
        self.register_buffer("window", (torch.arange(T)[:, None] - torch.arange(T)).abs() < 4)

    def forward(self, x, mask=None):
        b, t, _ = x.shape
        split = lambda y: y.view(b, t, -1, D // HEADS).transpose(1, 2)
        q, (k, v) = split(self.q(x)), (split(y) for y in self.kv(x).chunk(2, -1))
        words = {"is_causal": {"is_causal": True}, "scale": {"scale": 0.2}, "float_mask": {"attn_mask": self.bias},
                 "bool_mask": {"attn_mask": self.window}, "mask_input": {"attn_mask": mask},
                 "enable_gqa": {"enable_gqa": True, "is_causal": True}}[self.kind]
        y = F.scaled_dot_product_attention(q, k, v, **words)
        return y.transpose(1, 2).flatten(2)


# --- Positions and variants of the scores ---------------------------------------------------------------------------------------


class T5Attention(nn.Module):
    """Hugging Face's T5: no scale, bucketed relative bias from an embedding computed in forward, RMS norm before."""

    def __init__(self, bidirectional=True, buckets=8, max_distance=16):
        super().__init__()
        self.bidirectional, self.buckets, self.max_distance = bidirectional, buckets, max_distance
        self.q, self.k, self.v, self.o = (nn.Linear(D, D, bias=False) for _ in range(4))
        self.relative_attention_bias = nn.Embedding(buckets, HEADS)
        self.norm = RMSNorm(D)

    def _relative_position_bucket(self, relative_position):
        relative_buckets = 0
        num_buckets = self.buckets
        if self.bidirectional:
            num_buckets //= 2
            relative_buckets += (relative_position > 0).to(torch.long) * num_buckets
            relative_position = torch.abs(relative_position)
        else:
            relative_position = -torch.min(relative_position, torch.zeros_like(relative_position))
        max_exact = num_buckets // 2
        is_small = relative_position < max_exact
        large = max_exact + (
            torch.log(relative_position.float() / max_exact) / math.log(self.max_distance / max_exact) * (num_buckets - max_exact)
        ).to(torch.long)
        large = torch.min(large, torch.full_like(large, num_buckets - 1))
        return relative_buckets + torch.where(is_small, relative_position, large)

    def forward(self, hidden):
        b, t, _ = hidden.shape
        x = self.norm(hidden)
        q, k, v = (f(x).view(b, -1, HEADS, D // HEADS).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = torch.matmul(q, k.transpose(3, 2))
        place = torch.arange(t)
        bucket = self._relative_position_bucket(place[None, :] - place[:, None])
        scores = scores + self.relative_attention_bias(bucket).permute([2, 0, 1]).unsqueeze(0)
        weights = F.softmax(scores.float(), dim=-1).type_as(scores)
        y = torch.matmul(weights, v).transpose(1, 2).contiguous().view(b, -1, D)
        return hidden + self.o(y)


class AlibiAttention(nn.Module):
    """A slope for each head times the distance, causal (Press et al., 2022)."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)
        slopes = torch.tensor([2 ** (-8 / HEADS * (i + 1)) for i in range(HEADS)])
        self.register_buffer("slopes", slopes.view(HEADS, 1, 1))

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        distance = torch.arange(t)[None, :] - torch.arange(t)[:, None]
        mask = torch.triu(torch.full((t, t), float("-inf")), diagonal=1)
        scores = q @ k.transpose(-1, -2) / math.sqrt(D // HEADS) + self.slopes * distance + mask
        y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(b, t, D))


class TransformerXl(nn.Module):
    """Relative positions with two biases and the shift trick; memory of the last segment as an input (Dai et al., 2019)."""

    def __init__(self, memory=8):
        super().__init__()
        self.memory, self.d = memory, D // HEADS
        self.qkv_net, self.r_net = nn.Linear(D, 3 * D, bias=False), nn.Linear(D, D, bias=False)
        self.o_net, self.norm = nn.Linear(D, D, bias=False), nn.LayerNorm(D)
        self.r_w_bias = nn.Parameter(torch.randn(HEADS, self.d))
        self.r_r_bias = nn.Parameter(torch.randn(HEADS, self.d))
        inv_freq = 1 / (10000 ** (torch.arange(0.0, D, 2.0) / D))
        self.register_buffer("inv_freq", inv_freq)

    def _rel_shift(self, x):
        zero_pad = torch.zeros((x.size(0), 1, *x.size()[2:]))
        x_padded = torch.cat([zero_pad, x], dim=1)
        x_padded = x_padded.view(x.size(1) + 1, x.size(0), *x.size()[2:])
        return x_padded[1:].view_as(x)

    def forward(self, w, mems):
        qlen, bsz = w.size(0), w.size(1)
        cat = torch.cat([mems, w], 0)
        klen = cat.size(0)
        pos_seq = torch.arange(klen - 1, -1, -1.0)
        sinusoid_inp = torch.outer(pos_seq, self.inv_freq)
        r = torch.cat([sinusoid_inp.sin(), sinusoid_inp.cos()], dim=-1)
        q, k, v = torch.chunk(self.qkv_net(cat), 3, dim=-1)
        q = q[-qlen:].view(qlen, bsz, HEADS, self.d)
        k, v = k.view(klen, bsz, HEADS, self.d), v.view(klen, bsz, HEADS, self.d)
        r = self.r_net(r).view(klen, HEADS, self.d)
        AC = torch.einsum("ibnd,jbnd->ijbn", (q + self.r_w_bias, k))
        BD = self._rel_shift(torch.einsum("ibnd,jnd->ijbn", (q + self.r_r_bias, r)))
        score = (AC + BD) * (1 / self.d**0.5)
        mask = torch.triu(torch.ones(qlen, klen), diagonal=1 + self.memory).bool()[:, :, None, None]
        prob = F.softmax(score.masked_fill(mask, -float("inf")), dim=1)
        vec = torch.einsum("ijbn,jbnd->ibnd", (prob, v)).contiguous().view(qlen, bsz, D)
        return self.norm(w + self.o_net(vec))


class MultiQuery(nn.Module):
    """One head of keys and values for all heads of queries (Shazeer, 2019), by einsum as in the paper."""

    def __init__(self):
        super().__init__()
        self.P_q = nn.Parameter(torch.randn(HEADS, D, 8) / math.sqrt(D))
        self.P_k, self.P_v = (nn.Parameter(torch.randn(D, 8) / math.sqrt(D)) for _ in range(2))
        self.P_o = nn.Parameter(torch.randn(HEADS, D, 8) / math.sqrt(D))

    def forward(self, x):
        Q = torch.einsum("bnd,hdk->bhnk", x, self.P_q)
        K = torch.einsum("bmd,dk->bmk", x, self.P_k)
        V = torch.einsum("bmd,dv->bmv", x, self.P_v)
        weights = torch.softmax(torch.einsum("bhnk,bmk->bhnm", Q, K), dim=-1)
        O = torch.einsum("bhnm,bmv->bhnv", weights, V)
        return torch.einsum("bhnv,hdv->bnd", O, self.P_o)


class TalkingHeads(nn.Module):
    """Linear maps across heads before and after the softmax (Shazeer et al., 2020), as in timm's CaiT."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.proj_l, self.proj_w = nn.Linear(HEADS, HEADS), nn.Linear(HEADS, HEADS)

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, HEADS, C // HEADS).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0] * (C // HEADS) ** -0.5, qkv[1], qkv[2]
        attn = q @ k.transpose(-2, -1)
        attn = self.proj_l(attn.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        attn = attn.softmax(dim=-1)
        attn = self.proj_w(attn.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


class SlidingWindow(nn.Module):
    """Chunks of queries see their own chunk and its neighbours: keys by unfold, as in Longformer-like code."""

    def __init__(self, window=4):
        super().__init__()
        self.window = window
        self.qkv, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)

    def forward(self, x):
        b, t, _ = x.shape
        w, d = self.window, D // HEADS
        q, k, v = (y.view(b, t, HEADS, d).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        q = q.reshape(b, HEADS, t // w, w, d) * d**-0.5
        neighbours = lambda y: F.pad(y, (0, 0, w, w)).unfold(2, 3 * w, w).transpose(-1, -2)
        k, v = neighbours(k), neighbours(v)
        scores = torch.einsum("bhcid,bhcjd->bhcij", q, k)
        y = torch.einsum("bhcij,bhcjd->bhcid", scores.softmax(-1), v)
        return self.out(y.reshape(b, HEADS, t, d).transpose(1, 2).reshape(b, t, D))


class ResidualScale(nn.Module):
    """ReZero's learned factor, or DeepNorm's constant before the norm."""

    def __init__(self, rezero):
        super().__init__()
        self.rezero = rezero
        self.attention = nn.ModuleList(nn.MultiheadAttention(D, HEADS, batch_first=True) for _ in range(2))
        self.ff = nn.ModuleList(nn.Sequential(nn.Linear(D, 64), nn.ReLU(), nn.Linear(64, D)) for _ in range(2))
        self.resweight = nn.ParameterList(nn.Parameter(torch.tensor([0.7])) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(4))
        self.alpha = 1.86

    def forward(self, x):
        for i in range(2):
            y = self.attention[i](x, x, x)[0]
            x = x + y * self.resweight[i] if self.rezero else self.norms[2 * i](self.alpha * x + y)
            y = self.ff[i](x)
            x = x + y * self.resweight[i] if self.rezero else self.norms[2 * i + 1](self.alpha * x + y)
        return x


class AveragedWeights(nn.Module):
    """nn.MultiheadAttention with averaged weights as a second output, time first."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(D, HEADS)

    def forward(self, query, memory):
        return self.attention(query, memory, memory)


x = lambda: real(1, T, D)
causal = np.tril(np.ones((1, T, T), dtype=bool))
subsequent = np.triu(np.full((T, T), -np.inf, dtype=np.float32), 1)
SYSTEMS = {
    "annotated_encoder": System(AnnotatedEncoder, {"src": tokens(WORDS, 1, T), "src_mask": lengths_mask(1, 1, T)}),
    "annotated_decoder": System(AnnotatedDecoder, {
        "tgt": tokens(WORDS, 1, T), "memory": real(1, 12, D), "src_mask": lengths_mask(1, 1, 12), "tgt_mask": constant(causal)}),
    "nanogpt": System(NanoGpt, {"idx": tokens(WORDS, 1, T)}),
    "nanogpt_flash": System(lambda: NanoGpt(True, False), {"idx": tokens(WORDS, 1, T)}),
    "nanogpt_all": System(lambda: NanoGpt(True, True, False), {"idx": tokens(WORDS, 1, T)}),
    "llama2c": System(Llama2c, {"tokens": tokens(WORDS, 1, T)}),
    "llama2c_flash": System(lambda: Llama2c(True), {"tokens": tokens(WORDS, 1, T)}),
    "whole_transformer": System(lambda: WholeTransformer(True), {"src": real(1, 12, D), "tgt": x()}),
    "whole_transformer_time_first": System(lambda: WholeTransformer(False, True, "gelu"), {
        "src": real(12, 1, D, batch=1), "tgt": real(T, 1, D, batch=1)}),
    "pytorch_language_model": System(PyTorchLanguageModel, {
        "src": tokens(WORDS, T, 1, batch=1), "src_mask": constant(subsequent, batch=None)}),
    "padded_encoder": System(PaddedEncoder, {"x": x(), "padding": padding_mask(1, T)}),
    "padded_encoder_flagged": System(PaddedEncoder, {"x": x(), "padding": padding_mask(1, T)}, flags=("--padding-mask", "padding")),
    "cached_decoder_layer": System(CachedDecoderLayer, {"x": real(1, 1, D), "cache": x(), "memory": real(1, 12, D)}),
    "key_value_step": System(KeyValueCacheStep, {
        "x": real(1, 1, D), "past_key": real(1, HEADS, T, D // HEADS), "past_value": real(1, HEADS, T, D // HEADS)}, stack=False),
    **{f"sdpa_{kind}": System(lambda kind=kind: Sdpa(kind), {"x": x()}, stack=False)
       for kind in ("is_causal", "scale", "float_mask", "bool_mask")},
    "sdpa_enable_gqa": System(lambda: Sdpa("enable_gqa"), {"x": x()}, stack=False, exporters=("dynamo",)),
    "sdpa_mask_input": System(lambda: Sdpa("mask_input"), {"x": x(), "mask": lengths_mask(1, 1, 1, T)}, stack=False),
    "sdpa_bias_input": System(lambda: Sdpa("mask_input"), {"x": x(), "mask": real(1, HEADS, T, T)}, stack=False),
    "t5_bidirectional": System(T5Attention, {"x": x()}, stack=False),
    "t5_causal_buckets": System(lambda: T5Attention(False), {"x": x()}, stack=False),
    "alibi": System(AlibiAttention, {"x": x()}, stack=False),
    "transformer_xl": System(TransformerXl, {"w": real(T, 1, D, batch=1), "mems": real(8, 1, D, batch=1)}, stack=False),
    "multi_query_einsum": System(MultiQuery, {"x": x()}, stack=False),
    "talking_heads": System(TalkingHeads, {"x": x()}, stack=False),
    "sliding_window": System(SlidingWindow, {"x": x()}, stack=False, exporters=("dynamo",)),
    "rezero": System(lambda: ResidualScale(True), {"x": x()}),
    "deepnorm": System(lambda: ResidualScale(False), {"x": x()}),
    "averaged_weights": System(AveragedWeights, {"query": real(T, 1, D, batch=1), "memory": real(12, 1, D, batch=1)}, stack=False),
}
