"""Attention that is a weighted sum: forecasting, collaborative filtering, a learned query."""

import math

import torch
from torch import nn

T, D = 16, 32


class FixedForecast(nn.Module):
    """y = sum_i w_i x_i over the window, w the softmax of a learned vector: one series."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Parameter(torch.randn(T))

    def forward(self, x):
        return (torch.softmax(self.scores, 0) * x.squeeze(-1)).sum(-1, keepdim=True)


class FixedForecastSeries(nn.Module):
    """The same for several series side by side, as a product with the window."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Parameter(torch.randn(1, 1, T))

    def forward(self, x):
        return torch.softmax(self.scores, -1) @ x


class ScoredForecast(nn.Module):
    """Weights are the softmax over time of a Linear of each step's features; the sum is of the steps' values."""

    def __init__(self, spelling):
        super().__init__()
        self.features = nn.Linear(D, D)
        self.score = nn.Linear(D, 1)
        self.value = nn.Linear(D, 8)
        self.spelling = spelling

    def forward(self, x):
        weights = torch.softmax(self.score(torch.tanh(self.features(x))), dim=1)
        if self.spelling == "sum":
            return (weights * self.value(x)).sum(dim=1)
        return weights.transpose(1, 2) @ self.value(x)


class LearnedQuery(nn.Module):
    """Pooling over time by attention with learned queries."""

    def __init__(self):
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 2, D))
        self.attention = nn.MultiheadAttention(D, 4, batch_first=True)

    def forward(self, x):
        return self.attention(self.query.expand(x.shape[0], -1, -1), x, x, need_weights=False)[0]


class Collaborative(nn.Module):
    """Rows are embeddings: the user, the item, then the neighbours. Neighbours weigh in by their similarity to the item."""

    def __init__(self):
        super().__init__()
        self.user, self.item, self.neighbour = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, user, item, neighbours):
        item, neighbours = self.item(item), self.neighbour(neighbours)
        similarity = (neighbours @ item.unsqueeze(-1)).squeeze(-1) / math.sqrt(D)
        weights = torch.softmax(similarity, dim=-1)
        taste = self.user(user) + (weights.unsqueeze(-1) * neighbours).sum(dim=1)
        return (taste * item).sum(dim=-1, keepdim=True)


SYSTEMS = {
    "forecast_fixed": (FixedForecast, {"x": (T, 1)}),
    "forecast_series": (FixedForecastSeries, {"x": (T, 4)}),
    "forecast_scored": (lambda: ScoredForecast("sum"), {"x": (T, D)}),
    "forecast_product": (lambda: ScoredForecast("product"), {"x": (T, D)}),
    "learned_query": (LearnedQuery, {"x": (T, D)}),
    "collaborative": (Collaborative, {"user": (D,), "item": (D,), "neighbours": (10, D)}),
}
