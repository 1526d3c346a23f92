"""Recommendation, sets, graphs and tables; much of it without a batch axis; and layers of Keras by way of ONNX's own operators."""

import math

import torch
import torch.nn.functional as F
from inputs import System, lengths_mask, real, tokens
from torch import nn

USERS, ITEMS, D, T = 20, 30, 16, 10


class NeuralCf(nn.Module):
    """He et al., 2017: generalised matrix factorisation beside an MLP; one user and one item a sample."""

    def __init__(self):
        super().__init__()
        self.embed_user_GMF, self.embed_item_GMF = nn.Embedding(USERS, D), nn.Embedding(ITEMS, D)
        self.embed_user_MLP, self.embed_item_MLP = nn.Embedding(USERS, 2 * D), nn.Embedding(ITEMS, 2 * D)
        self.MLP_layers = nn.Sequential(nn.Dropout(0.1), nn.Linear(4 * D, 2 * D), nn.ReLU(), nn.Linear(2 * D, D), nn.ReLU())
        self.predict_layer = nn.Linear(2 * D, 1)

    def forward(self, user, item):
        output_GMF = self.embed_user_GMF(user) * self.embed_item_GMF(item)
        interaction = torch.cat((self.embed_user_MLP(user), self.embed_item_MLP(item)), -1)
        prediction = self.predict_layer(torch.cat((output_GMF, self.MLP_layers(interaction)), -1))
        return prediction.view(-1)


class MatrixFactorization(nn.Module):
    """Dot product with biases; user and item as scalars' vectors."""

    def __init__(self):
        super().__init__()
        self.user, self.item = nn.Embedding(USERS, D), nn.Embedding(ITEMS, D)
        self.user_bias, self.item_bias = nn.Embedding(USERS, 1), nn.Embedding(ITEMS, 1)

    def forward(self, user, item):
        dot = (self.user(user) * self.item(item)).sum(dim=1, keepdim=True)
        return torch.sigmoid(dot + self.user_bias(user) + self.item_bias(item)).squeeze() * 5


class NeighbourAttention(nn.Module):
    """Ratings of neighbours weighed by a softmax of similarities: a single sample, no batch axis at all."""

    def __init__(self, spelling):
        super().__init__()
        self.spelling = spelling
        self.W = nn.Linear(D, D, bias=False)
        self.items = nn.Embedding(ITEMS, D)

    def forward(self, user, neighbours, ratings):
        if self.spelling == "vectors":
            scores = neighbours @ self.W(user) / math.sqrt(D)
            return torch.softmax(scores, dim=0) @ ratings
        if self.spelling == "cosine":
            scores = F.cosine_similarity(self.W(user).unsqueeze(0), neighbours, dim=-1)
            weights = F.softmax(5 * scores, dim=0)
            return (weights * ratings).sum().reshape(1)
        weights = torch.softmax(torch.mv(neighbours, self.W(user)) / math.sqrt(D), 0)
        profile = torch.sum(weights.unsqueeze(1) * neighbours, 0)
        return torch.matmul(self.items.weight, profile) + ratings.mean()


class Acf(nn.Module):
    """Attentive collaborative filtering: item-level additive attention over a history, without a batch axis."""

    def __init__(self):
        super().__init__()
        self.items, self.history = nn.Embedding(ITEMS, D), nn.Embedding(ITEMS, D)
        self.w_u, self.w_p, self.w = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, 1)

    def forward(self, user, history, item):
        p = self.history(history)
        alpha = torch.softmax(self.w(F.relu(self.w_u(user) + self.w_p(p))).squeeze(-1), dim=0)
        profile = user + (alpha.unsqueeze(-1) * p).sum(0)
        return profile @ self.items(item).t()


