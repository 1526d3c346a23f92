"""The network: convolutions that quarter the frame rate, a bidirectional GRU, additive attention, a GRU over digits.

Written as the two parts that are exported (`Encoder` once per string, `Step` once per digit) and as the whole. The memory carries positions:
"nine nine nine" is three words that look alike, and attention can only count them where it sees which one comes first.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

BANDS = 40
CHANNELS = (64, 96, 96)
DIRECTION = 80  # hidden units of the encoder each way
MEMORY = 2 * DIRECTION
EMBEDDING, HIDDEN, KEY = 16, 96, 64
STRIDE = 4  # frames to a row of the memory
DROPOUT = 0.2
PERIODS = (8, 14, 24, 42, 74, 130, 228, 400)  # rows, of the waves that tell positions


def waves(rows):
    """Sine and cosine of each period [1, rows, 2 * periods]."""
    phase = torch.arange(rows)[:, None] * (2 * math.pi / torch.tensor(PERIODS, dtype=torch.float32))
    return torch.cat([phase.sin(), phase.cos()], dim=1)[None]


class Encoder(nn.Module):
    """features [1, t, 40] -> memory [1, (t + 3) / 4, MEMORY], state [1, 1, HIDDEN]: what the decoder starts from."""

    def __init__(self, rows):
        super().__init__()
        self.conv1 = nn.Conv1d(BANDS, CHANNELS[0], 5, stride=2, padding=2)
        self.norm1 = nn.BatchNorm1d(CHANNELS[0])
        self.conv2 = nn.Conv1d(CHANNELS[0], CHANNELS[1], 5, stride=2, padding=2)
        self.norm2 = nn.BatchNorm1d(CHANNELS[1])
        self.conv3 = nn.Conv1d(CHANNELS[1], CHANNELS[2], 3, padding=1)
        self.norm3 = nn.BatchNorm1d(CHANNELS[2])
        self.gru = nn.GRU(CHANNELS[2], DIRECTION, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(MEMORY, HIDDEN)
        self.place = nn.Linear(2 * len(PERIODS), MEMORY, bias=False)
        self.dropout = nn.Dropout(DROPOUT)
        self.register_buffer("waves", waves(rows), persistent=False)
        self.positions = None  # in a frozen encoder, what `place` makes of the waves

    def freeze(self):
        """For export: positions become a constant."""
        with torch.no_grad():
            self.positions = nn.Parameter(self.place(self.waves), requires_grad=False)
        return self

    def forward(self, features):
        x = F.relu(self.norm1(self.conv1(features.transpose(1, 2))))
        x = F.relu(self.norm2(self.conv2(x)))
        x = F.relu(self.norm3(self.conv3(self.dropout(x)))).transpose(1, 2)
        memory, last = self.gru(self.dropout(x))
        state = torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=-1)))
        if self.positions is not None:
            places = self.positions[:, : memory.shape[1]]
        else:
            places = self.place(self.waves[:, : memory.shape[1]])
        return memory + places, state.unsqueeze(0)


class Step(nn.Module):
    """token [1], state [1, 1, HIDDEN], memory [1, t, MEMORY] -> logits [1, tokens], the next state, weights [1, t]."""

    def __init__(self, tokens):
        super().__init__()
        self.embedding = nn.Embedding(tokens, EMBEDDING)
        self.key = nn.Linear(MEMORY, KEY)
        self.query = nn.Linear(HIDDEN, KEY, bias=False)
        self.energy = nn.Linear(KEY, 1, bias=False)
        self.gru = nn.GRU(EMBEDDING + MEMORY, HIDDEN, batch_first=True)
        self.out = nn.Linear(HIDDEN + MEMORY, tokens)

    def forward(self, token, state, memory):
        return self.attend(token, state, memory, self.key(memory))

    def attend(self, token, state, memory, keys):
        """With the keys of the memory, which are the same for every token."""
        energy = self.energy(torch.tanh(self.query(state.transpose(0, 1)) + keys)).squeeze(-1)
        weights = torch.softmax(energy, dim=1)
        context = torch.bmm(weights.unsqueeze(1), memory)
        output, state = self.gru(torch.cat([self.embedding(token).unsqueeze(1), context], dim=-1), state)
        logits = self.out(torch.cat([output, context], dim=-1))
        return logits[:, 0], state, weights


class Listener(nn.Module):
    """Both, with a frame-wise output that helps the encoder while it is trained and is not exported."""

    def __init__(self, tokens, rows):
        super().__init__()
        self.encoder = Encoder(rows)
        self.step = Step(tokens)
        self.frames = nn.Linear(MEMORY, tokens)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, features, inputs):
        """features [b, t, 40] of one length, inputs [b, n] -> logits [b, n, tokens], attention [b, n, t / 4], frame-wise logits
        [b, t / 4, tokens]."""
        memory, state = self.encoder(features)
        memory = self.dropout(memory)
        keys = self.step.key(memory)
        logits, attention = [], []
        for i in range(inputs.shape[1]):
            row, state, weights = self.step.attend(inputs[:, i], state, memory, keys)
            logits.append(row)
            attention.append(weights)
        return torch.stack(logits, dim=1), torch.stack(attention, dim=1), self.frames(memory)
