"""Attention over images in its many forms, and detectors, that the families before do not hold."""

import torch
import torch.nn.functional as F
from inputs import System, real
from torch import nn

T, D = 16, 24


class SpatialReduction(nn.Module):
    """PVT / SegFormer: keys from a strided convolution, then a mixing feed-forward with a depthwise convolution."""

    def __init__(self):
        super().__init__()
        self.q, self.kv, self.sr, self.norm, self.proj = (
            nn.Linear(D, D),
            nn.Linear(D, 2 * D),
            nn.Conv2d(D, D, 2, 2),
            nn.LayerNorm(D),
            nn.Linear(D, D),
        )
        self.fc1, self.dw, self.fc2 = nn.Linear(D, 32), nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.Linear(32, D)

    def forward(self, x):
        b, n, c = x.shape
        h = w = 6
        q = self.q(x).reshape(b, n, 2, c // 2).permute(0, 2, 1, 3)
        y = self.norm(self.sr(x.permute(0, 2, 1).reshape(b, c, h, w)).reshape(b, c, -1).permute(0, 2, 1))
        kv = self.kv(y).reshape(b, -1, 2, 2, c // 2).permute(2, 0, 3, 1, 4)
        attn = ((q @ kv[0].transpose(-2, -1)) * (c // 2) ** -0.5).softmax(dim=-1)
        x = x + self.proj((attn @ kv[1]).transpose(1, 2).reshape(b, n, c))
        z = self.fc1(x).transpose(1, 2).view(b, 32, h, w)
        return x + self.fc2(F.gelu(self.dw(z).flatten(2).transpose(1, 2)))


class CrossCovariance(nn.Module):
    """XCiT: attention between channels of normalised queries and keys, a temperature a head; local patch interaction."""

    def __init__(self):
        super().__init__()
        self.temperature, self.qkv, self.proj = nn.Parameter(torch.ones(4, 1, 1)), nn.Linear(D, 3 * D), nn.Linear(D, D)

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, 4, c // 4).permute(2, 0, 3, 4, 1)
        q, k, v = qkv[0], qkv[1], qkv[2]
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attn = ((q @ k.transpose(-2, -1)) * self.temperature).softmax(dim=-1)
        return self.proj((attn @ v).permute(0, 3, 1, 2).reshape(b, n, c))


class ClassAttention(nn.Module):
    """CaiT: only the class token asks; layer scale; talking heads before."""

    def __init__(self):
        super().__init__()
        self.cls, self.norm = nn.Parameter(torch.randn(1, 1, D)), nn.LayerNorm(D)
        self.q, self.k, self.v, self.proj, self.gamma = (
            nn.Linear(D, D),
            nn.Linear(D, D),
            nn.Linear(D, D),
            nn.Linear(D, D),
            nn.Parameter(0.1 * torch.ones(D)),
        )

    def forward(self, x):
        b = x.shape[0]
        u = self.norm(torch.cat((self.cls.expand(b, -1, -1), x), dim=1))
        q = self.q(u[:, 0]).unsqueeze(1).reshape(b, 1, 4, 6).permute(0, 2, 1, 3) * 6**-0.5
        k = self.k(u).reshape(b, -1, 4, 6).permute(0, 2, 1, 3)
        v = self.v(u).reshape(b, -1, 4, 6).permute(0, 2, 1, 3)
        a = (q @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.cls.expand(b, -1, -1) + self.gamma * self.proj((a @ v).transpose(1, 2).reshape(b, 1, D))


class GridAttention(nn.Module):
    """MaxViT: windows, then a grid, over a map of channels last; relative bias by an index."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.table = nn.Parameter(torch.randn(25, 2))
        at = torch.stack(torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")).flatten(1)
        d = (at[:, :, None] - at[:, None]).permute(1, 2, 0) + 2
        self.register_buffer("index", d[..., 0] * 5 + d[..., 1])

    def attend(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.table[self.index.view(-1)].view(9, 9, 2).permute(2, 0, 1)
        a = (q @ k.transpose(-2, -1) * (c // 2) ** -0.5 + bias.unsqueeze(0)).softmax(-1)
        return self.proj((a @ v).transpose(1, 2).reshape(b, n, c))

    def forward(self, x):
        b, h, w, c = x.shape
        y = x.view(b, h // 3, 3, w // 3, 3, c).permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, 9, c)
        y = self.attend(y).view(b, h // 3, w // 3, 3, 3, c).permute(0, 1, 3, 2, 4, 5).contiguous().view(b, h, w, c)
        x = x + y
        z = x.view(b, 3, h // 3, 3, w // 3, c).permute(0, 2, 4, 1, 3, 5).contiguous().view(-1, 9, c)
        z = self.attend(z).view(b, h // 3, w // 3, 3, 3, c).permute(0, 3, 1, 4, 2, 5).contiguous().view(b, h, w, c)
        return x + z


class BottleneckAttention(nn.Module):
    """BoTNet: content and two-dimensional absolute position by sums of row and column parameters."""

    def __init__(self, h=5, w=5):
        super().__init__()
        self.qkv = nn.Conv2d(D, 3 * D, 1, bias=False)
        self.rh, self.rw = nn.Parameter(torch.randn(1, 4, 6, h, 1) / 3), nn.Parameter(torch.randn(1, 4, 6, 1, w) / 3)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = self.qkv(x).view(b, 3, 4, 6, h * w).unbind(1)
        content = torch.matmul(q.permute(0, 1, 3, 2), k)
        position = torch.matmul((self.rh + self.rw).view(1, 4, 6, -1).permute(0, 1, 3, 2), q)
        return torch.matmul(v, (content + position).softmax(-1).permute(0, 1, 3, 2)).view(b, c, h, w)


class HaloAttention(nn.Module):
    """HaloNet: a block of queries and its neighbourhood by unfold."""

    def __init__(self):
        super().__init__()
        self.q, self.kv = nn.Conv2d(8, 8, 1, bias=False), nn.Conv2d(8, 16, 1, bias=False)

    def forward(self, x):
        b, c, h, w = x.shape
        q = self.q(x).view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, c)
        kv = F.unfold(self.kv(x), kernel_size=4, stride=2, padding=1).view(b, 2 * c, 16, -1).permute(0, 3, 2, 1).reshape(-1, 16, 2 * c)
        k, v = kv.chunk(2, -1)
        out = (q @ k.transpose(1, 2) * c**-0.5).softmax(-1) @ v
        return out.view(b, h // 2, w // 2, 2, 2, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)


class Involution(nn.Module):
    """A kernel for each place, computed from the place."""

    def __init__(self):
        super().__init__()
        self.reduce, self.span, self.bn = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 9 * 2, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        weight = self.span(F.relu(self.bn(self.reduce(x))))
        b, c, h, w = x.shape
        weight = weight.view(b, 2, 9, h, w).unsqueeze(2)
        patches = F.unfold(x, 3, padding=1).view(b, 2, 8, 9, h, w)
        return (weight * patches).sum(dim=3).view(b, c, h, w)


class Outlooker(nn.Module):
    """VOLO: attention weights straight from the place, summed back by fold (written as shifted sums)."""

    def __init__(self):
        super().__init__()
        self.v, self.attn = nn.Linear(16, 16), nn.Linear(16, 81)

    def forward(self, x):
        b, h, w, c = x.shape
        v = F.unfold(self.v(x).permute(0, 3, 1, 2), 3, padding=1).reshape(b, c, 9, h * w).permute(0, 3, 2, 1)
        a = self.attn(x).reshape(b, h * w, 9, 9).softmax(-1)
        y = (a @ v).permute(0, 3, 2, 1).reshape(b, c, 3, 3, h, w)
        padded = 0
        for i in range(3):
            for j in range(3):
                padded = padded + F.pad(y[:, :, i, j], (j, 2 - j, i, 2 - i))
        return padded[..., 1:-1, 1:-1].permute(0, 2, 3, 1)


class LargeKernel(nn.Module):
    """VAN: depthwise, dilated depthwise, pointwise; the product with the input is the attention."""

    def __init__(self):
        super().__init__()
        self.c0, self.cs, self.c1 = (
            nn.Conv2d(8, 8, 5, padding=2, groups=8),
            nn.Conv2d(8, 8, 7, padding=9, groups=8, dilation=3),
            nn.Conv2d(8, 8, 1),
        )

    def forward(self, x):
        return x * self.c1(self.cs(self.c0(x)))


class CondConv(nn.Module):
    """A convolution whose weights are mixed by the input's own routing."""

    def __init__(self):
        super().__init__()
        self.experts, self.routing = nn.Parameter(torch.randn(3, 8, 6, 3, 3) / 7), nn.Linear(6, 3)

    def forward(self, x):
        r = torch.sigmoid(self.routing(x.mean((2, 3))))
        weight = (r.view(3, 1, 1, 1, 1) * self.experts).sum(0)
        return F.relu(F.conv2d(x, weight, padding=1))


class LambdaLayer(nn.Module):
    """Bello: keys normalised over places give one linear map for the context, position maps by a convolution over values."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Conv2d(8, 16, 1, bias=False), nn.Conv2d(8, 4, 1, bias=False), nn.Conv2d(8, 6, 1, bias=False)
        self.norm_q, self.norm_v, self.pos = nn.BatchNorm2d(16), nn.BatchNorm2d(6), nn.Conv3d(1, 4, (1, 5, 5), padding=(0, 2, 2))

    def forward(self, x):
        b, c, h, w = x.shape
        q = self.norm_q(self.q(x)).reshape(b, 4, 4, h * w)
        k = F.softmax(self.k(x).reshape(b, 4, h * w), dim=-1)
        v = self.norm_v(self.v(x)).reshape(b, 6, h * w)
        lc = torch.einsum("bkm,bvm->bkv", k, v)
        yc = torch.einsum("bhkn,bkv->bhvn", q, lc)
        lp = self.pos(v.reshape(b, 1, 6, h, w)).reshape(b, 4, 6, h * w)
        yp = torch.einsum("bhkn,bkvn->bhvn", q, lp)
        return (yc + yp).reshape(b, 24, h, w)


class LeVit(nn.Module):
    """Attention with a bias gathered per offset, batch norm in place of layer norm, hard swish."""

    def __init__(self):
        super().__init__()
        self.qkv, self.bn = nn.Linear(D, 48, bias=False), nn.BatchNorm1d(48)
        points = [(i, j) for i in range(4) for j in range(4)]
        offsets, index = {}, []
        for p in points:
            for q in points:
                index.append(offsets.setdefault((abs(p[0] - q[0]), abs(p[1] - q[1])), len(offsets)))
        self.biases = nn.Parameter(torch.randn(4, len(offsets)))
        self.register_buffer("index", torch.tensor(index).view(16, 16))
        self.proj = nn.Sequential(nn.Hardswish(), nn.Linear(32, D))

    def forward(self, x):
        b, n, _ = x.shape
        y = self.qkv(x)
        y = self.bn(y.flatten(0, 1)).reshape_as(y)
        q, k, v = y.view(b, n, 4, 12).split([2, 2, 8], dim=3)
        q, k, v = q.permute(0, 2, 1, 3), k.permute(0, 2, 3, 1), v.permute(0, 2, 1, 3)
        attn = (q @ k * 2**-0.5 + self.biases[:, self.index]).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(b, n, 32))


class FeaturePyramid(nn.Module):
    """Lateral 1x1 convolutions, nearest upsampling, sums; a BiFPN node with normalised weights on top."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2, self.c3 = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 2, 1), nn.Conv2d(12, 16, 3, 2, 1)
        self.l1, self.l2, self.l3 = nn.Conv2d(8, 8, 1), nn.Conv2d(12, 8, 1), nn.Conv2d(16, 8, 1)
        self.w, self.out = nn.Parameter(torch.rand(2)), nn.Conv2d(8, 6, 3, padding=1)

    def forward(self, x):
        a = F.relu(self.c1(x))
        b = F.relu(self.c2(a))
        c = F.relu(self.c3(b))
        p3 = self.l3(c)
        p2 = self.l2(b) + F.interpolate(p3, size=b.shape[-2:], mode="nearest")
        p1 = self.l1(a) + F.interpolate(p2, scale_factor=2, mode="nearest")
        w = F.relu(self.w)
        w = w / (w.sum() + 1e-4)
        fused = F.silu(w[0] * p2 + w[1] * F.max_pool2d(p1, 3, 2, 1))
        return self.out(p1), self.out(fused), self.out(p3)


class CenterNetPeaks(nn.Module):
    """A heat map whose peaks are kept: equal to its own 3x3 maximum."""

    def __init__(self):
        super().__init__()
        self.body, self.heat, self.size = nn.Conv2d(3, 12, 3, 2, 1), nn.Conv2d(12, 2, 1), nn.Conv2d(12, 2, 1)

    def forward(self, x):
        y = F.relu6(self.body(x))
        heat = torch.sigmoid(self.heat(y))
        return heat * (F.max_pool2d(heat, 3, stride=1, padding=1) == heat).float(), self.size(y)


class PixelShuffleNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(4, 16, 3, padding=1), nn.Conv2d(16, 12, 3, padding=1)

    def forward(self, x):
        y = F.pixel_unshuffle(x, 2)
        return F.pixel_shuffle(self.c2(F.elu(self.c1(y))), 2) + F.interpolate(x, scale_factor=1.0)


class FoldedOutlook(nn.Module):
    """VOLO as it is: unfold, attention inside patches, fold."""

    def __init__(self):
        super().__init__()
        self.v, self.attn = nn.Linear(16, 16, bias=False), nn.Linear(16, 81)

    def forward(self, x):
        b, h, w, c = x.shape
        v = F.unfold(self.v(x).permute(0, 3, 1, 2), 3, padding=1).reshape(b, c, 9, h * w).permute(0, 3, 2, 1)
        a = self.attn(x).reshape(b, h * w, 9, 9).softmax(-1)
        y = (a @ v).permute(0, 3, 2, 1).reshape(b, c * 9, h * w)
        return F.fold(y, output_size=(h, w), kernel_size=3, padding=1).permute(0, 2, 3, 1)


class AffineStn(nn.Module):
    """Jaderberg's transformer with F.affine_grid."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 6))
        with torch.no_grad():
            self.loc[3].weight.mul_(0.2)
            self.loc[3].bias.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))

    def forward(self, x):
        grid = F.affine_grid(self.loc(x).view(-1, 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


x = lambda: real(1, T, D)
SYSTEMS = {
    "segformer_block": System(SpatialReduction, {"x": real(1, 36, D)}),
    "xcit": System(CrossCovariance, {"x": x()}, stack=False),
    "class_attention": System(ClassAttention, {"x": x()}, stack=False),
    "maxvit_grid": System(GridAttention, {"x": real(1, 6, 6, D)}),
    "botnet": System(BottleneckAttention, {"x": real(1, D, 5, 5)}, stack=False),
    "halonet": System(HaloAttention, {"x": real(1, 8, 6, 6)}, stack=False),
    "involution": System(Involution, {"x": real(1, 16, 6, 6)}, stack=False),
    "outlooker": System(Outlooker, {"x": real(1, 5, 5, 16)}, stack=False),
    "large_kernel": System(LargeKernel, {"x": real(1, 8, 8, 8)}, stack=False),
    "cond_conv": System(CondConv, {"x": real(1, 6, 7, 7)}, stack=False, dynamic=()),
    "lambda_layer": System(LambdaLayer, {"x": real(1, 8, 5, 5)}, stack=False),
    "levit": System(LeVit, {"x": x()}, stack=False),
    "feature_pyramid": System(FeaturePyramid, {"x": real(1, 3, 16, 16)}),
    "centernet": System(CenterNetPeaks, {"x": real(1, 3, 12, 12)}),
    "pixel_shuffle": System(PixelShuffleNet, {"x": real(1, 1, 8, 8)}),
    "folded_outlook": System(FoldedOutlook, {"x": real(1, 5, 5, 16)}, stack=False),
    "affine_stn": System(AffineStn, {"x": real(1, 1, 10, 10)}),
}