class Dice(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.bn, self.alpha = nn.BatchNorm1d(width, eps=1e-8), nn.Parameter(0.3 * torch.randn(width))

    def forward(self, x):
        shape = x.shape
        p = torch.sigmoid(self.bn(x.reshape(-1, shape[-1]))).reshape(shape)
        return self.alpha * (1 - p) * x + p * x


class Din(nn.Module):
    """Deep interest network: an activation unit on query, key, difference and product; a mask of the history; no softmax."""

    def __init__(self, activation, masked):
        super().__init__()
        self.masked = masked
        act = {"dice": Dice, "prelu": lambda n: nn.PReLU(), "sigmoid": lambda n: nn.Sigmoid()}[activation]
        self.items = nn.Embedding(ITEMS, D, padding_idx=0)
        self.unit = nn.Sequential(nn.Linear(4 * D, 24), act(24), nn.Linear(24, 12), act(12), nn.Linear(12, 1))
        self.dnn = nn.Sequential(nn.Linear(2 * D, 24), act(24), nn.Linear(24, 1))

    def forward(self, history, target, mask=None):
        keys = self.items(history)
        query = self.items(target)
        queries = query.unsqueeze(1).expand(-1, keys.size(1), -1)
        score = self.unit(torch.cat([queries, keys, queries - keys, queries * keys], dim=-1)).squeeze(-1)
        if self.masked:
            score = score * mask
        interest = torch.bmm(score.unsqueeze(1), keys).squeeze(1)
        return torch.sigmoid(self.dnn(torch.cat([interest, query], dim=-1)))


class DeepFm(nn.Module):
    """One embedding table for all fields with offsets, FM by the square of the sum, a deep part."""

    def __init__(self, fields=(10, 8, 12)):
        super().__init__()
        total = sum(fields)
        self.register_buffer("offsets", torch.tensor([0, fields[0], fields[0] + fields[1]]))
        self.embedding, self.linear, self.bias = nn.Embedding(total, D), nn.Embedding(total, 1), nn.Parameter(torch.zeros(1))
        self.mlp = nn.Sequential(nn.Linear(3 * D, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 1))

    def forward(self, x):
        x = x + self.offsets.unsqueeze(0)
        e = self.embedding(x)
        fm = 0.5 * (torch.sum(e, dim=1) ** 2 - torch.sum(e**2, dim=1)).sum(dim=1, keepdim=True)
        linear = torch.sum(self.linear(x), dim=1) + self.bias
        return torch.sigmoid(linear + fm + self.mlp(e.view(-1, 3 * D))).squeeze(1)


class FixedFields(nn.Module):
    """The same from embeddings that the caller looked up."""

    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(4 * D, 24), nn.ReLU(), nn.Linear(24, 1))

    def forward(self, e):
        square_of_sum = torch.sum(e, dim=1) ** 2
        sum_of_square = torch.sum(e**2, dim=1)
        fm = 0.5 * torch.sum(square_of_sum - sum_of_square, dim=1, keepdim=True)
        return fm / 8 + self.mlp(e.flatten(1))


