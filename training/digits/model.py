"""The network: two convolutions that halve the frame rate twice, a bidirectional GRU, additive attention, a GRU over digits.
Written as the two parts that are exported (`Encoder` once per string, `Step` once per digit) and as the whole."""

import torch
import torch.nn.functional as F
from torch import nn

BANDS = 40
CHANNELS = (48, 64)
DIRECTION = 64  # hidden units of the encoder each way
MEMORY = 2 * DIRECTION
EMBEDDING, HIDDEN, KEY = 16, 96, 64
DROPOUT = 0.25


class Encoder(nn.Module):
    """features [1, t, 40] -> memory [1, (t + 3) / 4, MEMORY], state [1, 1, HIDDEN]: what the decoder starts from."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(BANDS, CHANNELS[0], 5, stride=2, padding=2)
        self.conv2 = nn.Conv1d(CHANNELS[0], CHANNELS[1], 5, stride=2, padding=2)
        self.gru = nn.GRU(CHANNELS[1], DIRECTION, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(MEMORY, HIDDEN)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, features):
        x = F.relu(self.conv1(features.transpose(1, 2)))
        x = F.relu(self.conv2(x)).transpose(1, 2)
        memory, last = self.gru(self.dropout(x))
        state = torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=-1)))
        return memory, state.unsqueeze(0)


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
        energy = self.energy(torch.tanh(self.query(state.transpose(0, 1)) + self.key(memory))).squeeze(-1)
        weights = torch.softmax(energy, dim=1)
        context = torch.bmm(weights.unsqueeze(1), memory)
        output, state = self.gru(torch.cat([self.embedding(token).unsqueeze(1), context], dim=-1), state)
        logits = self.out(torch.cat([output, context], dim=-1))
        return logits[:, 0], state, weights


class Listener(nn.Module):
    """Both, with a frame-wise output that helps the encoder while it is trained and is not exported."""

    def __init__(self, tokens):
        super().__init__()
        self.encoder = Encoder()
        self.step = Step(tokens)
        self.frames = nn.Linear(MEMORY, tokens)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, features, inputs):
        """features [b, t, 40] of one length, inputs [b, n] -> logits [b, n, tokens], frame-wise logits [b, t / 4, tokens]."""
        memory, state = self.encoder(features)
        memory = self.dropout(memory)
        rows = []
        for i in range(inputs.shape[1]):
            logits, state, _ = self.step(inputs[:, i], state, memory)
            rows.append(logits)
        return torch.stack(rows, dim=1), self.frames(memory)
