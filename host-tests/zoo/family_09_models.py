"""More models of speech, sensors, forecasting and images in their authors' code."""

import torch
import torch.nn.functional as F
from inputs import System, lengths_mask, positive, real, state, tokens
from torch import nn

T, D = 16, 24


# --- Speech: recognition, synthesis, enhancement -------------------------------------------------------------------------------


class LocationAttention(nn.Module):
    """Tacotron 2's step (NVIDIA): cumulative weights through a convolution, energies, two LSTM cells; memory processed outside."""

    def __init__(self, steps=12):
        super().__init__()
        self.prenet = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
        self.attention_rnn, self.decoder_rnn = nn.LSTMCell(16 + D, 20), nn.LSTMCell(20 + D, 20)
        self.query_layer, self.memory_layer, self.v = (
            nn.Linear(20, 16, bias=False),
            nn.Linear(D, 16, bias=False),
            nn.Linear(16, 1, bias=False),
        )
        self.location_conv, self.location_dense = nn.Conv1d(2, 6, 5, padding=2, bias=False), nn.Linear(6, 16, bias=False)
        self.linear_projection, self.gate_layer = nn.Linear(20 + D, 10), nn.Linear(20 + D, 1)

    def forward(self, decoder_input, memory, ah, ac, dh, dc, weights, cumulative, context):
        ah, ac = self.attention_rnn(torch.cat((self.prenet(decoder_input), context), -1), (ah, ac))
        weights_cat = torch.cat((weights.unsqueeze(1), cumulative.unsqueeze(1)), dim=1)
        location = self.location_dense(self.location_conv(weights_cat).transpose(1, 2))
        energies = self.v(torch.tanh(self.query_layer(ah.unsqueeze(1)) + location + self.memory_layer(memory))).squeeze(-1)
        weights = F.softmax(energies, dim=1)
        context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
        cumulative = cumulative + weights
        dh, dc = self.decoder_rnn(torch.cat((ah, context), -1), (dh, dc))
        both = torch.cat((dh, context), dim=1)
        return self.linear_projection(both), self.gate_layer(both), ah, ac, dh, dc, weights, cumulative, context