class Dlrm(nn.Module):
    """Dense features and embeddings, pairwise dot products of their lower triangle."""

    def __init__(self, fields=4):
        super().__init__()
        self.bottom, self.top = nn.Sequential(nn.Linear(6, D), nn.ReLU()), nn.Linear(D + fields * (fields + 1) // 2, 1)
        self.tables = nn.ModuleList(nn.Embedding(8, D) for _ in range(fields))

    def forward(self, dense, sparse):
        x = self.bottom(dense)
        T = torch.stack([x] + [table(sparse[:, i]) for i, table in enumerate(self.tables)], dim=1)
        Z = torch.bmm(T, torch.transpose(T, 1, 2))
        _, ni, nj = Z.shape
        li = torch.tensor([i for i in range(ni) for j in range(i)])
        lj = torch.tensor([j for i in range(nj) for j in range(i)])
        return self.top(torch.cat([x, Z[:, li, lj] / 4], dim=1))


class CrossNetwork(nn.Module):
    """DCN and DCN v2."""

    def __init__(self, layers=3, n=24):
        super().__init__()
        self.w = nn.ModuleList(nn.Linear(n, 1, bias=False) for _ in range(layers))
        self.b = nn.ParameterList(nn.Parameter(torch.randn(n)) for _ in range(layers))
        self.v2 = nn.Linear(n, n)

    def forward(self, x):
        x0 = x
        for w, b in zip(self.w, self.b):
            x = x0 * w(x) + b + x
        return x0 * self.v2(x) + x


class SasRec(nn.Module):
    """pmixer/SASRec: embeddings times root, positions, time-first attention, pointwise convolutions, a mask from padding tokens made in
    the graph, scores of candidate items."""

    def __init__(self, masked):
        super().__init__()
        self.masked = masked
        self.item_emb, self.pos_emb = nn.Embedding(ITEMS, D, padding_idx=0), nn.Embedding(T, D)
        self.ln1, self.ln2, self.last = (nn.LayerNorm(D, eps=1e-8) for _ in range(3))
        self.attn = nn.MultiheadAttention(D, 2)
        self.conv1, self.conv2 = nn.Conv1d(D, D, 1), nn.Conv1d(D, D, 1)

    def forward(self, log_seqs, items):
        seqs = self.item_emb(log_seqs) * D**0.5 + self.pos_emb(torch.arange(T))
        keep = ~(log_seqs == 0).unsqueeze(-1)
        if self.masked:
            seqs = seqs * keep
        mask = ~torch.tril(torch.ones((T, T), dtype=torch.bool))
        seqs = torch.transpose(seqs, 0, 1)
        Q = self.ln1(seqs)
        seqs = Q + self.attn(Q, seqs, seqs, attn_mask=mask)[0]
        seqs = self.ln2(torch.transpose(seqs, 0, 1))
        seqs = seqs + self.conv2(F.relu(self.conv1(seqs.transpose(-1, -2)))).transpose(-1, -2)
        if self.masked:
            seqs = seqs * keep
        final = self.last(seqs)[:, -1, :]
        return self.item_emb(items).matmul(final.unsqueeze(-1)).squeeze(-1)


class MaskFromTokens(nn.Module):
    """Padding found in the graph: (tokens != 0) as a mask of scores, and the mean over what is in use."""

    def __init__(self, mean):
        super().__init__()
        self.mean = mean
        self.emb, self.out = nn.Embedding(ITEMS, D), nn.Linear(D, 4)
        self.q, self.k, self.v = (nn.Linear(D, D) for _ in range(3))

    def forward(self, x):
        mask = x != 0
        e = self.emb(x)
        scores = self.q(e) @ self.k(e).transpose(1, 2) / math.sqrt(D)
        scores = scores.masked_fill(~mask.unsqueeze(1), float("-inf"))
        y = scores.softmax(-1) @ self.v(e)
        if self.mean:
            m = mask.unsqueeze(-1).float()
            y = (y * m).sum(1) / m.sum(1).clamp(min=1)
        return self.out(y)


class BagOfItems(nn.Module):
    """Mean of embeddings, as nn.EmbeddingBag writes it by hand; two towers, cosine."""

    def __init__(self):
        super().__init__()
        self.items, self.user, self.item = nn.Embedding(ITEMS, D), nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, history, item):
        u = F.normalize(self.user(self.items(history).mean(dim=1)), p=2, dim=-1)
        v = F.normalize(self.item(self.items(item)), p=2, dim=-1)
        return (u * v).sum(-1)


class GraphAttention(nn.Module):
    """Diego999/pyGAT: dense adjacency as an input, pairs of nodes by broadcast, leaky ReLU, masked softmax; no batch axis."""

    def __init__(self, constant):
        super().__init__()
        self.W, self.a = nn.Parameter(torch.randn(12, D) / 3), nn.Parameter(torch.randn(2 * D, 1) / 4)
        self.register_buffer("fixed", ((torch.rand(8, 8) > 0.6) | torch.eye(8).bool()).float() if constant else None)

    def forward(self, h, adj=None):
        adj = self.fixed if adj is None else adj
        Wh = torch.mm(h, self.W)
        Wh1, Wh2 = torch.matmul(Wh, self.a[:D]), torch.matmul(Wh, self.a[D:])
        e = F.leaky_relu(Wh1 + Wh2.T, 0.2)
        attention = torch.where(adj > 0, e, -9e15 * torch.ones_like(e))
        return F.elu(torch.matmul(F.softmax(attention, dim=1), Wh))


