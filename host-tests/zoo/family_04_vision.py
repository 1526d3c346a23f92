"""Images as their authors write them: ViT, Swin, MLP-Mixer, MobileNets, attention over channels and pixels, U-Nets, autoencoders."""

import math

import torch
import torch.nn.functional as F
from inputs import System, real
from torch import nn

D, HEADS = 32, 4


# --- Vision transformers -------------------------------------------------------------------------------------------------------


class TimmAttention(nn.Module):
    def __init__(self, dim=D, num_heads=HEADS, qkv_bias=True, fused=False, qk_norm=False):
        super().__init__()
        self.num_heads, self.head_dim, self.fused_attn = num_heads, dim // num_heads, fused
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.q_norm = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        q, k = self.q_norm(q), self.k_norm(k)
        if self.fused_attn:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            q = q * self.scale
            attn = q @ k.transpose(-2, -1)
            attn = attn.softmax(dim=-1)
            x = attn @ v
        return self.proj(x.transpose(1, 2).reshape(B, N, C))


class LayerScale(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gamma = nn.Parameter(0.5 + torch.rand(dim))

    def forward(self, x):
        return x * self.gamma


class TimmBlock(nn.Module):
    def __init__(self, **words):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(D, eps=1e-6), nn.LayerNorm(D, eps=1e-6)
        self.attn, self.ls1, self.ls2 = TimmAttention(**words), LayerScale(D), LayerScale(D)
        self.mlp = nn.Sequential(nn.Linear(D, 64), nn.GELU(), nn.Dropout(0.0), nn.Linear(64, D))

    def forward(self, x):
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class TimmVit(nn.Module):
    def __init__(self, global_pool="token", **words):
        super().__init__()
        self.global_pool = global_pool
        self.proj = nn.Conv2d(3, D, kernel_size=4, stride=4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, D))
        self.pos_embed = nn.Parameter(0.3 * torch.randn(1, 17, D))
        self.blocks = nn.Sequential(TimmBlock(**words), TimmBlock(**words))
        self.norm, self.head = nn.LayerNorm(D, eps=1e-6), nn.Linear(D, 10)

    def forward(self, x):
        x = self.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.norm(self.blocks(x + self.pos_embed))
        return self.head(x[:, 0] if self.global_pool == "token" else x[:, 1:].mean(dim=1))


