"""Enhancement, detection, sensors, tables, and policies, in their authors' code, that the families before do not hold."""

import math

import torch
import torch.nn.functional as F
from inputs import System, positive, real, state, tokens
from torch import nn

T, D = 16, 24


# --- Sound -------------------------------------------------------------------------------------------------------------------------


class DtlnCore(nn.Module):
    """DTLN: two LSTMs and a mask; then a learned basis with an instant layer norm."""

    def __init__(self):
        super().__init__()
        self.rnn1, self.rnn2, self.mask = nn.LSTM(33, 20, batch_first=True), nn.LSTM(20, 20, batch_first=True), nn.Linear(20, 33)
        self.encode, self.decode = nn.Conv1d(33, 32, 1, bias=False), nn.Conv1d(32, 33, 1, bias=False)
        self.gamma, self.beta = nn.Parameter(torch.ones(1, 1, 32)), nn.Parameter(torch.zeros(1, 1, 32))
        self.rnn3, self.mask2 = nn.LSTM(32, 20, batch_first=True), nn.Linear(20, 32)

    def forward(self, mag):
        y, _ = self.rnn2(self.rnn1(mag)[0])
        est = torch.sigmoid(self.mask(y)) * mag
        enc = self.encode(est.transpose(1, 2)).transpose(1, 2)
        mean = torch.mean(enc, dim=-1, keepdim=True)
        var = torch.var(enc, dim=-1, keepdim=True, unbiased=False)
        norm = (enc - mean) / torch.sqrt(var + 1e-7) * self.gamma + self.beta
        return self.decode((torch.sigmoid(self.mask2(self.rnn3(norm)[0])) * enc).transpose(1, 2))


class ComplexConv(nn.Module):
    """DCCRN's complex convolution and batch norm by parts, with a complex mask."""

    def __init__(self):
        super().__init__()
        self.real, self.imag = nn.Conv2d(1, 6, (5, 2), (2, 1), (2, 1)), nn.Conv2d(1, 6, (5, 2), (2, 1), (2, 1))
        self.prelu, self.bn = nn.PReLU(), nn.BatchNorm2d(12)
        self.up = nn.ConvTranspose2d(12, 2, (5, 2), (2, 1), (2, 0), output_padding=(0, 0))

    def forward(self, x):
        re, im = torch.chunk(x, 2, 1)
        y = torch.cat([self.real(re) - self.imag(im), self.real(im) + self.imag(re)], 1)
        mask = self.up(self.prelu(self.bn(y)))[..., 1 : x.size(-1) + 1]
        mr, mi = mask[:, 0], mask[:, 1]
        mags = (mr**2 + mi**2) ** 0.5
        phase = torch.atan2(mi / (mags + 1e-8), mr / (mags + 1e-8))
        return torch.tanh(mags) * torch.cos(phase), torch.tanh(mags) * torch.sin(phase)