class ListenAttendSpell(nn.Module):
    """The listener: pyramidal bidirectional LSTMs that join neighbouring frames."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (
            nn.LSTM(2 * 10, 8, bidirectional=True, batch_first=True),
            nn.LSTM(32, 8, bidirectional=True, batch_first=True),
        )

    def forward(self, x):
        for rnn in (self.first, self.second):
            b, t, f = x.size()
            x, _ = rnn(x.contiguous().view(b, t // 2, f * 2))
        return x


class RnnTransducer(nn.Module):
    """The joint network: encoder rows and prediction rows broadcast against each other, tanh, log-softmax."""

    def __init__(self):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(20, 16), nn.GRU(16, D, batch_first=True)
        self.enc, self.pred, self.out = nn.Linear(D, 20), nn.Linear(D, 20), nn.Linear(20, 20)

    def forward(self, enc, labels):
        pred, _ = self.rnn(self.embed(labels))
        joint = torch.tanh(self.enc(enc).unsqueeze(2) + self.pred(pred).unsqueeze(1))
        return self.out(joint).log_softmax(dim=-1)


class Wav2Vec(nn.Module):
    """Feature extractor of raw audio (GroupNorm first), projection, positional grouped convolution with weight norm, GELU, one layer."""

    def __init__(self):
        super().__init__()
        self.conv0, self.norm0, self.conv1 = (
            nn.Conv1d(1, 16, 10, 5, bias=False),
            nn.GroupNorm(16, 16),
            nn.Conv1d(16, 16, 3, 2, bias=False),
        )
        self.norm, self.proj = nn.LayerNorm(16), nn.Linear(16, D)
        self.pos = nn.utils.weight_norm(nn.Conv1d(D, D, 8, padding=4, groups=4), name="weight", dim=2)
        self.layer_norm, self.fc = nn.LayerNorm(D), nn.Linear(D, 12)

    def forward(self, x):
        x = F.gelu(self.norm0(self.conv0(x.unsqueeze(1))))
        x = F.gelu(self.conv1(x)).transpose(1, 2)
        x = self.proj(self.norm(x))
        y = self.pos(x.transpose(1, 2))[:, :, :-1]
        return self.fc(self.layer_norm(x + F.gelu(y).transpose(1, 2)))


class DeepSpeech(nn.Module):
    """DeepSpeech 2: 2-D convolutions with hardtanh, batch norm by sequence, GRU whose directions are summed, lookahead convolution."""

    def __init__(self, bands=16):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 8, (5, 5), (2, 2), (2, 2)), nn.BatchNorm2d(8), nn.Hardtanh(0, 20, inplace=True))
        self.rnn, self.bn = nn.GRU(64, 16, bidirectional=True), nn.BatchNorm1d(16)
        self.look, self.fc = nn.Conv1d(16, 16, 4, groups=16, bias=False), nn.Linear(16, 12, bias=False)

    def forward(self, x):
        x = self.conv(x)
        n, c, f, t = x.size()
        x = x.view(n, c * f, t).transpose(1, 2).transpose(0, 1).contiguous()
        x, _ = self.rnn(x)
        x = x.view(x.size(0), x.size(1), 2, -1).sum(2).view(x.size(0), x.size(1), -1)
        t, n = x.size(0), x.size(1)
        x = self.bn(x.view(t * n, -1)).view(t, n, -1)
        x = F.pad(x.transpose(0, 1).transpose(1, 2), (0, 3))
        x = self.look(x).transpose(1, 2).transpose(0, 1).contiguous()
        return F.softmax(self.fc(F.hardtanh(x, 0, 20)).transpose(0, 1), dim=-1)


class Demucs(nn.Module):
    """facebook/denoiser: strided convolutions with GLU, LSTM, transposed ones with skips; input divided by its deviation."""

    def __init__(self, normalize):
        super().__init__()
        self.normalize = normalize
        enc = lambda a, b: nn.Sequential(nn.Conv1d(a, b, 8, 4, 2), nn.ReLU(), nn.Conv1d(b, 2 * b, 1), nn.GLU(1))
        dec = lambda a, b, last: nn.Sequential(
            nn.Conv1d(a, 2 * a, 1), nn.GLU(1), nn.ConvTranspose1d(a, b, 8, 4, 2), *([] if last else [nn.ReLU()])
        )
        self.encoder, self.decoder = nn.ModuleList([enc(1, 8), enc(8, 16)]), nn.ModuleList([dec(16, 8, False), dec(8, 1, True)])
        self.lstm = nn.LSTM(16, 16)

    def forward(self, mix):
        std = 1
        if self.normalize:
            std = mix.mean(dim=1, keepdim=True).std(dim=-1, keepdim=True)
            mix = mix / (1e-3 + std)
        x, skips = mix, []
        for encode in self.encoder:
            x = encode(x)
            skips.append(x)
        x = self.lstm(x.permute(2, 0, 1))[0].permute(1, 2, 0)
        for decode in self.decoder:
            skip = skips.pop(-1)
            x = decode(x + skip[..., : x.shape[-1]])
        return std * x


class RnNoise(nn.Module):
    """RNNoise's step: three GRUs with their states, gains and voice activity."""

    def __init__(self):
        super().__init__()
        self.dense, self.vad, self.noise, self.denoise = (
            nn.Linear(18, 12),
            nn.GRU(12, 12, batch_first=True),
            nn.GRU(42, 16, batch_first=True),
            nn.GRU(46, 20, batch_first=True),
        )
        self.gain, self.vad_out = nn.Linear(20, 10), nn.Linear(12, 1)

    def forward(self, x, v, n, d):
        y = torch.tanh(self.dense(x))
        vad, v = self.vad(y, v)
        noise, n = self.noise(torch.cat([y, vad, x], -1), n)
        denoise, d = self.denoise(torch.cat([vad, noise, x], -1), d)
        return torch.sigmoid(self.gain(denoise)), torch.sigmoid(self.vad_out(vad)), v, n, d


class ConvTasNet(nn.Module):
    """Learned filterbank, global layer norm over channels and time, PReLU, dilated depthwise, masks, decoder."""

    def __init__(self, N=16, H=24, speakers=2):
        super().__init__()
        self.encoder, self.decoder = nn.Conv1d(1, N, 8, 4, bias=False), nn.ConvTranspose1d(N, 1, 8, 4, bias=False)
        self.gamma, self.beta = nn.Parameter(0.5 + torch.rand(1, N, 1)), nn.Parameter(0.2 * torch.randn(1, N, 1))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(N, H, 1),
                nn.PReLU(),
                nn.GroupNorm(1, H),
                nn.Conv1d(H, H, 3, padding=2**i, dilation=2**i, groups=H),
                nn.PReLU(),
                nn.GroupNorm(1, H),
                nn.Conv1d(H, N, 1),
            )
            for i in range(2)
        )
        self.mask, self.N, self.speakers = nn.Conv1d(N, speakers * N, 1), N, speakers

    def forward(self, x):
        w = F.relu(self.encoder(x))
        mean = torch.mean(w, (1, 2), keepdim=True)
        var = torch.mean((w - mean) ** 2, (1, 2), keepdim=True)
        y = self.gamma * (w - mean) / torch.pow(var + 1e-8, 0.5) + self.beta
        for block in self.blocks:
            y = y + block(y)
        m = torch.sigmoid(self.mask(y)).view(x.size(0), self.speakers, self.N, -1)
        s = w.unsqueeze(1) * m
        return self.decoder(s.view(x.size(0) * self.speakers, self.N, -1)).view(x.size(0), self.speakers, -1)


