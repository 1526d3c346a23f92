"""Transformers: class token, sinusoidal positions, Keyword Transformer, decoder layer, speech encoder, odd spellings."""

import math

import torch
from torch import nn

T, D = 16, 32


class EncoderLayer(nn.TransformerEncoderLayer):
    """As it is, except that the TorchScript exporter can trace it: it turns `is_causal` into a tensor."""

    def _sa_block(self, x, attn_mask, key_padding_mask, is_causal=False):
        return self.dropout1(self.self_attn(x, x, x, need_weights=False)[0])


def sinusoidal(steps, width):
    """Positions of "Attention is all you need": sines at even, cosines at odd channels."""
    position = torch.arange(steps).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    table = torch.zeros(1, steps, width)
    table[0, :, 0::2] = torch.sin(position * rate)
    table[0, :, 1::2] = torch.cos(position * rate)
    return table


class KeywordTransformer(nn.Module):
    """KWT (Berg et al., 2021): frames to tokens, class token, learned positions, post-norm layers, head on the token."""

    def __init__(self, bands=32, frames=T, width=D, heads=1, mlp=64, layers=2, classes=10, norm_first=False):
        super().__init__()
        self.embed = nn.Linear(bands, width)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(0.3 * torch.randn(1, frames + 1, width))
        layer = EncoderLayer(
            width, heads, mlp, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm_first
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, x):
        token = self.token.expand(x.shape[0], -1, -1)
        x = torch.cat((token, self.embed(x)), dim=1) + self.position
        return self.head(self.layers(x)[:, 0])


class Sinusoidal(nn.Module):
    """Sinusoidal positions as a buffer, one encoder layer, one row of logits for every step."""

    def __init__(self):
        super().__init__()
        self.register_buffer("positions", sinusoidal(64, D))
        self.layer = EncoderLayer(D, 4, 64, dropout=0.0, batch_first=True)
        self.head = nn.Linear(D, 10)

    def forward(self, x):
        return self.head(self.layer(x * math.sqrt(D) + self.positions[:, : x.shape[1]]))


class TimeFirst(nn.Module):
    """nn.MultiheadAttention with batch_first=False and its averaged weights computed, and left unused."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(D, 4)

    def forward(self, x):
        x = x.transpose(0, 1)
        return self.attention(x, x, x, need_weights=True)[0].transpose(0, 1)


class SplitScale(nn.Module):
    """1/sqrt(d) as a root on queries and keys each, and a boolean mask of torch.tril chosen by torch.where."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(D, D) for _ in range(4))

    def forward(self, x):
        split = lambda y: y.view(1, T, 4, D // 4).permute(0, 2, 1, 3)
        root = math.sqrt(math.sqrt(D // 4))
        q, k, v = split(self.q(x)) / root, split(self.k(x)) / root, split(self.v(x))
        scores = q @ k.transpose(-2, -1)
        seen = torch.tril(torch.ones(1, 1, T, T, dtype=torch.bool))
        scores = torch.where(seen, scores, torch.finfo(torch.float32).min)
        y = (scores.softmax(-1) @ v).permute(0, 2, 1, 3).reshape(1, T, D)
        return self.out(y)


class DecoderLayer(nn.TransformerDecoderLayer):
    """As it is, except that the TorchScript exporter can trace it."""

    def __init__(self):
        super().__init__(D, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        future = torch.full((T, T), -math.inf).triu(1)
        self.register_buffer("future", future)

    def forward(self, x, memory):
        y = self.norm1(x)
        x = x + self.self_attn(y, y, y, attn_mask=self.future, need_weights=False)[0]
        x = x + self.multihead_attn(self.norm2(x), memory, memory, need_weights=False)[0]
        return x + self._ff_block(self.norm3(x))


class SpeechEncoder(nn.Module):
    """As in Whisper: two convolutions over time, the second with stride 2, sinusoidal positions, pre-norm layers."""

    def __init__(self, bands=20, layers=2):
        super().__init__()
        self.conv1 = nn.Conv1d(bands, D, 3, padding=1)
        self.conv2 = nn.Conv1d(D, D, 3, stride=2, padding=1)
        self.register_buffer("positions", sinusoidal(T, D))
        layer = EncoderLayer(D, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(D), enable_nested_tensor=False)

    def forward(self, x):
        y = nn.functional.gelu(self.conv1(x.transpose(1, 2)))
        y = nn.functional.gelu(self.conv2(y)).transpose(1, 2)
        return self.layers(y + self.positions)


class TextClassifier(nn.Module):
    """As BERT: embeddings of words and positions, LayerNorm, post-norm layers, tanh of the first token's row, a head."""

    def __init__(self, words=50, layers=2):
        super().__init__()
        self.words, self.places = nn.Embedding(words, D), nn.Embedding(64, D)
        self.norm = nn.LayerNorm(D)
        layer = EncoderLayer(D, 4, 64, dropout=0.0, activation="gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.pooler, self.head = nn.Linear(D, D), nn.Linear(D, 4)

    def forward(self, tokens):
        places = torch.arange(tokens.shape[1]).unsqueeze(0)
        x = self.layers(self.norm(self.words(tokens) + self.places(places)))
        return self.head(torch.tanh(self.pooler(x[:, 0])))


SYSTEMS = {
    "text_classifier": (TextClassifier, {"tokens": (T, 50)}),
    "keyword_transformer": (lambda: KeywordTransformer(), {"x": (T, D)}),
    "sinusoidal": (Sinusoidal, {"x": (T, D)}),
    "time_first": (TimeFirst, {"x": (T, D)}),
    "split_scale": (SplitScale, {"x": (T, D)}),
    "decoder_layer": (DecoderLayer, {"x": (T, D), "memory": (12, D)}),
    "speech_encoder": (SpeechEncoder, {"x": (2 * T, 20)}),
}


def full_keyword_transformer(heads):
    """At the paper's full size: 40 bands, 98 frames, 12 layers of 64 channels for each head. The layers start apart."""
    width = 64 * heads
    model = KeywordTransformer(40, 98, width, heads, 4 * width, 12, 12)
    for parameter in model.layers.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    return model


# Too large to be kept; exported only where they are named.
LARGE = {
    "kwt1": (lambda: full_keyword_transformer(1), {"x": (98, 40)}),
    "kwt3": (lambda: full_keyword_transformer(3), {"x": (98, 40)}),
}