class GroupedGruEnhancer(nn.Module):
    """GTCRN: shuffled grouped convolution with subband features, a grouped GRU over frequency, temporal attention by a GRU."""

    def __init__(self):
        super().__init__()
        self.point, self.depth = nn.Conv2d(12, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.bn1, self.bn2, self.act = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.PReLU()
        self.out = nn.Conv2d(8, 4, 1)
        self.att_gru, self.att_fc = nn.GRU(4, 8, 1, batch_first=True), nn.Linear(8, 4)
        self.g1, self.g2 = nn.GRU(4, 4, batch_first=True, bidirectional=True), nn.GRU(4, 4, batch_first=True, bidirectional=True)

    def forward(self, x):
        x1, x2 = torch.chunk(x, chunks=2, dim=1)
        b, c, t, f = x1.shape
        sub = F.unfold(x1, kernel_size=(1, 3), padding=(0, 1)).reshape(b, c * 3, t, f)
        h = self.act(self.bn1(self.point(sub)))
        h = self.out(self.act(self.bn2(self.depth(h))))
        zt = torch.mean(h.pow(2), dim=-1)
        at = torch.sigmoid(self.att_fc(self.att_gru(zt.transpose(1, 2))[0])).transpose(1, 2)
        h = h * at[..., None]
        y = torch.stack([h, x2], dim=1).transpose(1, 2).contiguous().reshape(b, 2 * c, t, f)
        y = y.permute(0, 2, 3, 1).reshape(b * t, f, 2 * c)
        a, z = torch.chunk(y, 2, dim=-1)
        return torch.cat([self.g1(a)[0], self.g2(z)[0]], -1).view(b, t, f, 16)


class DualPath(nn.Module):
    """DPRNN / SepFormer: overlapping chunks, attention within and across them, overlap-add by a sum of shifted halves."""

    def __init__(self):
        super().__init__()
        self.intra = nn.TransformerEncoderLayer(D, 4, 32, batch_first=True, dropout=0.0, norm_first=True)
        self.inter = nn.LSTM(D, 12, batch_first=True, bidirectional=True)
        self.norm = nn.GroupNorm(1, D, eps=1e-8)

    def forward(self, x):
        b, n, length = x.shape
        k = 8
        x = F.pad(x, (k // 2, k // 2))
        first = x[:, :, :length].contiguous().view(b, n, -1, k)
        second = x[:, :, k // 2 : length + k // 2].contiguous().view(b, n, -1, k)
        s = torch.cat([first, second], dim=3).view(b, n, -1, k).transpose(2, 3).contiguous()
        chunks = s.size(3)
        y = self.intra(s.permute(0, 3, 2, 1).reshape(b * chunks, k, n)).view(b, chunks, k, n)
        z = self.inter(y.permute(0, 2, 1, 3).reshape(b * k, chunks, n))[0].view(b, k, chunks, n)
        s = s + self.norm(z.permute(0, 3, 1, 2))
        parts = s.transpose(2, 3).contiguous().view(b, n, -1, k * 2)
        return parts[..., :k].reshape(b, n, -1)[..., k // 2 :] + parts[..., k:].reshape(b, n, -1)[..., : -(k // 2)]


class SincFilters(nn.Module):
    """SincNet: filters computed from two parameters each, absolute value, pooling, log."""

    def __init__(self):
        super().__init__()
        self.low, self.band = nn.Parameter(torch.linspace(0.01, 0.3, 8)[:, None]), nn.Parameter(torch.full((8, 1), 0.08))
        self.register_buffer("n", 2 * math.pi * torch.arange(-15, 0).view(1, -1).float())
        self.register_buffer("window", 0.54 - 0.46 * torch.cos(2 * math.pi * torch.linspace(0, 14, 15) / 31))
        self.norm, self.conv, self.fc = nn.InstanceNorm1d(8, affine=True), nn.Conv1d(8, 12, 5), nn.Linear(12, 6)

    def forward(self, waveforms):
        low = 0.005 + torch.abs(self.low)
        high = torch.clamp(low + 0.01 + torch.abs(self.band), 0.01, 0.5)
        left = (torch.sin(high @ self.n) - torch.sin(low @ self.n)) / (self.n / 2) * self.window
        filters = torch.cat([left, 2 * (high - low), torch.flip(left, dims=[1])], dim=1) / (2 * (high - low))
        x = torch.abs(F.conv1d(waveforms, filters.view(8, 1, 31), stride=4, padding=15))
        x = F.leaky_relu(self.norm(F.max_pool1d(torch.log1p(x), 3)), 0.2)
        return F.log_softmax(self.fc(F.leaky_relu(self.conv(x)).mean(-1)), dim=1)


class MelFrontEnd(nn.Module):
    """Frames by strided convolution, a spectrum by two fixed convolutions, mel filters and log: a whole classifier from sound."""

    def __init__(self, n=64, hop=32, mels=12):
        super().__init__()
        t = torch.arange(n).float()
        k = torch.arange(n // 2 + 1).float()[:, None]
        window = torch.hann_window(n)
        self.register_buffer("cos", (torch.cos(2 * math.pi * k * t / n) * window)[:, None])
        self.register_buffer("sin", (torch.sin(2 * math.pi * k * t / n) * window)[:, None])
        self.register_buffer("mel", torch.rand(mels, n // 2 + 1).pow(6))
        self.hop, self.conv, self.fc = hop, nn.Conv1d(mels, 16, 3), nn.Linear(16, 5)

    def forward(self, wave):
        re, im = F.conv1d(wave, self.cos, stride=self.hop), F.conv1d(wave, self.sin, stride=self.hop)
        mel = torch.log(torch.matmul(self.mel, re.pow(2) + im.pow(2)) + 1e-3)
        mel = (mel - mel.mean(-1, keepdim=True)) / (mel.std(-1, keepdim=True) + 1e-3)
        return self.fc(F.relu(self.conv(mel)).amax(-1))


class Res15(nn.Module):
    """Tang and Lin's residual network for words: dilated 3x3 convolutions, batch norm after the sum, mean."""

    def __init__(self, n=9, layers=5):
        super().__init__()
        self.conv0 = nn.Conv2d(1, n, 3, padding=1, bias=False)
        self.convs = nn.ModuleList(nn.Conv2d(n, n, 3, padding=2 ** (i // 3), dilation=2 ** (i // 3), bias=False) for i in range(layers))
        self.bns, self.out = nn.ModuleList(nn.BatchNorm2d(n) for _ in range(layers)), nn.Linear(n, 12)

    def forward(self, x):
        x = x.unsqueeze(1)
        for i in range(len(self.convs) + 1):
            y = F.relu(self.conv0(x) if i == 0 else self.convs[i - 1](x))
            if i == 0:
                old = y
            if i > 0 and i % 2 == 0:
                x = y + old
                old = x
            else:
                x = y
            if i > 0:
                x = self.bns[i - 1](x)
        return self.out(torch.mean(x.view(x.size(0), x.size(1), -1), 2))


class Svdf(nn.Module):
    """TensorFlow Lite's SVDF as PyTorch: feature filters, a memory of ten steps, time filters."""

    def __init__(self):
        super().__init__()
        self.feature, self.time, self.bias = (
            nn.Linear(D, 32, bias=False),
            nn.Parameter(torch.randn(32, 10) / 3),
            nn.Parameter(torch.zeros(16)),
        )

    def forward(self, x, memory):
        memory = torch.cat([memory[:, :, 1:], self.feature(x).unsqueeze(-1)], dim=-1)
        y = (memory * self.time).sum(-1).view(-1, 16, 2).sum(-1) + self.bias
        return F.relu(y), memory


class KeywordMlp(nn.Module):
    """Keyword-MLP's gated block with a temporal gate."""

    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(D), nn.Linear(D, 48), nn.Linear(24, D)
        self.gate_norm, self.spatial = nn.LayerNorm(24), nn.Conv1d(T, T, 1)

    def forward(self, x):
        y = F.gelu(self.up(self.norm(x)))
        res, gate = y.chunk(2, dim=-1)
        return self.down(res * torch.tanh(self.spatial(self.gate_norm(gate)))) + x


class QuartzBlock(nn.Module):
    """QuartzNet / Citrinet: time-channel separable convolutions, batch norm, SE over the whole context."""

    def __init__(self):
        super().__init__()
        mods = []
        for i in range(2):
            mods += [nn.Conv1d(D, D, 11, padding=5, groups=D, bias=False), nn.Conv1d(D, D, 1, bias=False), nn.BatchNorm1d(D, eps=1e-3)]
            mods += [nn.ReLU()] if i == 0 else []
        self.mconv = nn.Sequential(*mods)
        self.se = nn.Sequential(nn.Linear(D, 6, bias=False), nn.ReLU(), nn.Linear(6, D, bias=False))
        self.res = nn.Sequential(nn.Conv1d(D, D, 1, bias=False), nn.BatchNorm1d(D, eps=1e-3))

    def forward(self, x):
        y = self.mconv(x)
        s = self.se(F.adaptive_avg_pool1d(y, 1).squeeze(-1)).unsqueeze(-1)
        return F.relu(y * torch.sigmoid(s) + self.res(x))


class HifiResidual(nn.Module):
    """HiFi-GAN: transposed convolution, then the mean of residual blocks of several widths."""

    def __init__(self):
        super().__init__()
        self.pre, self.up, self.post = nn.Conv1d(10, 16, 7, padding=3), nn.ConvTranspose1d(16, 8, 8, 4, 2), nn.Conv1d(8, 1, 7, padding=3)
        self.blocks = nn.ModuleList(nn.ModuleList(nn.Conv1d(8, 8, k, dilation=d, padding=(k * d - d) // 2) for d in (1, 3)) for k in (3, 7))

    def forward(self, x):
        x = self.up(F.leaky_relu(self.pre(x), 0.1))
        xs = None
        for block in self.blocks:
            y = x
            for conv in block:
                y = y + conv(F.leaky_relu(y, 0.1))
            xs = y if xs is None else xs + y
        return torch.tanh(self.post(F.leaky_relu(xs / 2)))


class StreamingConformerStep(nn.Module):
    """A step of a cached conformer: left context of keys and of the convolution come in and go out."""

    def __init__(self):
        super().__init__()
        self.n1, self.n2, self.n3 = nn.LayerNorm(D), nn.LayerNorm(D), nn.LayerNorm(D)
        self.q, self.k, self.v, self.o = (nn.Linear(D, D) for _ in range(4))
        self.pw1, self.dw, self.pw2 = nn.Conv1d(D, 2 * D, 1), nn.Conv1d(D, D, 7, groups=D), nn.Conv1d(D, D, 1)

    def forward(self, x, k_cache, v_cache, conv_cache):
        y = self.n1(x)
        k, v = torch.cat([k_cache, self.k(y)], 1), torch.cat([v_cache, self.v(y)], 1)
        heads = lambda z: z.view(1, -1, 4, 6).transpose(1, 2)
        a = F.scaled_dot_product_attention(heads(self.q(y)), heads(k), heads(v))
        x = x + self.o(a.transpose(1, 2).reshape(1, -1, D))
        c = F.glu(self.pw1(self.n2(x).transpose(1, 2)), dim=1)
        c = torch.cat([conv_cache, c], 2)
        x = x + self.pw2(F.silu(self.dw(c))).transpose(1, 2)
        return self.n3(x), k[:, 4:], v[:, 4:], c[:, :, 4:]


class StftClassifier(nn.Module):
    """torch.stft inside the model, power, log, and a convolution."""

    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(64))
        self.conv, self.fc = nn.Conv1d(33, 16, 3), nn.Linear(16, 5)

    def forward(self, wave):
        spectrum = torch.stft(wave, 64, 32, window=self.window, center=False, onesided=True, return_complex=True)
        power = torch.view_as_real(spectrum).pow(2).sum(-1)
        return self.fc(F.relu(self.conv(torch.log(power + 1e-2))).mean(-1))


class GlobalFilter(nn.Module):
    """GFNet: a learned filter in the frequency domain, real and imaginary parts apart."""

    def __init__(self):
        super().__init__()
        self.re, self.im = nn.Parameter(torch.randn(T // 2 + 1, D) / 4), nn.Parameter(torch.randn(T // 2 + 1, D) / 4)
        self.norm = nn.LayerNorm(D)

    def forward(self, x):
        spectrum = torch.view_as_real(torch.fft.rfft(self.norm(x), dim=1, norm="backward"))
        re, im = spectrum[..., 0], spectrum[..., 1]
        re, im = re * self.re - im * self.im, re * self.im + im * self.re
        return x + torch.log1p(re.pow(2) + im.pow(2)).mean(1, keepdim=True)


# --- Sensors, tables, policies, fields ---------------------------------------------------------------------------------------------


class SegRnn(nn.Module):
    """Forecast by segments: one GRU over segments, positions and channels in the decoder."""

    def __init__(self):
        super().__init__()
        self.value, self.rnn, self.predict = nn.Sequential(nn.Linear(6, 16), nn.ReLU()), nn.GRU(16, 16, batch_first=True), nn.Linear(16, 6)
        self.pos, self.channel = nn.Parameter(torch.randn(2, 8)), nn.Parameter(torch.randn(3, 8))

    def forward(self, x):
        last = x[:, -1:, :].detach()
        x = (x - last).permute(0, 2, 1)
        x = self.value(x.reshape(-1, 4, 6))
        _, hn = self.rnn(x)
        pos = torch.cat([self.pos.unsqueeze(0).repeat(3, 1, 1), self.channel.unsqueeze(1).repeat(1, 2, 1)], dim=-1)
        pos = pos.view(-1, 1, 16).repeat(x.size(0) // 3, 1, 1)
        _, hy = self.rnn(pos, hn.repeat(1, 1, 2).view(1, -1, 16))
        return self.predict(hy).view(-1, 3, 12).permute(0, 2, 1) + last


class Tide(nn.Module):
    def __init__(self):
        super().__init__()
        block = lambda i, o: nn.ModuleList([nn.Linear(i, 16), nn.Linear(16, o), nn.Linear(i, o), nn.LayerNorm(o)])
        self.enc, self.dec, self.temporal, self.look = block(24, 16), block(16, 16), block(5, 1), nn.Linear(16, 4)

    @staticmethod
    def run(block, x):
        return (
            block[3](block[1](F.relu(block[0](x))) + block[2](x))
            if block[3].normalized_shape[0] > 1
            else block[1](F.relu(block[0](x))) + block[2](x)
        )

    def forward(self, x, covariates):
        g = self.run(self.dec, self.run(self.enc, torch.cat([x, covariates.flatten(1)], 1)))
        y = torch.cat([g.view(-1, 4, 4), covariates.view(-1, 4, 2)[:, :, :1]], dim=-1)
        return self.run(self.temporal, y).squeeze(-1) + self.look(x)


class TinySleepNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv1d(1, 16, 25, 3, bias=False),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.MaxPool1d(4, 4),
            nn.Conv1d(16, 16, 8, padding="same", bias=False),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.MaxPool1d(4, 4, ceil_mode=True),
        )
        self.rnn, self.fc = nn.LSTM(16 * 5, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, x, h, c):
        y = self.cnn(x).flatten(1).unsqueeze(1)
        y, (h, c) = self.rnn(y, (h, c))
        return F.softmax(self.fc(y[:, -1]), dim=-1), h, c


class EegConformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.shallow = nn.Sequential(
            nn.Conv2d(1, 16, (1, 9)), nn.Conv2d(16, 16, (8, 1)), nn.BatchNorm2d(16), nn.ELU(), nn.AvgPool2d((1, 9), (1, 4))
        )
        self.projection, self.layer = (
            nn.Conv2d(16, 16, 1),
            nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", batch_first=True, norm_first=True),
        )
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        y = self.projection(self.shallow(x)).flatten(2).transpose(1, 2)
        return self.fc(self.layer(y).mean(dim=1))


class FtTransformer(nn.Module):
    """Tables: a token for each feature by a scale and a shift, a class token last, ReGLU."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(6, 16)), nn.Parameter(torch.randn(6, 16))
        self.category, self.cls = nn.Embedding(9, 16), nn.Parameter(torch.randn(1, 1, 16))
        self.register_buffer("offsets", torch.tensor([0, 4]))
        self.att, self.n1, self.n2 = nn.MultiheadAttention(16, 4, batch_first=True), nn.LayerNorm(16), nn.LayerNorm(16)
        self.up, self.down, self.head = nn.Linear(16, 48), nn.Linear(24, 16), nn.Linear(16, 1)

    def forward(self, numbers, categories):
        x = torch.cat(
            [
                self.weight[None] * numbers[:, :, None] + self.bias[None],
                self.category(categories + self.offsets[None]),
                self.cls.expand(numbers.size(0), -1, -1),
            ],
            1,
        )
        y = self.n1(x)
        x = x + self.att(y, y, y, need_weights=False)[0]
        a, b = self.up(self.n2(x)).chunk(2, dim=-1)
        x = x + self.down(a * F.relu(b))
        return self.head(F.relu(x[:, -1]))


class NodeTree(nn.Module):
    """A soft tree of depth three: products of left and right probabilities to eight leaves."""

    def __init__(self):
        super().__init__()
        self.inner, self.leaf = nn.Linear(10, 7), nn.Parameter(torch.randn(8, 3))

    def forward(self, x):
        p = torch.sigmoid(self.inner(x))
        p = torch.stack((p, 1 - p), dim=2)
        mu = torch.ones(x.size(0), 1, 1)
        begin, end = 0, 1
        for depth in range(3):
            mu = mu.view(x.size(0), -1, 1).repeat(1, 1, 2) * p[:, begin:end, :]
            begin, end = end, end + 2 ** (depth + 1)
        return mu.view(x.size(0), 8) @ torch.softmax(self.leaf, -1)


class SacPolicy(nn.Module):
    """A squashed Gaussian: mean and log standard deviation clamped, action and its log probability."""

    def __init__(self):
        super().__init__()
        self.net, self.mu, self.log_std = (
            nn.Sequential(nn.Linear(11, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU()),
            nn.Linear(32, 3),
            nn.Linear(32, 3),
        )

    def forward(self, obs, noise):
        h = self.net(obs)
        mu, log_std = self.mu(h), torch.clamp(self.log_std(h), -5, 2)
        u = mu + torch.exp(log_std) * noise
        logp = (-0.5 * noise.pow(2) - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)
        logp = logp - (2 * (math.log(2) - u - F.softplus(-2 * u))).sum(-1)
        return torch.tanh(u), logp


class DecisionTransformer(nn.Module):
    """Returns, states and actions interleaved, causal, the action from the state's token."""

    def __init__(self):
        super().__init__()
        self.r, self.s, self.a, self.t = nn.Linear(1, D), nn.Linear(11, D), nn.Linear(3, D), nn.Embedding(20, D)
        self.ln, self.layer, self.head = (
            nn.LayerNorm(D),
            nn.TransformerEncoderLayer(D, 2, 32, batch_first=True, norm_first=True),
            nn.Linear(D, 3),
        )

    def forward(self, returns, states, actions, timesteps):
        b, n = states.shape[0], 5
        time = self.t(timesteps)
        x = torch.stack((self.r(returns) + time, self.s(states) + time, self.a(actions) + time), dim=1)
        x = self.ln(x.permute(0, 2, 1, 3).reshape(b, 3 * n, D))
        mask = torch.triu(torch.ones(15, 15, dtype=torch.bool), 1)
        x = self.layer(x, src_mask=mask).reshape(b, n, 3, D).permute(0, 2, 1, 3)
        return torch.tanh(self.head(x[:, 1]))


class ImpalaDrqn(nn.Module):
    """Residual convolutions of pixels as bytes, an LSTM step, a dueling head."""

    def __init__(self):
        super().__init__()
        self.conv, self.r1, self.r2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.fc, self.rnn, self.adv, self.val = nn.Linear(8 * 36, 24), nn.LSTMCell(24, 16), nn.Linear(16, 4), nn.Linear(16, 1)

    def forward(self, pixels, h, c):
        x = F.max_pool2d(self.conv(pixels / 255.0 - 0.5), 3, 2, 1)
        x = x + self.r2(F.relu(self.r1(F.relu(x))))
        h, c = self.rnn(F.relu(self.fc(F.relu(x).flatten(1))), (h, c))
        a = self.adv(h)
        return self.val(h) + a - a.mean(1, keepdim=True), h, c


class Siren(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.ModuleList([nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 1)])
        with torch.no_grad():
            self.l[0].weight.uniform_(-0.5, 0.5)

    def forward(self, x):
        y = torch.sin(6 * self.l[0](x))
        return self.l[2](torch.sin(2 * self.l[1](y)))


class FourierField(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("bands", 2.0 ** torch.arange(4))
        self.net = nn.Sequential(nn.Linear(27, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x):
        spread = (x[..., None] * self.bands).flatten(-2)
        y = self.net(torch.cat([x, torch.sin(spread), torch.cos(spread)], -1))
        return torch.sigmoid(y[..., :3]), F.softplus(y[..., 3:] - 1)


class KanLayer(nn.Module):
    """efficient-kan: B-splines of order 3 by recursion, plus a SiLU base."""

    def __init__(self, i=8, o=6, grid=5, order=3):
        super().__init__()
        h = 2 / grid
        self.order = order
        self.register_buffer("grid", (torch.arange(-order, grid + order + 1) * h - 1).expand(i, -1).contiguous())
        self.base, self.spline = nn.Parameter(torch.randn(o, i) / i), nn.Parameter(torch.randn(o, i * (grid + order)) / 6)

    def forward(self, x):
        grid, u = self.grid, x.unsqueeze(-1)
        bases = ((u >= grid[:, :-1]) & (u < grid[:, 1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            bases = (u - grid[:, : -(k + 1)]) / (grid[:, k:-1] - grid[:, : -(k + 1)]) * bases[:, :, :-1] + (grid[:, k + 1 :] - u) / (
                grid[:, k + 1 :] - grid[:, 1:-k]
            ) * bases[:, :, 1:]
        return F.linear(F.silu(x), self.base) + F.linear(bases.flatten(1), self.spline)


class RbfNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.centres, self.log_sigma, self.out = nn.Parameter(torch.randn(10, 6)), nn.Parameter(torch.zeros(10)), nn.Linear(10, 2)

    def forward(self, x):
        d = (
            torch.cdist(x, self.centres.unsqueeze(0).expand(x.size(0), -1, -1))
            if x.dim() == 3
            else (x.unsqueeze(1) - self.centres).pow(2).sum(-1).sqrt()
        )
        return self.out(torch.exp(-((d / self.log_sigma.exp() / 2) ** 2)))


class Prototypes(nn.Module):
    """Matching network: cosine similarity to support vectors, softmax over them, labels mixed."""

    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 16))

    def forward(self, query, support, labels):
        q, s = self.f(query), self.f(support)
        sim = F.cosine_similarity(q.unsqueeze(1), s, dim=-1)
        return torch.bmm((5 * sim).softmax(-1).unsqueeze(1), labels).squeeze(1)


class GraphTransformer(nn.Module):
    """Edges as features: they change the scores and gate the values; sums over neighbours by a dense adjacency; GIN after."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.e, self.g = (nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(4, 3), nn.Linear(4, 3))
        self.eps, self.mlp = nn.Parameter(torch.tensor(0.1)), nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 12))

    def forward(self, h, e, adjacency):
        n = h.size(0)
        q, k, v = (layer(h).view(n, 3, 4).transpose(0, 1) for layer in (self.q, self.k, self.v))
        scores = torch.clamp(q @ k.transpose(1, 2) / 2, -5, 5) + self.e(e).permute(2, 0, 1)
        scores = scores.masked_fill(adjacency.unsqueeze(0) == 0, -1e9)
        a = scores.softmax(-1) * torch.sigmoid(self.g(e).permute(2, 0, 1))
        h = h + (a @ v).transpose(0, 1).reshape(n, 12)
        return self.mlp((1 + self.eps) * h + adjacency.float() @ h)


class KBestPool(nn.Module):
    """k-max pooling and the mean of the k best instances, with the place of the best one."""

    def __init__(self):
        super().__init__()
        self.f, self.g = nn.Linear(D, D), nn.Linear(D, 4)

    def forward(self, x):
        y = torch.tanh(self.f(x))
        scores = y.mean(-1)
        best = scores.topk(3, dim=1)
        chosen = torch.gather(y, 1, best.indices.unsqueeze(-1).expand(-1, -1, D))
        return self.g(chosen.mean(1)), y.topk(4, dim=1).values, (-scores).argmin(1)


class KalmanNet(nn.Module):
    """A Kalman gain from a GRU, the state and observation models fixed."""

    def __init__(self):
        super().__init__()
        self.register_buffer("Fm", torch.tensor([[1.0, 0.1], [0.0, 1.0]]))
        self.register_buffer("Hm", torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
        self.inp, self.gru, self.out = nn.Linear(4, 16), nn.GRUCell(16, 16), nn.Linear(16, 4)

    def forward(self, y, x_post, x_prev, h):
        x_prior = torch.matmul(self.Fm, x_post.unsqueeze(-1))
        dy = y.unsqueeze(-1) - torch.matmul(self.Hm, x_prior)
        feats = torch.cat([F.normalize(dy.squeeze(-1), p=2, dim=1, eps=1e-12), F.normalize(x_post - x_prev, p=2, dim=1)], 1)
        h = self.gru(F.relu(self.inp(feats)), h)
        return (x_prior + torch.bmm(self.out(h).view(-1, 2, 2), dy)).squeeze(-1), h


x = lambda: real(1, T, D)
SYSTEMS = {
    "dtln": System(DtlnCore, {"mag": positive(1, 10, 33)}),
    "complex_conv": System(ComplexConv, {"x": real(1, 2, 17, 8)}),
    "gtcrn_block": System(GroupedGruEnhancer, {"x": real(1, 8, 4, 9)}),
    "dual_path": System(DualPath, {"x": real(1, D, 32)}),
    "sincnet": System(SincFilters, {"waveforms": real(1, 1, 320, scale=0.3)}),
    "mel_front_end": System(MelFrontEnd, {"wave": real(1, 1, 512, scale=0.3)}),
    "res15": System(Res15, {"x": real(1, 20, 12)}),
    "svdf": System(Svdf, {"x": real(1, D), "memory": real(1, 32, 10)}, stack=False),
    "keyword_mlp": System(KeywordMlp, {"x": x()}),
    "quartz_block": System(QuartzBlock, {"x": real(1, D, 20)}),
    "hifi_residual": System(HifiResidual, {"x": real(1, 10, 8)}),
    "streaming_conformer": System(
        StreamingConformerStep, {"x": real(1, 4, D), "k_cache": real(1, 8, D), "v_cache": real(1, 8, D), "conv_cache": real(1, D, 6)}
    ),
    "seg_rnn": System(SegRnn, {"x": real(1, 24, 3)}),
    "tide": System(Tide, {"x": real(1, 16), "covariates": real(1, 4, 2)}),
    "tiny_sleep_net": System(TinySleepNet, {"x": real(1, 1, 256), "h": state(1, 1, 16, batch=1), "c": real(1, 1, 16, batch=1)}),
    "eeg_conformer": System(EegConformer, {"x": real(1, 1, 8, 64)}),
    "ft_transformer": System(FtTransformer, {"numbers": real(1, 6), "categories": tokens(4, 1, 2)}),
    "soft_tree": System(NodeTree, {"x": real(1, 10)}),
    "sac_policy": System(SacPolicy, {"obs": real(1, 11), "noise": real(1, 3)}),
    "decision_transformer": System(
        DecisionTransformer, {"returns": real(1, 5, 1), "states": real(1, 5, 11), "actions": state(1, 5, 3), "timesteps": tokens(20, 1, 5)}
    ),
    "impala_drqn": System(ImpalaDrqn, {"pixels": tokens(256, 1, 3, 12, 12), "h": state(1, 16), "c": real(1, 16)}),
    "siren": System(Siren, {"x": state(1, 2)}),
    "fourier_field": System(FourierField, {"x": state(1, 3)}),
    "kan_layer": System(KanLayer, {"x": state(1, 8)}),
    "rbf_network": System(RbfNetwork, {"x": real(1, 6)}),
    "matching_network": System(Prototypes, {"query": real(1, 12), "support": real(1, 8, 12), "labels": state(1, 8, 3)}),
    "graph_transformer": System(
        GraphTransformer,
        {"h": real(7, 12, batch=None), "e": real(7, 7, 4, batch=None), "adjacency": tokens(2, 7, 7, batch=None)},
    ),
    "stft_classifier": System(StftClassifier, {"wave": real(1, 512, scale=0.3)}),
    "global_filter": System(GlobalFilter, {"x": x()}),
    "k_best_pool": System(KBestPool, {"x": x()}),
    "kalman_net": System(KalmanNet, {"y": real(1, 2), "x_post": real(1, 2), "x_prev": real(1, 2), "h": state(1, 16)}),
}