class CausalConvStep(nn.Module):
    """A streaming block as exported by hand: the cache of a causal convolution in, the new one out."""

    def __init__(self):
        super().__init__()
        self.conv, self.point, self.norm = nn.Conv1d(D, D, 5, groups=D), nn.Conv1d(D, D, 1), nn.BatchNorm1d(D)

    def forward(self, x, cache):
        y = torch.cat([cache, x], dim=2)
        return x + F.silu(self.norm(self.point(self.conv(y)))), y[:, :, -4:]


class StyleTokens(nn.Module):
    """Global style tokens: strided convolutions, GRU's last state as the query of tanh-ed learned tokens."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.gru, self.embed = nn.GRU(8 * 4, 16, batch_first=True), nn.Parameter(torch.randn(6, 8))
        self.W_query, self.W_key, self.W_value = (
            nn.Linear(16, 16, bias=False),
            nn.Linear(8, 16, bias=False),
            nn.Linear(8, 16, bias=False),
        )

    def forward(self, x):
        n = x.size(0)
        out = self.convs(x.view(n, 1, -1, 16)).transpose(1, 2)
        out = out.contiguous().view(n, out.size(1), -1)
        _, out = self.gru(out)
        query, keys = out.squeeze(0).unsqueeze(1), torch.tanh(self.embed).unsqueeze(0).expand(n, -1, -1)
        q, k, v = self.W_query(query), self.W_key(keys), self.W_value(keys)
        split = lambda y: torch.stack(torch.split(y, 4, dim=2), dim=0)
        q, k, v = split(q), split(k), split(v)
        scores = F.softmax(torch.matmul(q, k.transpose(2, 3)) / 2, dim=3)
        out = torch.matmul(scores, v)
        return torch.cat(torch.split(out, 1, dim=0), dim=3).squeeze(0)


# --- Sensors and forecasting ---------------------------------------------------------------------------------------------------


class DaRnn(nn.Module):
    """Dual-stage attention RNN's encoder, unrolled: weights over driving series from state, cell and the series itself."""

    def __init__(self, steps=5, series=6, hidden=12):
        super().__init__()
        self.steps, self.series, self.hidden = steps, series, hidden
        self.lstm, self.attn = nn.LSTM(series, hidden), nn.Linear(2 * hidden + steps, 1)

    def forward(self, x):
        hidden, cell = torch.zeros(1, x.size(0), self.hidden), torch.zeros(1, x.size(0), self.hidden)
        encoded = []
        for t in range(self.steps):
            joined = torch.cat(
                (
                    hidden.repeat(self.series, 1, 1).permute(1, 0, 2),
                    cell.repeat(self.series, 1, 1).permute(1, 0, 2),
                    x.permute(0, 2, 1),
                ),
                dim=2,
            )
            weights = F.softmax(self.attn(joined.view(-1, self.hidden * 2 + self.steps)).view(-1, self.series), dim=1)
            _, (hidden, cell) = self.lstm((weights * x[:, t, :]).unsqueeze(0), (hidden, cell))
            encoded.append(hidden[0])
        return torch.stack(encoded, dim=1)


class Tpa(nn.Module):
    """TPA-LSTM: convolutions over hidden states, sigmoid weights by the last state."""

    def __init__(self):
        super().__init__()
        self.lstm, self.conv = nn.LSTM(5, 16, batch_first=True), nn.Conv2d(1, 8, (T - 1, 1))
        self.linear1, self.linear2, self.out = nn.Linear(16, 8), nn.Linear(8 + 16, 16), nn.Linear(16, 3)

    def forward(self, x):
        H, (htt, _) = self.lstm(F.relu(x))
        htt = htt[-1]
        H = F.relu(self.conv(H[:, :-1].unsqueeze(1))).squeeze(2)
        w = torch.sigmoid(torch.bmm(H.permute(0, 2, 1), self.linear1(htt).unsqueeze(-1)).squeeze(-1))
        v = torch.matmul(H, w.unsqueeze(-1)).squeeze(-1)
        return self.out(self.linear2(torch.cat((htt, v), dim=1)))


