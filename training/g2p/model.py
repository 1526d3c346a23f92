"""The network: bidirectional GRU over letters, additive attention, GRU over phonemes. Written as the two parts that are
exported (`Encoder` runs once per word, `Step` once per phoneme) and as the whole that is trained."""

import torch
from torch import nn

EMBEDDING = 64
DIRECTION = 128  # hidden units of the encoder each way
MEMORY = 2 * DIRECTION
HIDDEN = 208
KEY = 128
DROPOUT = 0.15


class Encoder(nn.Module):
    """symbols [1, t] -> memory [1, t, MEMORY], state [1, 1, HIDDEN]: what the decoder starts from."""

    def __init__(self, symbols):
        super().__init__()
        self.embedding = nn.Embedding(symbols, EMBEDDING)
        self.gru = nn.GRU(EMBEDDING, DIRECTION, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(MEMORY, HIDDEN)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, symbols):
        memory, last = self.gru(self.dropout(self.embedding(symbols)))
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
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, token, state, memory):
        embedded = self.embedding(token).unsqueeze(1)
        context, weights = self.attend(state, memory, self.key(memory))
        output, state = self.gru(torch.cat([embedded, context], dim=-1), state)
        logits = self.out(torch.cat([output, context], dim=-1))
        return logits[:, 0], state, weights

    def attend(self, state, memory, keys):
        """The previous state asks: context [b, 1, MEMORY] and weights [b, t]."""
        query = self.query(state.transpose(0, 1))
        energy = self.energy(torch.tanh(query + keys)).squeeze(-1)
        weights = torch.softmax(energy, dim=1)
        return torch.bmm(weights.unsqueeze(1), memory), weights

    def teach(self, inputs, state, memory):
        """Logits [b, n, tokens] for teacher-forced inputs [b, n]."""
        embedded = self.dropout(self.embedding(inputs))
        memory = self.dropout(memory)
        keys = self.key(memory)
        rows = []
        for i in range(inputs.shape[1]):
            context, _ = self.attend(state, memory, keys)
            output, state = self.gru(torch.cat([embedded[:, i: i + 1], context], dim=-1), state)
            rows.append(torch.cat([output, context], dim=-1))
        return self.out(self.dropout(torch.cat(rows, dim=1)))


class Pronouncer(nn.Module):
    def __init__(self, symbols, tokens):
        super().__init__()
        self.encoder = Encoder(symbols)
        self.step = Step(tokens)

    def forward(self, symbols, inputs):
        """symbols [b, t] of one length, inputs [b, n] -> logits [b, n, tokens]."""
        memory, state = self.encoder(symbols)
        return self.step.teach(inputs, state, memory)
