"""The keyword spotter: causal convolutions, a GRU, and attention over the last second.

Everything is causal, so a converter can run it frame by frame: the convolutions keep their last inputs, the GRU its
state, the attention its keys and values of the last `WINDOW` frames.
"""

import torch
import torch.nn.functional as F
from torch import nn

from words import LABELS

BANDS = 40
WINDOW = 50  # frames that attention looks back: 1 s
CHANNELS, HIDDEN, HEADS = 64, 96, 2


class KeywordSpotter(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(BANDS, CHANNELS, 5)
        self.norm1 = nn.BatchNorm1d(CHANNELS)
        self.conv2 = nn.Conv1d(CHANNELS, CHANNELS, 3)
        self.norm2 = nn.BatchNorm1d(CHANNELS)
        self.gru = nn.GRU(CHANNELS, HIDDEN, batch_first=True)
        self.query = nn.Linear(HIDDEN, CHANNELS)
        self.key = nn.Linear(HIDDEN, CHANNELS)
        self.value = nn.Linear(HIDDEN, CHANNELS)
        self.hidden = nn.Linear(CHANNELS + HIDDEN, CHANNELS)
        self.logits = nn.Linear(CHANNELS, len(LABELS))
        self.dropout = nn.Dropout(0.15)

    def frames(self, x, state=None):
        """x [batch, t, 40] -> GRU outputs [batch, t, HIDDEN], from a state [1, batch, HIDDEN] or zeros."""
        x = x.transpose(1, 2)
        x = F.relu(self.norm1(self.conv1(F.pad(x, (4, 0)))))
        x = self.dropout(x)
        x = F.relu(self.norm2(self.conv2(F.pad(x, (2, 0)))))
        x = self.dropout(x).transpose(1, 2)
        return self.gru(x, state)[0]

    def heads(self, x):
        """[batch, t, CHANNELS] -> [batch, heads, t, d]"""
        return x.view(x.shape[0], x.shape[1], HEADS, CHANNELS // HEADS).transpose(1, 2)

    def classify(self, context, h):
        joined = self.dropout(torch.cat([context, h], dim=-1))
        return self.logits(F.relu(self.hidden(joined)))

    def forward(self, x):
        """The last frame's logits: x [1, WINDOW, 40] -> [1, labels]. This is what is exported."""
        h = self.frames(x)
        last = h[:, -1:, :]
        q, k, v = self.heads(self.query(last)), self.heads(self.key(h)), self.heads(self.value(h))
        context = F.scaled_dot_product_attention(q, k, v)
        context = context.transpose(1, 2).reshape(x.shape[0], CHANNELS)
        return self.classify(context, h[:, -1, :])

    def stream(self, x):
        """Logits at every frame: x [batch, t, 40] -> [batch, t, labels]; attention sees the last WINDOW frames."""
        return self.attend(self.frames(x))

    def attend(self, h):
        """Logits at every frame from GRU outputs [batch, t, HIDDEN], of which the first may see fewer than WINDOW."""
        t = h.shape[1]
        age = torch.arange(t)[:, None] - torch.arange(t)[None, :]
        visible = (age >= 0) & (age < WINDOW)
        q, k, v = self.heads(self.query(h)), self.heads(self.key(h)), self.heads(self.value(h))
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        context = context.transpose(1, 2).reshape(h.shape[0], t, CHANNELS)
        return self.classify(context, h)