class DLinear(nn.Module):
    """NLinear and RLinear: the last value taken out and put back; one Linear a channel, or for all."""

    def __init__(self, individual):
        super().__init__()
        self.individual = individual
        self.linear, self.each = nn.Linear(T, 6), nn.ModuleList(nn.Linear(T, 6) for _ in range(3))

    def forward(self, x):
        seq_last = x[:, -1:, :].detach()
        x = x - seq_last
        if self.individual:
            output = torch.zeros([x.size(0), 6, x.size(2)], dtype=x.dtype)
            for i in range(3):
                output[:, :, i] = self.each[i](x[:, :, i])
            x = output
        else:
            x = self.linear(x.permute(0, 2, 1)).permute(0, 2, 1)
        return x + seq_last


class TsMixer(nn.Module):
    """BatchNorm over time and features flattened, time MLP, feature MLP, linear head over time."""

    def __init__(self, c=4):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm1d(T * c), nn.BatchNorm1d(T * c)
        self.time, self.f1, self.f2, self.head = nn.Linear(T, T), nn.Linear(c, 16), nn.Linear(16, c), nn.Linear(T, 5)

    def forward(self, x):
        y = self.norm1(torch.flatten(x, 1)).view(x.shape)
        x = x + F.relu(self.time(y.transpose(1, 2))).transpose(1, 2)
        y = self.norm2(torch.flatten(x, 1)).view(x.shape)
        x = x + self.f2(F.relu(self.f1(y)))
        return self.head(x.transpose(1, 2)).transpose(1, 2)


class ITransformer(nn.Module):
    """Series as tokens, standardised over time and put back."""

    def __init__(self, c=5):
        super().__init__()
        self.embed, self.layer, self.head = nn.Linear(T, D), nn.TransformerEncoderLayer(D, 4, 48, batch_first=True), nn.Linear(D, 6)

    def forward(self, x):
        means = x.mean(1, keepdim=True).detach()
        x = x - means
        stdev = torch.sqrt(torch.var(x, dim=1, keepdim=True, unbiased=False) + 1e-5)
        x = x / stdev
        y = self.head(self.layer(self.embed(x.permute(0, 2, 1)))).permute(0, 2, 1)
        y = y * stdev[:, 0, :].unsqueeze(1).repeat(1, 6, 1)
        return y + means[:, 0, :].unsqueeze(1).repeat(1, 6, 1)


class NHits(nn.Module):
    """Pooling of the window, an MLP, interpolation of few numbers to the horizon."""

    def __init__(self):
        super().__init__()
        self.pool, self.mlp = nn.MaxPool1d(4, 4, ceil_mode=True), nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, T + 3))

    def forward(self, x):
        theta = self.mlp(self.pool(x.unsqueeze(1)).squeeze(1))
        forecast = F.interpolate(theta[:, None, T:], size=12, mode="linear").squeeze(1)
        return x - theta[:, :T], forecast


class SciNet(nn.Module):
    """Even and odd steps, each scaled by exp of tanh of a convolution of the other, then interleaved again."""

    def __init__(self, c=6):
        super().__init__()
        block = lambda: nn.Sequential(
            nn.ReplicationPad1d((2, 2)), nn.Conv1d(c, 12, 3), nn.LeakyReLU(0.01), nn.Conv1d(12, c, 3), nn.Tanh()
        )
        self.phi, self.psi, self.u, self.p = block(), block(), block(), block()

    def forward(self, x):
        even, odd = x[:, ::2, :].permute(0, 2, 1), x[:, 1::2, :].permute(0, 2, 1)
        d, c = odd.mul(torch.exp(self.phi(even))), even.mul(torch.exp(self.psi(odd)))
        even, odd = c + self.u(d), d - self.p(c)
        return torch.stack([even, odd], dim=3).flatten(2).permute(0, 2, 1)


class DeepConvLstm(nn.Module):
    """Ordonez and Roggen, 2016: convolutions along time for each sensor, two LSTMs, the last row."""

    def __init__(self, sensors=6):
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(1, 8, (5, 1)), nn.ReLU(), nn.Conv2d(8, 8, (5, 1)), nn.ReLU())
        self.lstm, self.fc = nn.LSTM(8 * sensors, 24, 2, batch_first=True), nn.Linear(24, 6)

    def forward(self, x):
        x = self.convs(x.unsqueeze(1)).permute(0, 2, 1, 3)
        x = x.reshape(x.size(0), x.size(1), -1)
        return self.fc(self.lstm(x)[0][:, -1, :])


