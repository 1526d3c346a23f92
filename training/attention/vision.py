"""Attention over images that attn must convert, each with seeded random weights: definition, example shape, export.

Usage: python vision.py --outputs ../../host-tests/fixtures/vision

writes for each system NAME_dynamo.onnx, NAME_torchscript.onnx and NAME.npz: the array `x` [samples, channels, height, width]
of inputs and `y` of PyTorch's own float outputs. `CbamCnn` is also what training/cbam trains.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import onnx_files  # noqa: E402

SAMPLES = 8


class ChannelAttention(nn.Module):
    """CBAM's first half: one factor per channel, from the mean and the maximum of every channel (Woo et al., 2018)."""

    def __init__(self, channels, reduction):
        super().__init__()
        hidden = channels // reduction
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x):
        mean, top = x.mean(dim=(2, 3)), x.amax(dim=(2, 3))
        gate = torch.sigmoid(self.mlp(mean) + self.mlp(top))
        return x * gate[:, :, None, None]


class SpatialAttention(nn.Module):
    """CBAM's second half: one factor per pixel, from the mean and the maximum over channels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x):
        pooled = torch.cat([x.mean(dim=1, keepdim=True), torch.max(x, dim=1, keepdim=True)[0]], dim=1)
        return x * torch.sigmoid(self.norm(self.conv(pooled)))


class CbamBlock(nn.Module):
    """A residual block whose second convolution is followed by both attentions."""

    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
            ChannelAttention(channels, 4), SpatialAttention(),
        )

    def forward(self, x):
        return torch.relu(x + self.body(x))


class CbamCnn(nn.Module):
    """A small classifier of 8 x 8 images: a convolution, a CBAM block at full and one at half size, the mean, a linear head."""

    def __init__(self, classes=10, channels=16):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        self.first, self.second = CbamBlock(channels), CbamBlock(channels)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.second(self.pool(self.first(self.stem(x))))
        return self.head(x.mean(dim=(2, 3)))


def double_conv(into, out):
    step = lambda a, b: [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*step(into, out), *step(out, out))


class AttentionGate(nn.Module):
    """Additive gate on a skip connection: sigmoid(psi(relu(W_x x + W_g g))), one factor per pixel (Oktay et al., 2018)."""

    def __init__(self, channels, hidden):
        super().__init__()
        project = lambda a, b: nn.Sequential(nn.Conv2d(a, b, 1), nn.BatchNorm2d(b))
        self.x, self.g, self.psi = project(channels, hidden), project(channels, hidden), project(hidden, 1)

    def forward(self, x, g):
        return x * torch.sigmoid(self.psi(torch.relu(self.x(x) + self.g(g))))


class AttentionUnet(nn.Module):
    """Two levels down, two up; what comes from the left is gated by what comes from below. One logit for each pixel."""

    def __init__(self, channels=3, width=8):
        super().__init__()
        self.down = nn.ModuleList([double_conv(channels, width), double_conv(width, 2 * width)])
        self.bottom = double_conv(2 * width, 4 * width)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * n, n, 2, stride=2) for n in [2 * width, width])
        self.gates = nn.ModuleList(AttentionGate(n, n // 2) for n in [2 * width, width])
        self.join = nn.ModuleList(double_conv(2 * n, n) for n in [2 * width, width])
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        skips = []
        for down in self.down:
            skips.append(down(x))
            x = nn.functional.max_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for up, gate, join, skip in zip(self.up, self.gates, self.join, reversed(skips)):
            x = up(x)
            x = join(torch.cat([gate(skip, x), x], dim=1))
        return self.head(x)


class Separable2d(nn.Module):
    """A strided depthwise and a pointwise convolution, ReLU6, batch normalisation behind it, averages, a flat head."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6)
        self.pointwise = nn.Conv2d(6, 12, 1)
        self.norm = nn.BatchNorm2d(12)
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(12 * 4 * 4, 10)

    def forward(self, x):
        x = nn.functional.relu6(self.pointwise(self.depthwise(x)))
        return self.head(self.pool(self.norm(x)).flatten(1))


class Upsample(nn.Module):
    """Transposed convolutions whose kernels overlap: 4 by steps of 2, 3 by steps of 2 with output padding; two channels out."""

    def __init__(self):
        super().__init__()
        self.first = nn.ConvTranspose2d(5, 6, 4, stride=2, padding=1)
        self.second = nn.ConvTranspose2d(6, 2, 3, stride=(2, 1), padding=1, output_padding=(1, 0))

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


SYSTEMS = {
    "cbam_cnn": (CbamCnn, (1, 8, 8)),
    "attention_unet": (AttentionUnet, (3, 16, 16)),
    "separable2d": (Separable2d, (6, 16, 16)),
    "upsample": (Upsample, (5, 4, 6)),
}


def randomise(model):
    """Weights under which signals neither fade nor grow (He et al., 2015), and batch normalisation as after training, so that folding it
    changes something."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            transposed = isinstance(module, nn.ConvTranspose2d)
            fan_in = module.weight[:, 0].numel() / module.stride[0] ** 2 if transposed else module.weight[0].numel()
            nn.init.uniform_(module.weight, -((6 / fan_in) ** 0.5), (6 / fan_in) ** 0.5)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def export(name, model, shape, folder):
    """Both files and the recording of one system."""
    model.eval()
    inputs = np.random.default_rng(7).normal(size=(SAMPLES, *shape)).astype(np.float32)
    with torch.no_grad():
        outputs = np.concatenate([model(torch.from_numpy(x[None])).numpy() for x in inputs])
    np.savez(folder / f"{name}.npz", x=inputs, y=outputs)
    for exporter in ["dynamo", "torchscript"]:
        path = folder / f"{name}_{exporter}.onnx"
        onnx_files.export(model, (torch.from_numpy(inputs[:1]),), path, exporter == "dynamo", ["x"], ["y"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, required=True)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    arguments.outputs.mkdir(parents=True, exist_ok=True)
    for number, (name, (make, shape)) in enumerate(SYSTEMS.items()):
        if arguments.only and name not in arguments.only:
            continue
        torch.manual_seed(100 + number)
        model = make()
        randomise(model)
        export(name, model, shape, arguments.outputs)


if __name__ == "__main__":
    main()