class LucidVit(nn.Module):
    """lucidrains/vit-pytorch: patches by rearrange, LayerNorm before and after their Linear, repeat of the class token."""

    def __init__(self, p=4):
        super().__init__()
        self.p = p
        self.to_patch = nn.Sequential(nn.LayerNorm(3 * p * p), nn.Linear(3 * p * p, D), nn.LayerNorm(D))
        self.pos_embedding, self.cls_token = nn.Parameter(torch.randn(1, 17, D)), nn.Parameter(torch.randn(1, 1, D))
        self.norm, self.to_qkv, self.to_out = nn.LayerNorm(D), nn.Linear(D, 3 * D, bias=False), nn.Linear(D, D)
        self.ff = nn.Sequential(nn.LayerNorm(D), nn.Linear(D, 64), nn.GELU(), nn.Linear(64, D))
        self.head = nn.Linear(D, 10)

    def forward(self, img):
        b, c, height, width = img.shape
        p, h, w = self.p, height // self.p, width // self.p
        x = img.reshape(b, c, h, p, w, p).permute(0, 2, 4, 3, 5, 1).reshape(b, h * w, p * p * c)
        x = self.to_patch(x)
        x = torch.cat((self.cls_token.repeat(b, 1, 1), x), dim=1)
        x = x + self.pos_embedding[:, : x.shape[1]]
        q, k, v = (y.reshape(b, -1, HEADS, D // HEADS).transpose(1, 2) for y in self.to_qkv(self.norm(x)).chunk(3, dim=-1))
        attn = (torch.matmul(q, k.transpose(-1, -2)) * (D // HEADS) ** -0.5).softmax(dim=-1)
        x = self.to_out(torch.matmul(attn, v).permute(0, 2, 1, 3).reshape(b, -1, D)) + x
        x = self.ff(x) + x
        return self.head(x[:, 0])


def window_partition(x, window_size):
    B, H, W, C = x.shape
    x = x.view(B, H // window_size, window_size, W // window_size, window_size, C)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, window_size, window_size, C)


def window_reverse(windows, window_size, H, W):
    B = int(windows.shape[0] / (H * W / window_size / window_size))
    x = windows.view(B, H // window_size, W // window_size, window_size, window_size, -1)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(B, H, W, -1)


class WindowAttention(nn.Module):
    def __init__(self, dim, window, heads):
        super().__init__()
        self.window, self.num_heads, self.scale = window, heads, (dim // heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(0.5 * torch.randn((2 * window - 1) ** 2, heads))
        coords = torch.stack(torch.meshgrid([torch.arange(window), torch.arange(window)], indexing="ij")).flatten(1)
        relative = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0).contiguous() + window - 1
        relative[:, :, 0] *= 2 * window - 1
        self.register_buffer("relative_position_index", relative.sum(-1))
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)

    def forward(self, x, mask=None):
        B_, N, C = x.shape
        qkv = self.qkv(x).reshape(B_, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)].view(N, N, -1)
        attn = attn + bias.permute(2, 0, 1).contiguous().unsqueeze(0)
        if mask is not None:
            nW = mask.shape[0]
            attn = attn.view(B_ // nW, nW, self.num_heads, N, N) + mask.unsqueeze(1).unsqueeze(0)
            attn = attn.view(-1, self.num_heads, N, N)
        attn = attn.softmax(-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(B_, N, C))


class SwinBlock(nn.Module):
    """Windows of an image in attention with relative position bias; shifted by torch.roll with its mask, or not."""

    def __init__(self, shift, size=8, window=4, dim=D):
        super().__init__()
        self.shift, self.size, self.window = shift, size, window
        self.norm1, self.norm2, self.attn = nn.LayerNorm(dim), nn.LayerNorm(dim), WindowAttention(dim, window, HEADS)
        self.mlp = nn.Sequential(nn.Linear(dim, 64), nn.GELU(), nn.Linear(64, dim))
        mask = None
        if shift:
            img_mask = torch.zeros((1, size, size, 1))
            slices = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
            for count, (h, w) in enumerate((h, w) for h in slices for w in slices):
                img_mask[:, h, w, :] = count
            windows = window_partition(img_mask, window).view(-1, window * window)
            mask = windows.unsqueeze(1) - windows.unsqueeze(2)
            mask = mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
        self.register_buffer("attn_mask", mask)

    def forward(self, x):
        H = W = self.size
        B, L, C = x.shape
        shortcut = x
        x = self.norm1(x).view(B, H, W, C)
        if self.shift:
            x = torch.roll(x, shifts=(-self.shift, -self.shift), dims=(1, 2))
        windows = window_partition(x, self.window).view(-1, self.window * self.window, C)
        windows = self.attn(windows, mask=self.attn_mask).view(-1, self.window, self.window, C)
        x = window_reverse(windows, self.window, H, W)
        if self.shift:
            x = torch.roll(x, shifts=(self.shift, self.shift), dims=(1, 2))
        x = shortcut + x.view(B, H * W, C)
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Swin's halving: every second pixel in four parts, joined, normalised, projected."""

    def __init__(self, dim=16):
        super().__init__()
        self.reduction, self.norm = nn.Linear(4 * dim, 2 * dim, bias=False), nn.LayerNorm(4 * dim)

    def forward(self, x):
        B, L, C = x.shape
        x = x.view(B, 8, 8, C)
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.reduction(self.norm(x.view(B, -1, 4 * C)))


class Mixer(nn.Module):
    """MLP-Mixer: an MLP across patches, one across channels; mean, head."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, D, 4, 4)
        mlp = lambda n, h: nn.Sequential(nn.Linear(n, h), nn.GELU(), nn.Linear(h, n))
        self.tokens, self.channels = nn.ModuleList(mlp(16, 24) for _ in range(2)), nn.ModuleList(mlp(D, 64) for _ in range(2))
        self.norms, self.head = nn.ModuleList(nn.LayerNorm(D) for _ in range(5)), nn.Linear(D, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        for i in range(2):
            x = x + self.tokens[i](self.norms[2 * i](x).transpose(1, 2)).transpose(1, 2)
            x = x + self.channels[i](self.norms[2 * i + 1](x))
        return self.head(self.norms[4](x).mean(dim=1))


class GMlp(nn.Module):
    """gMLP: a spatial gating unit (Liu et al., 2021)."""

    def __init__(self, steps=16):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(D), nn.Linear(D, 64), nn.Linear(32, D)
        self.gate_norm, self.spatial = nn.LayerNorm(32), nn.Conv1d(steps, steps, 1)
        nn.init.constant_(self.spatial.bias, 1.0)

    def forward(self, x):
        u, v = F.gelu(self.up(self.norm(x))).chunk(2, dim=-1)
        return x + self.down(u * self.spatial(self.gate_norm(v)))


class ConvNextBlock(nn.Module):
    """Depthwise 7 x 7, channels last for LayerNorm and two Linears, layer scale."""

    def __init__(self, dim=16):
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(dim, dim, 7, padding=3, groups=dim), nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(0.5 + torch.rand(dim))

    def forward(self, x):
        y = self.dwconv(x).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(self.norm(y))))
        return x + y.permute(0, 3, 1, 2)


# --- Convolutional classifiers -------------------------------------------------------------------------------------------------


def conv_bn(into, out, kernel=3, stride=1, groups=1, act=nn.ReLU6):
    layers = [nn.Conv2d(into, out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, *([act()] if act else []))


class InvertedResidual(nn.Module):
    def __init__(self, into, out, stride, expand, act=nn.ReLU6, excite=None):
        super().__init__()
        hidden = into * expand
        self.residual = stride == 1 and into == out
        self.conv = nn.Sequential(conv_bn(into, hidden, 1, act=act), conv_bn(hidden, hidden, 3, stride, hidden, act),
                                  *([excite(hidden)] if excite else []), conv_bn(hidden, out, 1, act=None))

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class TorchvisionSqueeze(nn.Module):
    """V3's: average, two 1 x 1 convolutions, hard sigmoid; EfficientNet's with SiLU and sigmoid."""

    def __init__(self, channels, activation=nn.ReLU, scale=nn.Hardsigmoid):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)
        self.activation, self.scale_activation = activation(), scale()

    def forward(self, x):
        return self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x))))) * x


class MobileNet(nn.Module):
    def __init__(self, act, excite):
        super().__init__()
        block = lambda a, b, s: InvertedResidual(a, b, s, 4, act, excite)
        self.features = nn.Sequential(conv_bn(3, 8, 3, 2, act=act), block(8, 8, 1), block(8, 12, 2),
                                      block(12, 12, 1), conv_bn(12, 32, 1, act=act))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(32, 10))

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class BasicBlock(nn.Module):
    def __init__(self, into, out, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None if stride == 1 else nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layers = nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 16, 2), BasicBlock(16, 32, 2))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(32, 10)

    def forward(self, x):
        x = self.layers(self.maxpool(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class ShuffleUnit(nn.Module):
    """ShuffleNet V2: half of the channels pass, the other is convolved, then channels are shuffled."""

    def __init__(self, c=16):
        super().__init__()
        self.branch = nn.Sequential(
            conv_bn(c // 2, c // 2, 1, act=nn.ReLU),
            conv_bn(c // 2, c // 2, 3, 1, c // 2, None),
            conv_bn(c // 2, c // 2, 1, act=nn.ReLU),
        )

    def forward(self, x):
        x1, x2 = x.chunk(2, dim=1)
        out = torch.cat((x1, self.branch(x2)), dim=1)
        n, c, h, w = out.size()
        return out.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


# --- Attention over channels and pixels ----------------------------------------------------------------------------------------


class SELayer(nn.Module):
    """moskomule/senet.pytorch."""

    def __init__(self, channel=16, reduction=4):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channel, channel // reduction, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channel // reduction, channel, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        return x * self.fc(y).view(b, c, 1, 1).expand_as(x)


class Eca(nn.Module):
    """ECA-Net: a convolution along the channels of the mean pixel."""

    def __init__(self):
        super().__init__()
        self.avg_pool, self.conv, self.sigmoid = nn.AdaptiveAvgPool2d(1), nn.Conv1d(1, 1, 3, padding=1, bias=False), nn.Sigmoid()

    def forward(self, x):
        y = self.avg_pool(x)
        y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * self.sigmoid(y).expand_as(x)


class Cbam(nn.Module):
    """Jongchan's original: lp-pool-free channel gate of average and maximum, spatial gate of both over channels."""

    def __init__(self, channels=16):
        super().__init__()
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(channels, 4), nn.ReLU(), nn.Linear(4, channels))
        self.spatial = nn.Sequential(nn.Conv2d(2, 1, 7, padding=3, bias=False), nn.BatchNorm2d(1))

    def forward(self, x):
        size = (int(x.size(2)), int(x.size(3)))
        avg = self.mlp(F.avg_pool2d(x, size, stride=size))
        top = self.mlp(F.max_pool2d(x, size, stride=size))
        x = x * torch.sigmoid(avg + top).unsqueeze(2).unsqueeze(3).expand_as(x)
        compress = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        return x * torch.sigmoid(self.spatial(compress))


class NonLocal(nn.Module):
    """AlexHex7's: embedded Gaussian over all pixels, keys and values pooled or not, or dot product over N."""

    def __init__(self, mode, pooled=False, channels=16):
        super().__init__()
        self.mode, inter = mode, channels // 2
        self.inter = inter
        self.theta, phi, g = (nn.Conv2d(channels, inter, 1) for _ in range(3))
        self.phi = nn.Sequential(phi, nn.MaxPool2d(2)) if pooled else phi
        self.g = nn.Sequential(g, nn.MaxPool2d(2)) if pooled else g
        self.W = nn.Sequential(nn.Conv2d(inter, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x):
        batch_size = x.size(0)
        g_x = self.g(x).view(batch_size, self.inter, -1).permute(0, 2, 1)
        theta_x = self.theta(x).view(batch_size, self.inter, -1).permute(0, 2, 1)
        phi_x = self.phi(x).view(batch_size, self.inter, -1)
        f = torch.matmul(theta_x, phi_x)
        f_div_C = F.softmax(f, dim=-1) if self.mode == "gaussian" else f / f.size(-1)
        y = torch.matmul(f_div_C, g_x).permute(0, 2, 1).contiguous()
        return self.W(y.view(batch_size, self.inter, *x.size()[2:])) + x


class GlobalContext(nn.Module):
    """GCNet: one softmax over all pixels, the weighted mean pixel through a bottleneck with LayerNorm, added everywhere."""

    def __init__(self, c=16):
        super().__init__()
        self.conv_mask, self.softmax = nn.Conv2d(c, 1, 1), nn.Softmax(dim=2)
        self.add = nn.Sequential(nn.Conv2d(c, 4, 1), nn.LayerNorm([4, 1, 1]), nn.ReLU(), nn.Conv2d(4, c, 1))

    def forward(self, x):
        b, c, h, w = x.size()
        input_x = x.view(b, c, h * w).unsqueeze(1)
        mask = self.softmax(self.conv_mask(x).view(b, 1, h * w)).unsqueeze(-1)
        context = torch.matmul(input_x, mask).view(b, c, 1, 1)
        return x + self.add(context)


class SaganAttention(nn.Module):
    """SAGAN and DANet: pixels by bmm, gamma; plus DANet's over channels, max minus energy."""

    def __init__(self, c=16):
        super().__init__()
        self.query, self.key, self.value = nn.Conv2d(c, 8, 1), nn.Conv2d(c, 8, 1), nn.Conv2d(c, c, 1)
        self.gamma, self.beta = nn.Parameter(torch.tensor([0.8])), nn.Parameter(torch.tensor([0.6]))
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x):
        b, c, w, h = x.size()
        q = self.query(x).view(b, -1, w * h).permute(0, 2, 1)
        attention = self.softmax(torch.bmm(q, self.key(x).view(b, -1, w * h)))
        out = torch.bmm(self.value(x).view(b, -1, w * h), attention.permute(0, 2, 1)).view(b, c, w, h)
        pixels = self.gamma * out + x
        flat = x.view(b, c, -1)
        energy = torch.bmm(flat, flat.permute(0, 2, 1))
        energy_new = torch.max(energy, -1, keepdim=True)[0].expand_as(energy) - energy
        channels = self.beta * torch.bmm(self.softmax(energy_new / 16), flat).view(b, c, w, h) + x
        return pixels + channels


class Axial(nn.Module):
    """Attention along rows, then along columns, each folding the other axis into the batch."""

    def __init__(self):
        super().__init__()
        self.rows, self.columns = (nn.MultiheadAttention(D, HEADS, batch_first=True) for _ in range(2))

    def forward(self, x):
        b, c, h, w = x.shape
        y = x.permute(0, 2, 3, 1).reshape(b * h, w, c)
        y = self.rows(y, y, y, need_weights=False)[0].reshape(b, h, w, c)
        z = x.permute(0, 3, 2, 1).reshape(b * w, h, c)
        z = self.columns(z, z, z, need_weights=False)[0].reshape(b, w, h, c)
        return (y + z.transpose(1, 2)).permute(0, 3, 1, 2)


class CoordinateAttention(nn.Module):
    """Hou et al., 2021: means over each axis, joined, one convolution with h-swish, split, two gates."""

    def __init__(self, c=16):
        super().__init__()
        self.pool_h, self.pool_w = nn.AdaptiveAvgPool2d((None, 1)), nn.AdaptiveAvgPool2d((1, None))
        self.conv1, self.bn1, self.act = nn.Conv2d(c, 8, 1), nn.BatchNorm2d(8), nn.Hardswish()
        self.conv_h, self.conv_w = nn.Conv2d(8, c, 1), nn.Conv2d(8, c, 1)

    def forward(self, x):
        n, c, h, w = x.size()
        x_h, x_w = self.pool_h(x), self.pool_w(x).permute(0, 1, 3, 2)
        y = self.act(self.bn1(self.conv1(torch.cat([x_h, x_w], dim=2))))
        x_h, x_w = torch.split(y, [h, w], dim=2)
        return x * self.conv_w(x_w.permute(0, 1, 3, 2)).sigmoid() * self.conv_h(x_h).sigmoid()


# --- Upsampling and autoencoders -----------------------------------------------------------------------------------------------


class AttentionUnet(nn.Module):
    """LeeJunHyun/Image_Segmentation: nn.Upsample before a convolution, in place of transposed convolutions."""

    def __init__(self, mode, c=8):
        super().__init__()
        block = lambda a, b: nn.Sequential(nn.Conv2d(a, b, 3, 1, 1), nn.BatchNorm2d(b), nn.ReLU(inplace=True))
        words = {"mode": "bilinear", "align_corners": True} if mode == "aligned" else {"mode": mode}
        upsample = nn.Upsample(scale_factor=2, **words)
        self.down1, self.down2 = block(3, c), block(c, 2 * c)
        self.pool = nn.MaxPool2d(2, 2)
        self.up = nn.Sequential(upsample, block(2 * c, c))
        gate = lambda a: nn.Sequential(nn.Conv2d(a, 4, 1), nn.BatchNorm2d(4))
        self.W_g, self.W_x = gate(c), gate(c)
        self.psi = nn.Sequential(nn.Conv2d(4, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())
        self.join, self.out = block(2 * c, c), nn.Conv2d(c, 2, 1)

    def forward(self, x):
        x1 = self.down1(x)
        d = self.up(self.down2(self.pool(x1)))
        psi = self.psi(F.relu(self.W_g(d) + self.W_x(x1)))
        return self.out(self.join(torch.cat((x1 * psi, d), dim=1)))


class Interpolated(nn.Module):
    """A feature pyramid: F.interpolate to the size of the other branch, added; pyramid pooling with adaptive averages."""

    def __init__(self, c=16):
        super().__init__()
        self.lateral1, self.lateral2, self.smooth = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1), nn.Conv2d(2 * c, c, 3, padding=1)

    def forward(self, x):
        small = F.max_pool2d(x, 2)
        top = F.interpolate(self.lateral2(small), size=x.shape[-2:], mode="bilinear", align_corners=False)
        pooled = F.interpolate(F.adaptive_avg_pool2d(x, 2), size=x.shape[-2:], mode="nearest")
        return self.smooth(torch.cat([self.lateral1(x) + top, pooled], 1))


class Autoencoder2d(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(True), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(True), nn.Flatten(), nn.Linear(16 * 16, 24)
        )
        self.decoder = nn.Sequential(
            nn.Linear(24, 256),
            nn.ReLU(True),
            nn.Unflatten(1, (16, 4, 4)),
            nn.ConvTranspose2d(16, 8, 3, 2, 1, output_padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(True),
            nn.ConvTranspose2d(8, 1, 3, 2, 1, output_padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Autoencoder1d(nn.Module):
    """Anomaly detection on a vibration signal: strided convolutions down, transposed ones up, dropout, tanh."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(3, 16, 7, 2, 3),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(16, 8, 7, 2, 3),
            nn.ReLU(),
            nn.ConvTranspose1d(8, 8, 7, 2, 3, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose1d(8, 16, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose1d(16, 3, 7, padding=3),
        )

    def forward(self, x):
        return self.net(x)


class VaeEncoder(nn.Module):
    """pytorch/examples vae: mean and log-variance; here also the sample for a noise that the caller gives."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(64, 32), nn.Linear(32, 8), nn.Linear(32, 8)

    def forward(self, x, eps):
        h1 = F.relu(self.fc1(x.view(-1, 64)))
        mu, logvar = self.fc21(h1), self.fc22(h1)
        std = torch.exp(0.5 * logvar)
        return mu + eps * std, mu, logvar


class SuperResolution(nn.Module):
    """pytorch/examples super_resolution: PixelShuffle at the end."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 5, 1, 2), nn.ReLU(), nn.Conv2d(16, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1), nn.PixelShuffle(2)
        )

    def forward(self, x):
        return self.net(x)


# --- Queries on images ---------------------------------------------------------------------------------------------------------


class DetrDecoderLayer(nn.Module):
    """DETR: queries with their positions added to queries and keys, memory with its own; class and box heads."""

    def __init__(self, queries=6):
        super().__init__()
        self.self_attn, self.multihead_attn = nn.MultiheadAttention(D, HEADS), nn.MultiheadAttention(D, HEADS)
        self.linear1, self.linear2 = nn.Linear(D, 64), nn.Linear(64, D)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(D) for _ in range(3))
        self.query_embed = nn.Embedding(queries, D)
        self.row_embed, self.col_embed = nn.Parameter(torch.rand(50, D // 2)), nn.Parameter(torch.rand(50, D // 2))
        self.linear_class, self.linear_bbox = nn.Linear(D, 5), nn.Linear(D, 4)

    def forward(self, h):
        H, W = h.shape[-2:]
        pos = torch.cat([self.col_embed[:W].unsqueeze(0).repeat(H, 1, 1), self.row_embed[:H].unsqueeze(1).repeat(1, W, 1)], -1)
        pos = pos.flatten(0, 1).unsqueeze(1)
        memory = h.flatten(2).permute(2, 0, 1)
        query_pos = self.query_embed.weight.unsqueeze(1).repeat(1, h.shape[0], 1)
        tgt = torch.zeros_like(query_pos)
        q = k = tgt + query_pos
        tgt = self.norm1(tgt + self.self_attn(q, k, value=tgt)[0])
        tgt = self.norm2(tgt + self.multihead_attn(query=tgt + query_pos, key=memory + pos, value=memory)[0])
        tgt = self.norm3(tgt + self.linear2(F.relu(self.linear1(tgt))))
        tgt = tgt.transpose(0, 1)
        return self.linear_class(tgt), self.linear_bbox(tgt).sigmoid()


class Perceiver(nn.Module):
    """lucidrains': latents repeated over the batch, cross attention with context norm, GEGLU, mean of latents."""

    def __init__(self, latents=8):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, D))
        self.norm, self.norm_context = nn.LayerNorm(D), nn.LayerNorm(20)
        self.to_q, self.to_kv, self.to_out = nn.Linear(D, D, bias=False), nn.Linear(20, 2 * D, bias=False), nn.Linear(D, D)
        self.ff_norm, self.ff1, self.ff2 = nn.LayerNorm(D), nn.Linear(D, 128), nn.Linear(64, D)
        self.head = nn.Sequential(nn.LayerNorm(D), nn.Linear(D, 10))

    def forward(self, data):
        b = data.shape[0]
        x = self.latents.unsqueeze(0).expand(b, -1, -1)
        q = self.to_q(self.norm(x))
        k, v = self.to_kv(self.norm_context(data)).chunk(2, dim=-1)
        split = lambda y: y.reshape(b, y.shape[1], HEADS, -1).permute(0, 2, 1, 3).reshape(b * HEADS, y.shape[1], -1)
        q, k, v = split(q), split(k), split(v)
        attn = (torch.einsum("bid,bjd->bij", q, k) * (D // HEADS) ** -0.5).softmax(dim=-1)
        out = torch.einsum("bij,bjd->bid", attn, v)
        out = out.reshape(b, HEADS, -1, D // HEADS).permute(0, 2, 1, 3).reshape(b, -1, D)
        x = self.to_out(out) + x
        y, gates = self.ff1(self.ff_norm(x)).chunk(2, dim=-1)
        x = self.ff2(y * F.gelu(gates)) + x
        return self.head(x.mean(dim=1))


class Mab(nn.Module):
    """Set Transformer's own: heads are split off the channels and joined on the batch axis."""

    def __init__(self, dim_Q, dim_K, dim_V=D, num_heads=HEADS, ln=True):
        super().__init__()
        self.dim_V, self.num_heads = dim_V, num_heads
        self.fc_q, self.fc_k, self.fc_v = nn.Linear(dim_Q, dim_V), nn.Linear(dim_K, dim_V), nn.Linear(dim_K, dim_V)
        self.ln0, self.ln1, self.fc_o = nn.LayerNorm(dim_V), nn.LayerNorm(dim_V), nn.Linear(dim_V, dim_V)

    def forward(self, Q, K):
        Q = self.fc_q(Q)
        K, V = self.fc_k(K), self.fc_v(K)
        dim_split = self.dim_V // self.num_heads
        Q_ = torch.cat(Q.split(dim_split, 2), 0)
        K_ = torch.cat(K.split(dim_split, 2), 0)
        V_ = torch.cat(V.split(dim_split, 2), 0)
        A = torch.softmax(Q_.bmm(K_.transpose(1, 2)) / math.sqrt(self.dim_V), 2)
        O = torch.cat((Q_ + A.bmm(V_)).split(Q.size(0), 0), 2)
        O = self.ln0(O)
        O = O + F.relu(self.fc_o(O))
        return self.ln1(O)


class SetTransformer(nn.Module):
    """ISAB and PMA."""

    def __init__(self, inducing=4):
        super().__init__()
        self.I, self.S = nn.Parameter(torch.randn(1, inducing, D)), nn.Parameter(torch.randn(1, 1, D))
        self.mab0, self.mab1, self.pma, self.fc = Mab(D, 8), Mab(8, D), Mab(D, D), nn.Linear(D, 4)

    def forward(self, X):
        H = self.mab0(self.I.repeat(X.size(0), 1, 1), X)
        Y = self.mab1(X, H)
        return self.fc(self.pma(self.S.repeat(Y.size(0), 1, 1), Y)).squeeze(1)


picture, feature_map = lambda: real(1, 3, 16, 16), lambda: real(1, 16, 8, 8)
SYSTEMS = {
    "timm_vit": System(TimmVit, {"x": picture()}),
    "timm_vit_fused": System(lambda: TimmVit("avg", fused=True, qk_norm=True), {"x": picture()}),
    "lucid_vit": System(LucidVit, {"img": picture()}),
    "swin_block": System(lambda: SwinBlock(0), {"x": real(1, 64, D, batch=None)}),
    "swin_shifted": System(lambda: SwinBlock(2), {"x": real(1, 64, D, batch=None)}),
    "swin_merging": System(PatchMerging, {"x": real(1, 64, 16)}, stack=False),
    "mlp_mixer": System(Mixer, {"x": picture()}),
    "gmlp": System(GMlp, {"x": real(1, 16, D)}, stack=False),
    "convnext_block": System(ConvNextBlock, {"x": feature_map()}, stack=False),
    "mobilenet_v2": System(lambda: MobileNet(nn.ReLU6, None), {"x": picture()}),
    "mobilenet_v3": System(lambda: MobileNet(nn.Hardswish, TorchvisionSqueeze), {"x": picture()}),
    "efficientnet": System(lambda: MobileNet(nn.SiLU, lambda c: TorchvisionSqueeze(c, nn.SiLU, nn.Sigmoid)), {"x": picture()}),
    "resnet": System(ResNet, {"x": real(1, 3, 32, 32)}),
    "shuffle_unit": System(ShuffleUnit, {"x": feature_map()}, stack=False),
    "squeeze_excite": System(SELayer, {"x": feature_map()}, stack=False),
    "eca": System(Eca, {"x": feature_map()}, stack=False),
    "cbam": System(Cbam, {"x": feature_map()}, stack=False),
    "non_local": System(lambda: NonLocal("gaussian", True), {"x": feature_map()}, stack=False),
    "non_local_dot": System(lambda: NonLocal("dot"), {"x": feature_map()}, stack=False),
    "global_context": System(GlobalContext, {"x": feature_map()}, stack=False),
    "dual_attention": System(SaganAttention, {"x": feature_map()}, stack=False),
    "axial": System(Axial, {"x": real(1, D, 8, 6)}, stack=False),
    "coordinate_attention": System(CoordinateAttention, {"x": feature_map()}, stack=False, dynamic=("dynamo",)),
    **{
        f"attention_unet_{mode}": System(lambda mode=mode: AttentionUnet(mode), {"x": picture()})
        for mode in ("nearest", "bilinear", "aligned")
    },
    "interpolated_pyramid": System(Interpolated, {"x": feature_map()}, stack=False),
    "autoencoder_2d": System(Autoencoder2d, {"x": real(1, 1, 16, 16)}),
    "autoencoder_1d": System(Autoencoder1d, {"x": real(1, 3, 32)}),
    "vae_encoder": System(VaeEncoder, {"x": real(1, 1, 8, 8), "eps": real(1, 8)}, stack=False),
    "super_resolution": System(SuperResolution, {"x": real(1, 1, 12, 12)}),
    "detr_decoder": System(DetrDecoderLayer, {"h": real(1, D, 4, 5)}),
    "perceiver": System(Perceiver, {"data": real(1, 24, 20)}),
    "set_transformer": System(SetTransformer, {"X": real(1, 10, 8)}, dynamic=()),
}