class EegNet(nn.Module):
    """Temporal, depthwise spatial and separable convolutions, ELU, averages."""

    def __init__(self, chans=8, samples=32):
        super().__init__()
        self.net = nn.Sequential(
            nn.ZeroPad2d((7, 8, 0, 0)),
            nn.Conv2d(1, 8, (1, 16), bias=False),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 16, (chans, 1), groups=8, bias=False),
            nn.BatchNorm2d(16),
            nn.ELU(),
            nn.AvgPool2d((1, 4)),
            nn.Dropout(0.25),
            nn.Conv2d(16, 16, (1, 5), padding="same", groups=16, bias=False),
            nn.Conv2d(16, 16, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ELU(),
            nn.AvgPool2d((1, 4)),
            nn.Flatten(),
            nn.Linear(16 * 2, 4),
        )

    def forward(self, x):
        return self.net(x.unsqueeze(1))


class InceptionTime(nn.Module):
    """Bottleneck, three kernels side by side, max pooling branch; residual."""

    def __init__(self, c=4):
        super().__init__()
        self.bottleneck = nn.Conv1d(c, 8, 1, bias=False)
        self.convs = nn.ModuleList(nn.Conv1d(8, 6, k, padding=k // 2, bias=False) for k in (9, 5, 3))
        self.pool, self.bn = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(c, 6, 1, bias=False)), nn.BatchNorm1d(24)
        self.short, self.fc = nn.Sequential(nn.Conv1d(c, 24, 1), nn.BatchNorm1d(24)), nn.Linear(24, 3)

    def forward(self, x):
        y = self.bottleneck(x)
        y = F.relu(self.bn(torch.cat([conv(y) for conv in self.convs] + [self.pool(x)], dim=1)))
        return self.fc(F.adaptive_avg_pool1d(F.relu(y + self.short(x)), 1).squeeze(-1))


class LstmAutoencoder(nn.Module):
    """The last state repeated over time, a second LSTM, a Linear for each step."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder, self.fc = nn.LSTM(4, 12, batch_first=True), nn.LSTM(12, 12, batch_first=True), nn.Linear(12, 4)

    def forward(self, x):
        _, (hidden, _) = self.encoder(x)
        y = hidden[-1].unsqueeze(1).repeat(1, x.shape[1], 1)
        return self.fc(self.decoder(y)[0])


class StandardisedInput(nn.Module):
    """Mean and deviation as buffers in front of the network, log1p, clamp, and the inverse behind it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5, 1.0, 2.0]))
        self.register_buffer("std", torch.tensor([0.2, 2.0, 1.0]))
        self.net = nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 3))

    def forward(self, x):
        y = (torch.log1p(x) - self.mean) / self.std
        return self.net(torch.clamp(y, -3, 3)) * self.std + self.mean


class MixtureDensity(nn.Module):
    """Mixture weights, means and positive deviations as three outputs; expected value as a fourth."""

    def __init__(self):
        super().__init__()
        self.h, self.pi, self.mu, self.sigma = (
            nn.Sequential(nn.Linear(6, 24), nn.Tanh()),
            nn.Linear(24, 4),
            nn.Linear(24, 4),
            nn.Linear(24, 4),
        )

    def forward(self, x):
        h = self.h(x)
        pi, mu, sigma = F.softmax(self.pi(h), -1), self.mu(h), torch.exp(self.sigma(h))
        return pi, mu, sigma, (pi * mu).sum(-1, keepdim=True)


class DuelingDqn(nn.Module):
    """Value and advantages, their mean taken out; the best action."""

    def __init__(self):
        super().__init__()
        self.body, self.value, self.advantage = nn.Sequential(nn.Linear(8, 32), nn.ReLU()), nn.Linear(32, 1), nn.Linear(32, 5)

    def forward(self, x):
        h = self.body(x)
        a = self.advantage(h)
        return self.value(h) + a - a.mean(dim=1, keepdim=True)


# --- Images --------------------------------------------------------------------------------------------------------------------


