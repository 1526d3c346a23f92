"""Trains the CBAM classifier of handwritten digits and writes it with its data.

Usage: python train.py      about a minute on two cores

writes models/cbam_digits.onnx, models/cbam_digits_calibration.npz (training images), models/cbam_digits_test.npz (the test
split with labels) and host-tests/fixtures/vision/cbam_digits_torchscript.onnx (the same model by the older exporter).
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "training"), str(ROOT / "training" / "attention")]
import onnx_files  # noqa: E402
from vision import CbamCnn  # noqa: E402

STEPS = 16  # grey levels: real value = integer / 16
TEST, VAL = 450, 150
EPOCHS, BATCH = 60, 64
CALIBRATION = 128


def split():
    """Images [n, 1, 8, 8] of integers 0 to 16 and labels: train, val, test. The set is in the order in which it was written,
    so cutting it keeps most writers in one part."""
    digits = load_digits()
    images, labels = digits.images.astype(np.int8)[:, None], digits.target.astype(np.int64)
    cuts = [len(images) - TEST - VAL, len(images) - TEST]
    return list(zip(np.split(images, cuts), np.split(labels, cuts)))


def augmented(x, generator):
    """Each image turned, scaled, sheared and moved a little."""
    def uniform(limit):
        return limit * (2 * torch.rand(len(x), generator=generator) - 1)

    angle, shear, scale = uniform(0.2), uniform(0.15), 1 + uniform(0.12)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([torch.stack([cos, -sin + shear, uniform(0.2)], 1), torch.stack([sin, cos, uniform(0.2)], 1)], 1)
    grid = F.affine_grid(theta, x.shape, align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def accuracy(model, images, labels):
    model.eval()
    with torch.no_grad():
        guess = model(torch.from_numpy(images).float() / STEPS).argmax(1).numpy()
    return float((guess == labels).mean())


def train(model, images, labels, val):
    """The weights of the epoch that is best on `val`."""
    x, y = torch.from_numpy(images).float() / STEPS, torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, steps)
    best, kept = -1.0, None
    for epoch in range(EPOCHS):
        model.train()
        for batch in torch.randperm(len(x), generator=generator).split(BATCH):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(augmented(x[batch], generator)), y[batch], label_smoothing=0.05)
            loss.backward()
            optimizer.step()
            schedule.step()
        score = accuracy(model, *val)
        if score >= best:
            best, kept = score, {name: value.clone() for name, value in model.state_dict().items()}
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {loss.item():.3f}, val {score:.4f}")
    model.load_state_dict(kept)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    (images, labels), val, test = split()
    model = CbamCnn()
    print(f"{len(images)} training images, {sum(p.numel() for p in model.parameters() if p.requires_grad)} parameters")
    train(model, images, labels, val)
    for name, part in [("train", (images, labels)), ("val", val), ("test", test)]:
        print(f"{name}: {accuracy(model, *part):.4f} of {len(part[1])}")
    example = (torch.zeros(1, 1, 8, 8),)
    onnx_files.export(model, example, ROOT / "models" / "cbam_digits.onnx", True, ["image"], ["logits"])
    fixtures = ROOT / "host-tests" / "fixtures" / "vision"
    onnx_files.export(model, example, fixtures / "cbam_digits_torchscript.onnx", False, ["image"], ["logits"])
    scale = np.float32(1 / STEPS)
    chosen = np.linspace(0, len(images) - 1, CALIBRATION).astype(int)
    np.savez_compressed(ROOT / "models" / "cbam_digits_calibration.npz", image=images[chosen], scale=scale)
    np.savez_compressed(ROOT / "models" / "cbam_digits_test.npz", image=test[0], labels=test[1], scale=scale)


if __name__ == "__main__":
    main()
