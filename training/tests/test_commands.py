"""Speech Commands: what needs no recording, no voice and no converter."""

import numpy as np
import torch
from attn_training.commands import card, data, fit, models
from attn_training.words.model import WINDOW


def test_the_attention_model_has_at_most_60_000_parameters_and_is_causal():
    model = models.Attention(12).eval()
    assert models.parameters(model) <= 60_000
    x = torch.randn(1, WINDOW, 40)
    with torch.no_grad():
        before = model.frames(x)
        x[:, 30:] = 0
        after = model.frames(x)
    torch.testing.assert_close(before[:, :30], after[:, :30])
    assert not torch.allclose(before[:, 30:], after[:, 30:])


def test_bc_resnet_1_has_the_size_of_its_paper():
    assert 9_000 <= models.parameters(models.BcResNet1(12)) <= 9_400
    assert models.BcResNet1(12).eval()(torch.zeros(2, WINDOW, 40)).shape == (2, 12)


def test_both_networks_learn_from_the_same_clips():
    rng = np.random.default_rng(0)
    classes = rng.integers(2, size=256).astype(np.int8)
    features = rng.normal(scale=20, size=(256, WINDOW, 40))
    features[classes == 1, 20:30] += 60
    features = features.clip(-128, 127).astype(np.int8)
    for network in models.NETWORKS.values():
        torch.manual_seed(0)
        model = fit.train(network(2), features, classes, epochs=24, peak_rate=1e-2, seed=1)
        assert np.mean(fit.logits(model, features).argmax(1) == classes) > 0.9, network.__name__


def test_a_clip_is_in_the_middle_of_the_window():
    assert data.centred(np.ones(3, np.int16)).sum() == 3
    assert data.centred(np.arange(data.SAMPLES + 10, dtype=np.int16))[0] == 5
    rng = np.random.default_rng(1)
    word = np.zeros(9000, np.float32)
    word[3000:6000] = rng.normal(scale=1000, size=3000)
    for _ in range(20):
        placed = data.placed(word, rng)
        assert len(placed) == data.SAMPLES and np.isclose(np.sum(placed ** 2), np.sum(word ** 2), rtol=0.02)


def test_the_interval_of_a_difference_draws_speakers():
    ours, theirs = np.array([1, 1, 1, 0] * 25, bool), np.array([1, 0, 0, 1] * 25, bool)
    points, low, high = card.difference(ours, theirs, np.repeat(np.arange(25), 4))
    assert points == low == high == 25  # every speaker shows the same gain
    _, low, high = card.difference(ours, theirs, np.tile(np.arange(4), 25))
    assert low < 25 < high