class Gcn(nn.Module):
    """tkipf/pygcn: adjacency times features times weight, twice, log-softmax; no batch axis."""

    def __init__(self):
        super().__init__()
        self.w1, self.w2 = nn.Parameter(torch.randn(12, D) / 3), nn.Parameter(torch.randn(D, 4) / 3)
        self.b1, self.b2 = nn.Parameter(torch.randn(D)), nn.Parameter(torch.randn(4))

    def forward(self, x, adj):
        x = F.relu(torch.mm(adj, torch.mm(x, self.w1)) + self.b1)
        return F.log_softmax(torch.mm(adj, torch.mm(x, self.w2)) + self.b2, dim=1)


class DeepSets(nn.Module):
    def __init__(self):
        super().__init__()
        self.phi, self.rho = (
            nn.Sequential(nn.Linear(8, D), nn.ELU(), nn.Linear(D, D)),
            nn.Sequential(nn.Linear(D, D), nn.ELU(), nn.Linear(D, 3)),
        )
        self.Gamma, self.Lambda = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)

    def forward(self, x):
        xm, _ = x.max(1, keepdim=True)
        x = self.Gamma(x) - self.Lambda(xm)
        return self.rho(self.phi(x).sum(dim=1))


class PointNet(nn.Module):
    """A learned 3 x 3 transform applied by bmm, shared MLPs as Conv1d, maximum over points."""

    def __init__(self):
        super().__init__()
        mlp = lambda *n: nn.Sequential(*[m for a, b in zip(n, n[1:]) for m in (nn.Conv1d(a, b, 1), nn.BatchNorm1d(b), nn.ReLU())])
        self.tnet, self.fc, self.feat = mlp(3, 16, 32), nn.Linear(32, 9), mlp(3, 16, 48)
        self.head = nn.Sequential(nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 5))

    def forward(self, x):
        t = torch.max(self.tnet(x), 2, keepdim=True)[0].view(-1, 32)
        t = self.fc(t) + torch.eye(3).view(1, 9).repeat(x.size(0), 1)
        x = torch.bmm(x.transpose(2, 1), t.view(-1, 3, 3)).transpose(2, 1)
        return F.log_softmax(self.head(torch.max(self.feat(x), 2)[0]), dim=-1)


class TabTransformer(nn.Module):
    """FT-Transformer's tokenizer: a weight row for each number, class token, GEGLU block; takes a vector."""

    def __init__(self, n=6):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(n, D)), nn.Parameter(torch.randn(n, D))
        self.cls = nn.Parameter(torch.randn(1, 1, D))
        self.attn, self.norm, self.ff1, self.ff2 = (
            nn.MultiheadAttention(D, 2, batch_first=True),
            nn.LayerNorm(D),
            nn.Linear(D, 48),
            nn.Linear(24, D),
        )
        self.head = nn.Sequential(nn.LayerNorm(D), nn.ReLU(), nn.Linear(D, 2))

    def forward(self, x):
        x = self.weight * x[..., None] + self.bias
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1)
        x = x + self.attn(x, x, x)[0]
        a, b = self.ff1(self.norm(x)).chunk(2, -1)
        x = x + self.ff2(a * F.gelu(b))
        return self.head(x[:, 0])


class MixtureOfExperts(nn.Module):
    """Dense gate over stacked experts: einsum with the experts' axis."""

    def __init__(self, experts=3):
        super().__init__()
        self.w1, self.w2 = nn.Parameter(torch.randn(experts, D, 24) / 4), nn.Parameter(torch.randn(experts, 24, D) / 5)
        self.gate = nn.Linear(D, experts)

    def forward(self, x):
        weights = F.softmax(self.gate(x), dim=-1)
        hidden = F.gelu(torch.einsum("btd,edh->beth", x, self.w1))
        out = torch.einsum("beth,ehd->betd", hidden, self.w2)
        return torch.einsum("beth,bte->bth", out, weights)


class HyperNetwork(nn.Module):
    """Weights of a layer computed from the input; FiLM."""

    def __init__(self):
        super().__init__()
        self.make, self.film = nn.Linear(8, D * 4), nn.Linear(8, 2 * D)

    def forward(self, x, z):
        gamma, beta = self.film(z).unsqueeze(1).chunk(2, dim=-1)
        x = (1 + gamma) * x + beta
        return torch.bmm(x, self.make(z).view(-1, D, 4))


