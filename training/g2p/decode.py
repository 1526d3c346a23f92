"""Greedy and beam decoding in float PyTorch, of many words of one length at a time."""

import math

import torch

from data import MAX_TOKENS

START, END = 0, 1  # numbers of the special tokens


def decode(model, symbols, beam):
    """symbols [b, t] -> for each word its best (tokens without the special ones, score), best first, at most `beam`.

    The score is the sum of log probabilities over the count of tokens, the end token included. A hypothesis that has
    ended leaves the beam's live part; the search ends when `beam` have ended, or none lives, or after MAX_TOKENS.
    """
    batch = len(symbols)
    memory, state = model.encoder(symbols)
    memory = memory.repeat_interleave(beam, 0)
    state = state.repeat_interleave(beam, 1)
    token = torch.full((batch * beam,), START)
    total = torch.full((batch, beam), -math.inf)
    total[:, 0] = 0.0
    said = torch.zeros((batch, beam, 0), dtype=torch.long)
    ended = [[] for _ in range(batch)]
    for length in range(1, MAX_TOKENS + 1):
        logits, state, _ = model.step(token, state, memory)
        scores = total[..., None] + torch.log_softmax(logits, -1).view(batch, beam, -1)
        count = scores.shape[-1]
        best, index = scores.view(batch, -1).topk(min(2 * beam, beam * count))
        parent, token = index // count, index % count
        keep, dead = [], torch.zeros(batch, beam, dtype=torch.bool)
        for b in range(batch):
            live = []
            for rank in range(best.shape[1]):
                if best[b, rank] == -math.inf or len(live) == beam:
                    break
                if token[b, rank] != END:
                    live.append(rank)
                elif rank < beam:
                    ended[b].append((said[b, parent[b, rank]].tolist(), best[b, rank].item() / length))
            dead[b, len(live):] = True
            keep.append(live + [0] * (beam - len(live)))
        keep = torch.tensor(keep)
        total = best.gather(1, keep).masked_fill(dead, -math.inf)
        parent, token = parent.gather(1, keep), token.gather(1, keep)
        for b in range(batch):
            if len(ended[b]) >= beam:
                total[b] = -math.inf
        said = torch.cat([said.gather(1, parent[..., None].expand(-1, -1, length - 1)), token[..., None]], dim=2)
        rows = (parent + torch.arange(batch)[:, None] * beam).flatten()
        state, token = state[:, rows], token.flatten()
        if (total == -math.inf).all():
            break
    for b in range(batch):
        if not ended[b]:
            ended[b].append((said[b, 0].tolist(), total[b, 0].item() / MAX_TOKENS))
        ended[b] = sorted(ended[b], key=lambda hypothesis: -hypothesis[1])[:beam]
    return ended


def decode_words(model, words, symbols, beam, batch=256):
    """{word: token numbers of the best hypothesis}."""
    result = {}
    by_length = {}
    for word in words:
        by_length.setdefault(len(word), []).append(word)
    with torch.no_grad():
        for group in by_length.values():
            for start in range(0, len(group), batch):
                chosen = group[start: start + batch]
                numbers = torch.tensor([[symbols.index(letter) for letter in word] for word in chosen])
                for word, hypotheses in zip(chosen, decode(model, numbers, beam)):
                    result[word] = hypotheses[0][0]
    return result
