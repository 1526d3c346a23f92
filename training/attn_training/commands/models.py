"""The two networks: the streaming attention model, and BC-ResNet-1 as its paper describes it.

BC-ResNet: Kim et al., "Broadcasted Residual Learning for Efficient Keyword Spotting", Interspeech 2021, table 1 with a width of 1.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ..words.model import BANDS

CHANNELS, HIDDEN, WIDTH, INNER = 64, 64, 32, 32  # of the convolutions, the GRU, queries and keys and values, the layer before the logits
BLOCKS, KERNEL, HEADS = 3, 7, 2


class Separable(nn.Module):
    """Depthwise convolution over the last KERNEL frames, then over channels, added to what came in."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv1d(CHANNELS, CHANNELS, KERNEL, groups=CHANNELS, bias=False)
        self.pointwise = nn.Conv1d(CHANNELS, CHANNELS, 1, bias=False)
        self.norm = nn.BatchNorm1d(CHANNELS)
        self.dropout = nn.Dropout(0.05)

    def forward(self, x):
        return F.relu(x + self.dropout(self.norm(self.pointwise(self.depthwise(F.pad(x, (KERNEL - 1, 0)))))))


class Attention(nn.Module):
    """Causal convolutions, a GRU, and attention from the last frame over all of the window, a second.

    x [n, frames, 40] -> logits [n, labels] of the last frame. Every part is causal, so the converter runs it frame by frame.
    """

    def __init__(self, labels):
        super().__init__()
        self.conv = nn.Conv1d(BANDS, CHANNELS, 3, bias=False)
        self.norm = nn.BatchNorm1d(CHANNELS)
        self.blocks = nn.Sequential(*[Separable() for _ in range(BLOCKS)])
        self.gru = nn.GRU(CHANNELS, HIDDEN, batch_first=True)
        self.query, self.key, self.value = (nn.Linear(HIDDEN, WIDTH) for _ in range(3))
        self.hidden = nn.Linear(HIDDEN + WIDTH, INNER)
        self.logits = nn.Linear(INNER, labels)
        self.dropout = nn.Dropout(0.1)

    def heads(self, x):
        """[n, t, WIDTH] -> [n, HEADS, t, d]"""
        return x.view(x.shape[0], -1, HEADS, WIDTH // HEADS).transpose(1, 2)

    def frames(self, x):
        """The GRU's outputs [n, t, HIDDEN]."""
        y = F.relu(self.norm(self.conv(F.pad(x.transpose(1, 2), (2, 0)))))
        return self.gru(self.dropout(self.blocks(y)).transpose(1, 2))[0]

    def forward(self, x):
        h = self.frames(x)
        last = h[:, -1:]
        q, k, v = self.heads(self.query(last)), self.heads(self.key(h)), self.heads(self.value(h))
        context = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape[0], WIDTH)
        return self.logits(F.relu(self.hidden(self.dropout(torch.cat([context, h[:, -1]], -1)))))


class SubSpectralNorm(nn.Module):
    """Batch norm of each of `groups` parts of the frequency axis on its own."""

    def __init__(self, channels, groups=5):
        super().__init__()
        self.groups, self.norm = groups, nn.BatchNorm2d(channels * groups)

    def forward(self, x):
        n, c, f, t = x.shape
        return self.norm(x.reshape(n, c * self.groups, f // self.groups, t)).reshape(n, c, f, t)


class Block(nn.Module):
    """A broadcast residual block: convolution over frequency, then over time on the mean of all frequencies, added to each of them."""

    def __init__(self, inputs, channels, dilation, stride=1):
        super().__init__()
        self.transition = inputs != channels
        self.enter = nn.Sequential(nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()) if self.transition else nn.Identity()
        self.frequency = nn.Sequential(nn.Conv2d(channels, channels, (3, 1), (stride, 1), (1, 0), groups=channels, bias=False),
                                       SubSpectralNorm(channels))
        self.time = nn.Sequential(nn.Conv2d(channels, channels, (1, 3), 1, (0, dilation), (1, dilation), groups=channels, bias=False),
                                  nn.BatchNorm2d(channels), nn.SiLU(), nn.Conv2d(channels, channels, 1, bias=False), nn.Dropout2d(0.1))

    def forward(self, x):
        y = self.frequency(self.enter(x))
        z = y + self.time(y.mean(2, keepdim=True))
        return F.relu(z if self.transition else z + x)


class BcResNet1(nn.Module):
    """x [n, frames, 40] -> logits [n, labels]."""

    STAGES = [(8, 2, 1, 1), (12, 2, 2, 2), (16, 4, 2, 4), (20, 4, 1, 8)]  # channels, blocks, stride of frequency, dilation

    def __init__(self, labels):
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(1, 16, 5, (2, 1), 2, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        blocks, before = [], 16
        for channels, count, stride, dilation in self.STAGES:
            for i in range(count):
                blocks.append(Block(before, channels, dilation, stride if i == 0 else 1))
                before = channels
        self.blocks = nn.Sequential(*blocks)
        self.tail = nn.Sequential(nn.Conv2d(20, 20, 5, padding=(0, 2), groups=20, bias=False), nn.Conv2d(20, 32, 1, bias=False),
                                  nn.BatchNorm2d(32), nn.ReLU())
        self.logits = nn.Conv2d(32, labels, 1)

    def forward(self, x):
        y = self.tail(self.blocks(self.head(x.transpose(1, 2)[:, None])))
        return self.logits(y.mean((2, 3), keepdim=True))[:, :, 0, 0]


NETWORKS = {"attention": Attention, "bcresnet": BcResNet1}


def parameters(model):
    return sum(p.numel() for p in model.parameters())
