"""Speech as its authors write it: keyword spotters, Conformers, speaker embeddings, voice activity."""

import math

import torch
import torch.nn.functional as F
from inputs import System, real, state
from torch import nn

T, BANDS, D, HEADS = 24, 20, 32, 4


# --- Conformer and Squeezeformer -----------------------------------------------------------------------------------------------


class Swish(nn.Module):
    def forward(self, x):
        return x * x.sigmoid()


class ConvModule(nn.Module):
    """lucidrains/conformer's or torchaudio's: pointwise, GLU over channels, depthwise, BatchNorm, swish, pointwise."""

    def __init__(self, dim, kernel=7):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.seq = nn.Sequential(
            nn.Conv1d(dim, 2 * dim, 1), nn.GLU(dim=1), nn.Conv1d(dim, dim, kernel, padding=(kernel - 1) // 2, groups=dim),
            nn.BatchNorm1d(dim), nn.SiLU(), nn.Conv1d(dim, dim, 1), nn.Dropout(0.1))

    def forward(self, x):
        return self.seq(self.norm(x).transpose(1, 2)).transpose(1, 2)


def feed_forward(dim):
    return nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 64), nn.SiLU(), nn.Dropout(0.1), nn.Linear(64, dim), nn.Dropout(0.1))


class RelPositionAttention(nn.Module):
    """ESPnet's and NeMo's: sinusoidal positions through a Linear, two biases, rel_shift by padding and slicing."""

    def __init__(self, dim, heads, steps):
        super().__init__()
        self.h, self.d_k = heads, dim // heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (nn.Linear(dim, dim) for _ in range(4))
        self.linear_pos = nn.Linear(dim, dim, bias=False)
        self.pos_bias_u = nn.Parameter(0.3 * torch.randn(heads, self.d_k))
        self.pos_bias_v = nn.Parameter(0.3 * torch.randn(heads, self.d_k))
        position = torch.arange(steps - 1, -steps, -1.0).unsqueeze(1)
        rate = torch.exp(torch.arange(0, dim, 2) * -(math.log(10000.0) / dim))
        pe = torch.zeros(1, 2 * steps - 1, dim)
        pe[0, :, 0::2], pe[0, :, 1::2] = torch.sin(position * rate), torch.cos(position * rate)
        self.register_buffer("pe", pe)

    def rel_shift(self, x):
        b, h, q, p = x.size()
        x = F.pad(x, (1, 0)).view(b, h, p + 1, q)
        return x[:, :, 1:].view(b, h, q, p)[:, :, :, : p // 2 + 1]

    def forward(self, x):
        b = x.size(0)
        q = self.linear_q(x).view(b, -1, self.h, self.d_k)
        k = self.linear_k(x).view(b, -1, self.h, self.d_k).transpose(1, 2)
        v = self.linear_v(x).view(b, -1, self.h, self.d_k).transpose(1, 2)
        p = self.linear_pos(self.pe).view(1, -1, self.h, self.d_k).transpose(1, 2)
        q_u, q_v = (q + self.pos_bias_u).transpose(1, 2), (q + self.pos_bias_v).transpose(1, 2)
        ac = torch.matmul(q_u, k.transpose(-2, -1))
        bd = self.rel_shift(torch.matmul(q_v, p.transpose(-2, -1)))
        attn = torch.softmax((ac + bd) / math.sqrt(self.d_k), dim=-1)
        y = torch.matmul(attn, v).transpose(1, 2).contiguous().view(b, -1, self.h * self.d_k)
        return self.linear_out(y)


class ConformerBlock(nn.Module):
    def __init__(self, relative):
        super().__init__()
        self.ff1, self.ff2 = feed_forward(D), feed_forward(D)
        self.norm, self.norm_out = nn.LayerNorm(D), nn.LayerNorm(D)
        self.relative = relative
        self.attn = RelPositionAttention(D, HEADS, T) if relative else nn.MultiheadAttention(D, HEADS, batch_first=True)
        self.conv = ConvModule(D)

    def forward(self, x):
        x = x + 0.5 * self.ff1(x)
        y = self.norm(x)
        x = x + (self.attn(y) if self.relative else self.attn(y, y, y, need_weights=False)[0])
        x = x + self.conv(x)
        x = x + 0.5 * self.ff2(x)
        return self.norm_out(x)


class Conv2dSubsampling(nn.Module):
    """The usual front: two strided convolutions over time and bands, channels x bands flattened into one Linear, a Conformer block."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU())
        self.out = nn.Linear(8 * (((BANDS - 1) // 2 - 1) // 2), D)
        self.block = ConformerBlock(False)

    def forward(self, x):
        x = self.conv(x.unsqueeze(1))
        b, c, t, f = x.size()
        x = self.out(x.transpose(1, 2).contiguous().view(b, t, c * f))
        return self.block(x)


class SqueezeformerBlock(nn.Module):
    """Attention, FF, convolution, FF; post-norm with a scale and bias before each part; Swish in place of GLU; halved in time."""

    def __init__(self):
        super().__init__()
        self.scale = nn.ParameterList(nn.Parameter(0.8 + 0.4 * torch.rand(1, 1, D)) for _ in range(4))
        self.bias = nn.ParameterList(nn.Parameter(0.2 * torch.randn(1, 1, D)) for _ in range(4))
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(4))
        self.attn = nn.MultiheadAttention(D, HEADS, batch_first=True)
        self.ff = nn.ModuleList(nn.Sequential(nn.Linear(D, 64), Swish(), nn.Linear(64, D)) for _ in range(2))
        self.conv = nn.Sequential(
            nn.Conv1d(D, D, 1), Swish(), nn.Conv1d(D, D, 5, padding=2, groups=D), nn.BatchNorm1d(D), Swish(), nn.Conv1d(D, D, 1))
        self.reduce = nn.Conv1d(D, D, 3, stride=2, padding=1, groups=D)
        self.point = nn.Conv1d(D, D, 1)

    def forward(self, x):
        parts = [lambda y: self.attn(y, y, y, need_weights=False)[0], self.ff[0],
                 lambda y: self.conv(y.transpose(1, 2)).transpose(1, 2), self.ff[1]]
        for scale, bias, norm, part in zip(self.scale, self.bias, self.norms, parts):
            x = norm(x + part(x * scale + bias))
        small = self.point(self.reduce(x.transpose(1, 2))).transpose(1, 2)
        return torch.repeat_interleave(small, 2, dim=1) + x


# --- Keyword spotting ----------------------------------------------------------------------------------------------------------


class TcResBlock(nn.Module):
    def __init__(self, into, out):
        super().__init__()
        stride = 2 if into != out else 1
        self.conv1 = nn.Conv2d(into, out, (9, 1), (stride, 1), (4, 0), bias=False)
        self.conv2 = nn.Conv2d(out, out, (9, 1), 1, (4, 0), bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
        self.down = nn.Sequential(nn.Conv2d(into, out, 1, (stride, 1), bias=False), nn.BatchNorm2d(out), nn.ReLU()) \
            if into != out else nn.Identity()

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.down(x))


class TcResNet(nn.Module):
    """TC-ResNet8: bands become channels, convolutions along time; [batch, bands, 1, time]-like images."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(BANDS, 16, (3, 1), padding=(1, 0), bias=False)
        self.blocks = nn.Sequential(TcResBlock(16, 24), TcResBlock(24, 32))
        self.fc = nn.Conv2d(32, 12, 1)

    def forward(self, x):
        x = x.permute(0, 2, 1).unsqueeze(-1)
        x = self.blocks(self.conv(x))
        x = F.avg_pool2d(x, (int(x.shape[2]), 1))
        return self.fc(x).squeeze(-1).squeeze(-1)


class MatchboxBlock(nn.Module):
    """NeMo's: time-channel separable convolutions, BatchNorm, ReLU; residual by pointwise."""

    def __init__(self, into, out, kernel, repeat=2):
        super().__init__()
        layers = []
        for i in range(repeat):
            c = into if i == 0 else out
            layers += [nn.Conv1d(c, c, kernel, padding=kernel // 2, groups=c, bias=False), nn.Conv1d(c, out, 1, bias=False),
                       nn.BatchNorm1d(out)] + ([nn.ReLU(), nn.Dropout(0.1)] if i < repeat - 1 else [])
        self.layers = nn.Sequential(*layers)
        self.residual = nn.Sequential(nn.Conv1d(into, out, 1, bias=False), nn.BatchNorm1d(out))

    def forward(self, x):
        return F.relu(self.layers(x) + self.residual(x))


class MatchboxNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.pre = nn.Sequential(nn.Conv1d(BANDS, 32, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(32), nn.ReLU())
        self.blocks = nn.Sequential(MatchboxBlock(32, 24, 5), MatchboxBlock(24, 24, 7))
        self.post = nn.Sequential(nn.Conv1d(24, 32, 9, dilation=2, padding=8, bias=False), nn.BatchNorm1d(32), nn.ReLU(),
                                  nn.Conv1d(32, 32, 1), nn.BatchNorm1d(32), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 12))

    def forward(self, x):
        return self.head(self.post(self.blocks(self.pre(x))))


class SubSpectralNorm(nn.Module):
    def __init__(self, channels, sub_bands):
        super().__init__()
        self.sub_bands = sub_bands
        self.bn = nn.BatchNorm2d(channels * sub_bands)

    def forward(self, x):
        n, c, f, t = x.size()
        x = x.view(n, c * self.sub_bands, f // self.sub_bands, t)
        return self.bn(x).view(n, c, f, t)


class BcResBlock(nn.Module):
    """Frequency convolution, mean over frequency, temporal convolution, broadcast back (Kim et al., 2021)."""

    def __init__(self, into, out, dilation=1, stride=1):
        super().__init__()
        self.transition = into != out
        self.pre = nn.Sequential(nn.Conv2d(into, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()) if self.transition else None
        self.f2 = nn.Sequential(nn.Conv2d(out, out, (3, 1), (stride, 1), (1, 0), groups=out, bias=False), SubSpectralNorm(out, 5))
        self.f1 = nn.Sequential(
            nn.Conv2d(out, out, (1, 3), padding=(0, dilation), dilation=(1, dilation), groups=out, bias=False),
            nn.BatchNorm2d(out), nn.SiLU(), nn.Conv2d(out, out, 1, bias=False), nn.Dropout2d(0.1))

    def forward(self, x):
        shortcut = x
        x = self.pre(x) if self.transition else x
        x = aux = self.f2(x)
        x = x.mean(2, keepdim=True)
        x = self.f1(x)
        x = x + aux
        return F.relu(x if self.transition else x + shortcut)


class BcResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 16, 5, (2, 1), 2, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(BcResBlock(16, 8), BcResBlock(8, 8), BcResBlock(8, 12, 2), BcResBlock(12, 12, 2))
        self.dw = nn.Conv2d(12, 12, (5, 5), groups=12, padding=(0, 2), bias=False)
        self.head = nn.Sequential(nn.Conv2d(12, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.fc = nn.Conv2d(24, 12, 1)

    def forward(self, x):
        x = self.head(self.dw(self.blocks(self.conv(x))))
        x = x.mean(2, keepdim=True).mean(-1, keepdim=True)
        return self.fc(x).view(-1, x.shape[0], 12).squeeze(0)


class DsCnn(nn.Module):
    """MLPerf Tiny's and "Hello edge"'s: uneven kernel, uneven padding, separable blocks, average over all."""

    def __init__(self):
        super().__init__()
        block = lambda c: [nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False), nn.BatchNorm2d(c), nn.ReLU(),
                           nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU()]
        self.net = nn.Sequential(nn.ZeroPad2d((1, 2, 4, 5)), nn.Conv2d(1, 24, (10, 4), 2, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
                                 nn.Dropout(0.2), *block(24), *block(24), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 12))

    def forward(self, x):
        return self.net(x)


class CrnnAttention(nn.Module):
    """Convolution over bands and time, permute, GRU, softmax pooling (Shan et al., 2018; also Arik's CRNN)."""

    def __init__(self, bidirectional):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 8, (5, 5), (2, 2), (2, 2)), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d((2, 1)))
        self.rnn = nn.GRU(8 * (BANDS // 4), 24, batch_first=True, bidirectional=bidirectional)
        width = 48 if bidirectional else 24
        self.score = nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, 1))
        self.fc = nn.Linear(width, 12)

    def forward(self, x):
        x = self.conv(x)
        b, c, f, t = x.shape
        x = x.permute(0, 3, 1, 2).reshape(b, t, c * f)
        h, _ = self.rnn(x)
        a = F.softmax(self.score(h), dim=1)
        return self.fc(torch.sum(a * h, dim=1))


class KeywordAttentionRnn(nn.Module):
    """de Andrade et al., 2018: convolutions over time, two bidirectional LSTMs, the middle row through a Linear as the query."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 10, (5, 1), padding=(2, 0)), nn.BatchNorm2d(10), nn.ReLU(),
                                  nn.Conv2d(10, 1, (5, 1), padding=(2, 0)), nn.BatchNorm2d(1), nn.ReLU())
        self.rnn = nn.LSTM(BANDS, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.query = nn.Linear(32, 32)
        self.head = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 12))

    def forward(self, x):
        x = self.conv(x.unsqueeze(1)).squeeze(1)
        x, _ = self.rnn(x)
        query = self.query(x[:, x.size(1) // 2])
        scores = torch.matmul(x, query.unsqueeze(2)).squeeze(2)
        weights = F.softmax(scores, dim=-1)
        return F.log_softmax(self.head(torch.matmul(weights.unsqueeze(1), x).squeeze(1)), dim=-1)


# --- Speakers and voices -------------------------------------------------------------------------------------------------------


class AttentiveStatistics(nn.Module):
    """ECAPA-TDNN's pooling with global context (SpeechBrain): weighted mean and standard deviation of every channel."""

    def __init__(self, channels=D, global_context=True):
        super().__init__()
        self.global_context = global_context
        self.tdnn = nn.Sequential(nn.Conv1d(channels * (3 if global_context else 1), 16, 1), nn.ReLU(), nn.BatchNorm1d(16))
        self.conv = nn.Conv1d(16, channels, 1)

    @staticmethod
    def _compute_statistics(x, m, dim=2, eps=1e-12):
        mean = (m * x).sum(dim)
        std = torch.sqrt((m * (x - mean.unsqueeze(dim)).pow(2)).sum(dim).clamp(eps))
        return mean, std

    def forward(self, x):
        L = x.shape[-1]
        if self.global_context:
            mask = torch.ones(x.shape[0], 1, L)
            total = mask.sum(dim=2, keepdim=True).float()
            mean, std = self._compute_statistics(x, mask / total)
            mean, std = mean.unsqueeze(2).repeat(1, 1, L), std.unsqueeze(2).repeat(1, 1, L)
            attn = torch.cat([x, mean, std], dim=1)
        else:
            attn = x
        attn = self.conv(torch.tanh(self.tdnn(attn)))
        attn = F.softmax(attn, dim=2)
        mean, std = self._compute_statistics(x, attn)
        return torch.cat((mean, std), dim=1)


class EcapaBlock(nn.Module):
    """Res2Net over channel groups, squeeze and excitation over time."""

    def __init__(self, channels=D, scale=4):
        super().__init__()
        self.scale = scale
        width = channels // scale
        conv = lambda a, b, k, d: nn.Sequential(nn.Conv1d(a, b, k, dilation=d, padding=d * (k // 2)), nn.ReLU(), nn.BatchNorm1d(b))
        self.tdnn1, self.tdnn2 = conv(channels, channels, 1, 1), conv(channels, channels, 1, 1)
        self.blocks = nn.ModuleList(conv(width, width, 3, 2) for _ in range(scale - 1))
        self.se1, self.se2 = nn.Conv1d(channels, 8, 1), nn.Conv1d(8, channels, 1)

    def forward(self, x):
        y = self.tdnn1(x)
        parts = []
        for i, x_i in enumerate(torch.chunk(y, self.scale, dim=1)):
            if i == 0:
                y_i = x_i
            elif i == 1:
                y_i = self.blocks[i - 1](x_i)
            else:
                y_i = self.blocks[i - 1](x_i + y_i)
            parts.append(y_i)
        y = self.tdnn2(torch.cat(parts, dim=1))
        s = y.mean(dim=2, keepdim=True)
        s = torch.sigmoid(self.se2(F.relu(self.se1(s))))
        return s * y + x


class Ecapa(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(BANDS, D, 5, padding=2), nn.ReLU(), nn.BatchNorm1d(D))
        self.block1, self.block2 = EcapaBlock(), EcapaBlock()
        self.mfa = nn.Sequential(nn.Conv1d(2 * D, D, 1), nn.ReLU(), nn.BatchNorm1d(D))
        self.pool, self.bn, self.fc = AttentiveStatistics(), nn.BatchNorm1d(2 * D), nn.Conv1d(2 * D, 16, 1)

    def forward(self, x):
        x = self.first(x.transpose(1, 2))
        a = self.block1(x)
        b = self.block2(a)
        x = self.bn(self.pool(self.mfa(torch.cat([a, b], dim=1))))
        return F.normalize(self.fc(x.unsqueeze(2)).squeeze(2))


class XVector(nn.Module):
    """TDNN layers with dilation, mean and standard deviation over time, two dense layers (Snyder et al., 2018)."""

    def __init__(self):
        super().__init__()
        tdnn = lambda a, b, k, d: nn.Sequential(nn.Conv1d(a, b, k, dilation=d), nn.ReLU(), nn.BatchNorm1d(b))
        self.net = nn.Sequential(tdnn(BANDS, D, 5, 1), tdnn(D, D, 3, 2), tdnn(D, D, 3, 3), tdnn(D, 48, 1, 1))
        self.fc1, self.fc2 = nn.Linear(96, 24), nn.Linear(24, 10)

    def forward(self, x):
        x = self.net(x.transpose(1, 2))
        stat_pooling = torch.cat((torch.mean(x, dim=2), torch.std(x, dim=2)), dim=1)
        return self.fc2(F.relu(self.fc1(stat_pooling)))


class VarXVector(XVector):
    """The same by variance and square root."""

    def forward(self, x):
        x = self.net(x.transpose(1, 2))
        return self.fc2(F.relu(self.fc1(torch.cat((x.mean(2), (x.var(2, unbiased=False) + 1e-5).sqrt()), 1))))


class SpeakerGe2e(nn.Module):
    """Resemblyzer's: three LSTM layers, last hidden state, ReLU, L2 norm."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(BANDS, D, 3, batch_first=True)
        self.linear = nn.Linear(D, D)
        self.relu = nn.ReLU()

    def forward(self, mels):
        _, (hidden, _) = self.lstm(mels)
        embeds_raw = self.relu(self.linear(hidden[-1]))
        return embeds_raw / torch.norm(embeds_raw, dim=1, keepdim=True)


class SileroStep(nn.Module):
    """Silero-style voice activity: STFT as a convolution of raw audio, magnitudes, encoder, LSTM with its state in and out."""

    def __init__(self, window=64, hop=32):
        super().__init__()
        half = window // 2 + 1
        angle = 2 * math.pi * torch.arange(half)[:, None] * torch.arange(window) / window
        basis = torch.cat([torch.cos(angle), -torch.sin(angle)]) * torch.hann_window(window)
        self.register_buffer("forward_basis_buffer", basis.unsqueeze(1))
        self.hop, self.half = hop, half
        self.encoder = nn.Sequential(nn.Conv1d(half, 24, 3, padding=1), nn.ReLU(), nn.Conv1d(24, D, 3, stride=2, padding=1), nn.ReLU())
        self.rnn = nn.LSTMCell(D, D)
        self.decoder = nn.Sequential(nn.Dropout(0.1), nn.ReLU(), nn.Conv1d(D, 1, 1), nn.Sigmoid())

    def forward(self, x, state):
        x = F.pad(x, (0, 16), mode="reflect").unsqueeze(1)
        spec = F.conv1d(x, self.forward_basis_buffer, stride=self.hop)
        real, imag = spec[:, : self.half], spec[:, self.half :]
        x = self.encoder(torch.sqrt(real**2 + imag**2)).mean(-1)
        h, c = self.rnn(x, (state[0], state[1]))
        out = self.decoder(h.unsqueeze(-1).float())
        return out.squeeze(1).mean(dim=1, keepdim=True), torch.stack([h, c])


class SileroZeros(SileroStep):
    """The same without reflection."""

    def forward(self, x, state):
        spec = F.conv1d(x.unsqueeze(1), self.forward_basis_buffer, stride=self.hop)
        real, imag = spec[:, : self.half], spec[:, self.half :]
        x = self.encoder(torch.sqrt(real.pow(2) + imag.pow(2) + 1e-9))[:, :, -1:]
        _, (h, c) = self.lstm(x.permute(2, 0, 1), (state[:1], state[1:]))
        return self.decoder(h.permute(1, 2, 0)).squeeze(-1), torch.cat([h, c])

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(D, D)


features = lambda: real(1, T, BANDS)
image = lambda: real(1, 1, BANDS, T)
SYSTEMS = {
    "conformer_plain": System(lambda: ConformerBlock(False), {"x": real(1, T, D)}),
    "conformer_relative": System(lambda: ConformerBlock(True), {"x": real(1, T, D)}),
    "conformer_subsampling": System(Conv2dSubsampling, {"x": features()}),
    "squeezeformer": System(SqueezeformerBlock, {"x": real(1, T, D)}),
    "tc_resnet": System(TcResNet, {"x": features()}),
    "matchboxnet": System(MatchboxNet, {"x": real(1, BANDS, T)}),
    "bc_resnet": System(BcResNet, {"x": image()}),
    "ds_cnn": System(DsCnn, {"x": real(1, 1, 25, 10)}),
    "crnn_attention": System(lambda: CrnnAttention(False), {"x": image()}),
    "crnn_attention_bidirectional": System(lambda: CrnnAttention(True), {"x": image()}),
    "keyword_attention_rnn": System(KeywordAttentionRnn, {"x": features()}),
    "attentive_statistics": System(AttentiveStatistics, {"x": real(1, D, T)}, stack=False),
    "attentive_statistics_plain": System(lambda: AttentiveStatistics(D, False), {"x": real(1, D, T)}, stack=False),
    "ecapa_tdnn": System(Ecapa, {"x": features()}),
    "x_vector": System(XVector, {"x": features()}),
    "x_vector_var": System(VarXVector, {"x": features()}),
    "speaker_ge2e": System(SpeakerGe2e, {"mels": features()}),
    "silero_step": System(SileroStep, {"x": real(1, 128), "state": state(2, 1, D, batch=1)}),
    "silero_zeros": System(SileroZeros, {"x": real(1, 128), "state": state(2, 1, D, batch=1)}),
}