class BilinearScores(nn.Module):
    """nn.Bilinear, and Rocktaschel's word-by-word matching by outer sums."""

    def __init__(self):
        super().__init__()
        self.bilinear, self.w, self.v = nn.Bilinear(D, D, 3), nn.Linear(D, D), nn.Linear(D, 1)

    def forward(self, a, b):
        pairs = torch.tanh(self.w(a).unsqueeze(2) + b.unsqueeze(1))
        scores = self.v(pairs).squeeze(-1)
        matched = torch.bmm(scores.softmax(2), b)
        return self.bilinear(matched, a)


class BiDaf(nn.Module):
    """Context-query attention in both directions: trilinear similarity, maximum over queries, repeated context vector."""

    def __init__(self):
        super().__init__()
        self.c, self.q, self.cq = nn.Linear(D, 1), nn.Linear(D, 1), nn.Linear(D, 1)

    def forward(self, c, q):
        q_len = q.size(1)
        cq = torch.stack([self.cq(c * q.select(1, i).unsqueeze(1)).squeeze(-1) for i in range(q_len)], dim=-1)
        s = self.c(c).expand(-1, -1, q_len) + self.q(q).permute(0, 2, 1).expand(-1, c.size(1), -1) + cq
        c2q = torch.bmm(F.softmax(s, dim=2), q)
        b = F.softmax(torch.max(s, dim=2)[0], dim=1).unsqueeze(1)
        q2c = torch.bmm(b, c).squeeze(1).unsqueeze(1).expand(-1, c.size(1), -1)
        return torch.cat([c, c2q, c * c2q, c * q2c], dim=-1)


class Esim(nn.Module):
    """Soft alignment both ways of two sentences, difference and product, mean and maximum."""

    def __init__(self):
        super().__init__()
        self.rnn, self.fc = nn.LSTM(D, 12, batch_first=True, bidirectional=True), nn.Linear(4 * 24 * 2, 3)

    def forward(self, a, b):
        a, b = self.rnn(a)[0], self.rnn(b)[0]
        e = torch.matmul(a, b.transpose(1, 2))
        a_hat = torch.matmul(F.softmax(e, dim=-1), b)
        b_hat = torch.matmul(F.softmax(e.transpose(1, 2), dim=-1), a)
        ma = torch.cat([a, a_hat, a - a_hat, a * a_hat], -1)
        mb = torch.cat([b, b_hat, b - b_hat, b * b_hat], -1)
        v = torch.cat([ma.mean(1) + mb.mean(1), ma.max(1).values + mb.max(1).values], dim=-1)
        return self.fc(v).softmax(-1)


class Ntm(nn.Module):
    """Content addressing of a neural Turing machine, one step: cosine, sharpness, gate, circular shift, power, read and write."""

    def __init__(self, n=8, m=D):
        super().__init__()
        self.n, self.m = n, m
        self.fc = nn.Linear(12, m + 6)
        self.erase, self.add = nn.Linear(12, m), nn.Linear(12, m)

    def forward(self, x, memory, w_prev):
        o = self.fc(x)
        k, beta, g = o[:, : self.m], F.softplus(o[:, self.m : self.m + 1]), torch.sigmoid(o[:, self.m + 1 : self.m + 2])
        s, gamma = F.softmax(o[:, self.m + 2 : self.m + 5], dim=1), 1 + F.softplus(o[:, self.m + 5 :])
        wc = F.softmax(beta * F.cosine_similarity(memory + 1e-16, k.unsqueeze(1) + 1e-16, dim=-1), dim=1)
        wg = g * wc + (1 - g) * w_prev
        wide = torch.cat([wg[:, -1:], wg, wg[:, :1]], dim=1)
        shifted = s[:, 0:1] * wide[:, : self.n] + s[:, 1:2] * wide[:, 1 : self.n + 1] + s[:, 2:3] * wide[:, 2:]
        w = shifted**gamma
        w = w / (torch.sum(w, dim=1, keepdim=True) + 1e-16)
        read = torch.matmul(w.unsqueeze(1), memory).squeeze(1)
        memory = memory * (1 - w.unsqueeze(-1) * torch.sigmoid(self.erase(x)).unsqueeze(1)) + w.unsqueeze(-1) * self.add(x).unsqueeze(1)
        return read, memory, w