class MobileVit(nn.Module):
    """Convolutions, patches unfolded by reshape, a transformer layer between pixels of the same place, folded, joined."""

    def __init__(self, c=8, d=16):
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            nn.Conv2d(c, c, 3, padding=1),
            nn.Conv2d(c, d, 1),
            nn.Conv2d(d, c, 1),
            nn.Conv2d(2 * c, c, 3, padding=1),
        )
        self.layer = nn.TransformerEncoderLayer(d, 2, 32, batch_first=True, norm_first=True, activation="gelu")

    def forward(self, x):
        y = x
        x = self.conv2(self.conv1(x))
        b, d, h, w = x.shape
        x = x.reshape(b * d * (h // 2), 2, w // 2, 2).transpose(1, 2)
        x = x.reshape(b, d, (h // 2) * (w // 2), 4).transpose(1, 3).reshape(b * 4, -1, d)
        x = self.layer(x)
        x = x.contiguous().view(b, 4, (h // 2) * (w // 2), -1).transpose(1, 3)
        x = x.reshape(b * d * (h // 2), w // 2, 2, 2).transpose(1, 2).reshape(b, d, h, w)
        return self.conv4(torch.cat((y, self.conv3(x)), dim=1))


class GhostModule(nn.Module):
    """Primary and cheap features joined and cut."""

    def __init__(self):
        super().__init__()
        self.primary = nn.Sequential(nn.Conv2d(8, 7, 1, bias=False), nn.BatchNorm2d(7), nn.ReLU())
        self.cheap = nn.Sequential(nn.Conv2d(7, 7, 3, 1, 1, groups=7, bias=False), nn.BatchNorm2d(7), nn.ReLU())

    def forward(self, x):
        x1 = self.primary(x)
        return torch.cat([x1, self.cheap(x1)], dim=1)[:, :13, :, :]


class DenseBlock(nn.Module):
    """DenseNet: norm, ReLU, convolution of everything so far; transition; SqueezeNet's fire at the end."""

    def __init__(self):
        super().__init__()
        layer = lambda n: nn.Sequential(
            nn.BatchNorm2d(n),
            nn.ReLU(),
            nn.Conv2d(n, 12, 1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 4, 3, padding=1, bias=False),
        )
        self.layers = nn.ModuleList(layer(8 + 4 * i) for i in range(3))
        self.transition = nn.Sequential(nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 10, 1, bias=False), nn.AvgPool2d(2, 2))
        self.squeeze, self.e1, self.e3 = nn.Conv2d(10, 4, 1), nn.Conv2d(4, 8, 1), nn.Conv2d(4, 8, 3, padding=1)

    def forward(self, x):
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        x = F.relu(self.squeeze(self.transition(torch.cat(features, 1))))
        return torch.cat([F.relu(self.e1(x)), F.relu(self.e3(x))], 1)


class SplitAttention(nn.Module):
    """SKNet and ResNeSt: branches summed, squeezed, a softmax over branches for every channel."""

    def __init__(self, c=16):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, c, 3, padding=1 + i, dilation=1 + i, groups=4), nn.BatchNorm2d(c), nn.ReLU()) for i in range(2)
        )
        self.fc, self.fcs = (
            nn.Sequential(nn.Conv2d(c, 8, 1), nn.BatchNorm2d(8), nn.ReLU()),
            nn.ModuleList(nn.Conv2d(8, c, 1) for _ in range(2)),
        )

    def forward(self, x):
        feats = torch.stack([conv(x) for conv in self.convs], dim=1)
        Z = self.fc(feats.sum(dim=1).mean(dim=(-2, -1), keepdim=True))
        weights = F.softmax(torch.stack([fc(Z) for fc in self.fcs], dim=1), dim=1)
        return (feats * weights).sum(dim=1)


class YoloHead(nn.Module):
    """Boxes decoded in the model: sigmoid, grid, anchors, reshaped to rows (ultralytics/yolov5's inference)."""

    def __init__(self, n=6, na=2, size=4):
        super().__init__()
        self.no, self.na, self.m = n + 5, na, nn.Conv2d(8, na * (n + 5), 1)
        yv, xv = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        self.register_buffer("grid", torch.stack((xv, yv), 2).expand((1, na, size, size, 2)).float() - 0.5)
        self.register_buffer("anchors", torch.tensor([[1.2, 1.6], [2.0, 3.7]]).view(1, na, 1, 1, 2).expand(1, na, size, size, 2))

    def forward(self, x):
        x = self.m(x)
        bs, _, ny, nx = x.shape
        x = x.view(bs, self.na, self.no, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
        xy, wh, conf = x.sigmoid().split((2, 2, self.no - 4), 4)
        y = torch.cat(((xy * 2 + self.grid) / 4, (wh * 2) ** 2 * self.anchors / 4, conf), 4)
        return y.view(bs, self.na * nx * ny, self.no)


class DeepLab(nn.Module):
    """Atrous pyramid with image pooling upsampled, joined; LR-ASPP's gate; argmax left out."""

    def __init__(self):
        super().__init__()
        conv = lambda d: nn.Sequential(nn.Conv2d(8, 8, 3, padding=d, dilation=d, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.convs, self.pool = (
            nn.ModuleList([conv(1), conv(2), conv(4)]),
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.ReLU()),
        )
        self.project, self.out = (
            nn.Sequential(nn.Conv2d(32, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5)),
            nn.Conv2d(8, 3, 1),
        )

    def forward(self, x):
        pooled = F.interpolate(self.pool(x), size=x.shape[-2:], mode="bilinear", align_corners=False)
        x = self.project(torch.cat([conv(x) for conv in self.convs] + [pooled], dim=1))
        return F.interpolate(self.out(x), scale_factor=2, mode="bilinear", align_corners=False)


class StyleTransfer(nn.Module):
    """pytorch/examples fast_neural_style: reflection padding, instance norm with affine, nearest upsampling, residuals."""

    def __init__(self):
        super().__init__()
        conv = lambda a, b, k, s: nn.Sequential(nn.ReflectionPad2d(k // 2), nn.Conv2d(a, b, k, s))
        norm = lambda c: nn.InstanceNorm2d(c, affine=True)
        self.down = nn.Sequential(conv(3, 8, 5, 1), norm(8), nn.ReLU(), conv(8, 12, 3, 2), norm(12), nn.ReLU())
        self.res = nn.Sequential(conv(12, 12, 3, 1), norm(12), nn.ReLU(), conv(12, 12, 3, 1), norm(12))
        self.up, self.last = nn.Sequential(conv(12, 8, 3, 1), norm(8), nn.ReLU()), conv(8, 3, 5, 1)

    def forward(self, x):
        x = self.down(x)
        x = self.res(x) + x
        return self.last(self.up(F.interpolate(x, mode="nearest", scale_factor=2)))


class CvtAttention(nn.Module):
    """CvT: depthwise convolutions make queries, keys and values of an image; keys and values strided."""

    def __init__(self, c=16):
        super().__init__()
        proj = lambda s: nn.Sequential(
            nn.Conv2d(c, c, 3, s, 1, groups=c, bias=False), nn.BatchNorm2d(c), nn.Conv2d(c, c, 1, bias=False)
        )
        self.q, self.k, self.v, self.out = proj(1), proj(2), proj(2), nn.Conv2d(c, c, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = (f(x).reshape(b, 2, c // 2, -1).transpose(2, 3) for f in (self.q, self.k, self.v))
        y = torch.softmax(q @ k.transpose(-1, -2) * (c // 2) ** -0.5, -1) @ v
        return self.out(y.transpose(2, 3).reshape(b, c, h, w))


class TransposedAttention(nn.Module):
    """Restormer and XCiT: attention between channels of L2-normalised queries and keys, temperature for each head."""

    def __init__(self, c=16):
        super().__init__()
        self.temperature, self.qkv = nn.Parameter(torch.ones(2, 1, 1)), nn.Conv2d(c, 3 * c, 1)
        self.dw, self.out = nn.Conv2d(3 * c, 3 * c, 3, padding=1, groups=3 * c), nn.Conv2d(c, c, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = (y.reshape(b, 2, c // 2, h * w) for y in self.dw(self.qkv(x)).chunk(3, dim=1))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attn = ((q @ k.transpose(-2, -1)) * self.temperature).softmax(dim=-1)
        return self.out((attn @ v).reshape(b, c, h, w))


class PoolFormer(nn.Module):
    """Pooling minus identity as the mixer, GroupNorm of one group, layer scale as [c, 1, 1]."""

    def __init__(self, c=16):
        super().__init__()
        self.pool, self.norm1, self.norm2 = nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.GroupNorm(1, c), nn.GroupNorm(1, c)
        self.fc1, self.fc2, self.scale = nn.Conv2d(c, 32, 1), nn.Conv2d(32, c, 1), nn.Parameter(torch.rand(c))

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.scale.unsqueeze(-1).unsqueeze(-1) * (self.pool(y) - y)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class CrnnOcr(nn.Module):
    """CRNN for text: uneven pooling, height to 1, squeeze, two bidirectional LSTMs with a Linear on [T * b, h]."""

    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 8, 3, 1, 1),
            nn.ReLU(True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 16, 3, 1, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(True),
            nn.MaxPool2d((2, 2), (2, 1), (0, 1)),
            nn.Conv2d(16, 16, (4, 2), 1, 0),
            nn.ReLU(True),
        )
        self.rnn, self.embedding = nn.LSTM(16, 16, bidirectional=True), nn.Linear(32, 12)

    def forward(self, x):
        conv = self.cnn(x).squeeze(2).permute(2, 0, 1)
        recurrent, _ = self.rnn(conv)
        t, b, h = recurrent.size()
        return self.embedding(recurrent.view(t * b, h)).view(t, b, -1)


class SpatialTransformer(nn.Module):
    """Localisation network, affine grid and grid sampling (the tutorial's)."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Sequential(nn.Conv2d(1, 4, 5), nn.MaxPool2d(2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 6))

    def forward(self, x):
        theta = self.loc(x).view(-1, 2, 3)
        return F.grid_sample(x, F.affine_grid(theta, x.size(), align_corners=False), align_corners=False)


half = lambda n: state(1, n)
SYSTEMS = {
    "tacotron_step": System(
        LocationAttention,
        {
            "decoder_input": real(1, 10),
            "memory": real(1, 12, D),
            "ah": half(20),
            "ac": real(1, 20),
            "dh": half(20),
            "dc": real(1, 20),
            "weights": lengths_mask(1, 12, dtype="float32"),
            "cumulative": positive(1, 12),
            "context": real(1, D),
        },
    ),
    "listener": System(ListenAttendSpell, {"x": real(1, T, 10)}),
    "rnn_transducer": System(RnnTransducer, {"enc": real(1, 8, D), "labels": tokens(20, 1, 5)}),
    "wav2vec": System(Wav2Vec, {"x": real(1, 160)}),
    "deep_speech": System(DeepSpeech, {"x": real(1, 1, 16, 20)}),
    "demucs": System(lambda: Demucs(False), {"mix": real(1, 1, 128)}),
    "demucs_normalised": System(lambda: Demucs(True), {"mix": real(1, 1, 128)}),
    "rnnoise_step": System(
        RnNoise, {"x": real(1, 1, 18), "v": state(1, 1, 12, batch=1), "n": state(1, 1, 16, batch=1), "d": state(1, 1, 20, batch=1)}
    ),
    "conv_tasnet": System(ConvTasNet, {"x": real(1, 1, 64)}),
    "causal_conv_step": System(CausalConvStep, {"x": real(1, D, 1), "cache": real(1, D, 4)}),
    "style_tokens": System(StyleTokens, {"x": real(1, 16, 16)}),
    "da_rnn": System(DaRnn, {"x": real(1, 5, 6)}),
    "tpa_lstm": System(Tpa, {"x": real(1, T, 5)}),
    "n_linear": System(lambda: DLinear(False), {"x": real(1, T, 3)}, stack=False),
    "n_linear_individual": System(lambda: DLinear(True), {"x": real(1, T, 3)}, stack=False),
    "ts_mixer": System(TsMixer, {"x": real(1, T, 4)}),
    "i_transformer": System(ITransformer, {"x": real(1, T, 5)}),
    "n_hits": System(NHits, {"x": real(1, T)}),
    "sci_net": System(SciNet, {"x": real(1, T, 6)}),
    "deep_conv_lstm": System(DeepConvLstm, {"x": real(1, 20, 6)}),
    "eegnet": System(EegNet, {"x": real(1, 8, 32)}),
    "inception_time": System(InceptionTime, {"x": real(1, 4, T)}),
    "lstm_autoencoder": System(LstmAutoencoder, {"x": real(1, T, 4)}),
    "standardised_input": System(StandardisedInput, {"x": positive(1, 3)}, stack=False),
    "mixture_density": System(MixtureDensity, {"x": real(1, 6)}, stack=False),
    "dueling_dqn": System(DuelingDqn, {"x": real(1, 8)}, stack=False),
    "mobile_vit": System(MobileVit, {"x": real(1, 8, 8, 8)}),
    "ghost_module": System(GhostModule, {"x": real(1, 8, 6, 6)}, stack=False),
    "dense_block": System(DenseBlock, {"x": real(1, 8, 8, 8)}),
    "split_attention": System(SplitAttention, {"x": real(1, 16, 8, 8)}, stack=False),
    "yolo_head": System(YoloHead, {"x": real(1, 8, 4, 4)}, stack=False),
    "deep_lab": System(DeepLab, {"x": real(1, 8, 8, 8)}),
    "style_transfer": System(StyleTransfer, {"x": real(1, 3, 16, 16)}),
    "cvt_attention": System(CvtAttention, {"x": real(1, 16, 8, 8)}, stack=False),
    "transposed_attention": System(TransposedAttention, {"x": real(1, 16, 8, 8)}, stack=False),
    "pool_former": System(PoolFormer, {"x": real(1, 16, 8, 8)}),
    "crnn_ocr": System(CrnnOcr, {"x": real(1, 1, 16, 20)}),
    "spatial_transformer": System(SpatialTransformer, {"x": real(1, 1, 12, 12)}, exporters=("dynamo",)),
}
