"""A llama-style decoder over characters: RMSNorm, rotary positions, grouped-query attention, SwiGLU (Touvron et al., 2023).

The blocks are those of ../attention/llama.py.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from text import TOKENS

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "attention"), str(HERE.parent)]

import llama  # noqa: E402

WINDOW = 128  # characters
WIDTH, HIDDEN, LAYERS = 96, 192, 4  # 4 query heads of 24, 2 key and value heads


class Writer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(len(TOKENS), WIDTH)
        self.blocks = nn.ModuleList(llama.Block(WIDTH, HIDDEN, WINDOW) for _ in range(LAYERS))
        self.norm = llama.RmsNorm(WIDTH)
        self.head = nn.Linear(WIDTH, len(TOKENS), bias=False)
        for module in self.modules():
            if isinstance(module, llama.RmsNorm):
                nn.init.ones_(module.weight)
        nn.init.normal_(self.embedding.weight, std=0.3)

    def forward(self, tokens):
        """tokens [n, t] -> logits [n, t, characters]: row i rates what comes after token i."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def generate(model, rows, count, temperature, generator):
    """Rows of tokens [n, t] continued by `count` characters drawn from the model."""
    with torch.no_grad():
        for _ in range(count):
            logits = model(rows[:, -WINDOW:])[:, -1] / temperature
            rows = torch.cat([rows, torch.multinomial(logits.softmax(-1), 1, generator=generator)], dim=1)
    return rows