none = lambda *shape: real(*shape, batch=None)
neighbours = {"user": none(D), "neighbours": none(T, D), "ratings": none(T)}
SYSTEMS = {
    "neural_cf": System(NeuralCf, {"user": tokens(USERS, 1), "item": tokens(ITEMS, 1)}),
    "matrix_factorization": System(MatrixFactorization, {"user": tokens(USERS, 1), "item": tokens(ITEMS, 1)}, stack=False),
    **{
        f"neighbours_{kind}": System(lambda kind=kind: NeighbourAttention(kind), dict(neighbours), stack=False)
        for kind in ("vectors", "cosine", "profile")
    },
    "attentive_cf": System(
        Acf, {"user": none(D), "history": tokens(ITEMS, T, batch=None), "item": tokens(ITEMS, 3, batch=None)}, stack=False
    ),
    "din_dice": System(lambda: Din("dice", False), {"history": tokens(ITEMS, 1, T), "target": tokens(ITEMS, 1)}),
    "din_prelu": System(lambda: Din("prelu", False), {"history": tokens(ITEMS, 1, T), "target": tokens(ITEMS, 1)}),
    "din_masked": System(
        lambda: Din("sigmoid", True),
        {"history": tokens(ITEMS, 1, T), "target": tokens(ITEMS, 1), "mask": lengths_mask(1, T, dtype="float32")},
    ),
    "deep_fm": System(DeepFm, {"x": tokens(8, 1, 3)}),
    "factorization": System(FixedFields, {"e": real(1, 4, D)}, stack=False),
    "dlrm": System(Dlrm, {"dense": real(1, 6), "sparse": tokens(8, 1, 4)}),
    "cross_network": System(CrossNetwork, {"x": real(1, 24)}),
    "sasrec": System(lambda: SasRec(False), {"log_seqs": tokens(ITEMS, 1, T), "items": tokens(ITEMS, 1, 5)}),
    "sasrec_masked": System(lambda: SasRec(True), {"log_seqs": tokens(ITEMS, 1, T), "items": tokens(ITEMS, 1, 5)}),
    "mask_from_tokens": System(lambda: MaskFromTokens(False), {"x": tokens(4, 1, T)}, stack=False),
    "mask_from_tokens_mean": System(lambda: MaskFromTokens(True), {"x": tokens(4, 1, T)}, stack=False),
    "two_towers": System(BagOfItems, {"history": tokens(ITEMS, 1, T), "item": tokens(ITEMS, 1)}, stack=False),
    "graph_attention": System(lambda: GraphAttention(True), {"h": none(8, 12)}, stack=False),
    "graph_attention_input": System(lambda: GraphAttention(False), {"h": none(8, 12), "adj": none(8, 8)}, stack=False),
    "gcn": System(Gcn, {"x": none(8, 12), "adj": none(8, 8)}, stack=False),
    "deep_sets": System(DeepSets, {"x": real(1, T, 8)}),
    "point_net": System(PointNet, {"x": real(1, 3, 20)}),
    "tab_transformer": System(TabTransformer, {"x": real(1, 6)}),
    "mixture_of_experts": System(MixtureOfExperts, {"x": real(1, T, D)}),
    "film_hyper_network": System(HyperNetwork, {"x": real(1, T, D), "z": real(1, 8)}),
    "bilinear_scores": System(BilinearScores, {"a": real(1, 6, D), "b": real(1, 8, D)}, exporters=("dynamo",)),
    "bidaf": System(BiDaf, {"c": real(1, T, D), "q": real(1, 4, D)}),
    "esim": System(Esim, {"a": real(1, 8, D), "b": real(1, 6, D)}),
    "ntm_step": System(Ntm, {"x": real(1, 12), "memory": real(1, 8, D), "w_prev": lengths_mask(1, 8, dtype="float32")}),
}
