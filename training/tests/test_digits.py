"""Digit strings: what needs no recording, no voice and no converter."""

import numpy as np
import torch
from attn_training.digits import align, fit, judge, recorded, said, strings
from attn_training.digits.model import STRIDE


def word(rng, seconds=0.3):
    return (rng.normal(size=int(16000 * seconds)) * 1000).astype(np.float32)


def test_the_parts_that_are_exported_compute_what_was_trained():
    model = fit.new_model().eval()
    features, inputs = torch.randn(2, 64, 40), torch.tensor([[0, 3, 4], [0, 5, 5]])
    with torch.no_grad():
        logits, weights, frames = model(features, inputs)
        model.encoder.freeze()
        memory, state = model.encoder(features)
        assert memory.shape[1] == weights.shape[2] == frames.shape[1] == 64 // STRIDE
        for i in range(inputs.shape[1]):
            row, state, seen = model.step(inputs[:, i], state, memory)
            torch.testing.assert_close(row, logits[:, i], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(seen, weights[:, i], atol=1e-4, rtol=1e-4)


def test_the_longest_string_and_one_digit_more_fit_into_a_decode():
    assert fit.ROWS * STRIDE >= strings.MAX_FRAMES and strings.MAX_FRAMES % strings.BLOCK == 0
    assert strings.MAX_DIGITS + 1 == fit.MAX_TOKENS and strings.MOST > fit.MAX_TOKENS
    assert len(strings.LENGTHS) == strings.MOST + 1


def test_spans_of_joined_words_are_where_the_words_are():
    rng = np.random.default_rng(3)
    maker = strings.Maker([word(rng, 2)], [np.ones(1, np.float32)], 1)
    for _ in range(20):
        x, digits, spans = maker.joined(lambda rng: (int(rng.integers(10)), word(rng)), 1.0, rng)
        assert len(digits) == len(spans) <= strings.MOST and len(x) <= strings.SAMPLES
        for start, end in spans:
            assert np.sqrt(np.mean(x[start + 800: end - 800] ** 2)) > 0.5


def test_words_that_overlap_fade_into_each_other():
    x = strings.overlapped(np.ones(100, np.float32), np.ones(50, np.float32), 80)
    assert len(x) == 130
    np.testing.assert_allclose(x, 1, atol=1e-6)


def test_strings_are_kept_as_they_are(tmp_path):
    own = strings.Strings([np.full((16, 40), 3, np.int8), np.zeros((32, 40), np.int8)], [np.array([1, 2]), np.array([], int)],
                          [[(0, 4), None], []], np.array([0, -1]))
    own.save(tmp_path / "own.npz")
    again = strings.Strings.load(tmp_path / "own.npz")
    assert [x.shape for x in again.features] == [(16, 40), (32, 40)] and again.spans == own.spans
    assert [list(row) for row in (again + again.only([True, False])).digits] == [[1, 2], [], [1, 2]]


def test_a_list_is_cut_at_its_pauses():
    rng = np.random.default_rng(5)
    pause = np.zeros(3200, np.float32)
    words = [word(rng) for _ in range(10)]
    pcm = np.concatenate([part for one in words for part in (one, pause)])
    assert [abs(len(part) - 8000) < 3300 for part in said.cut(pcm, 10)] == [True] * 10
    assert said.cut(np.concatenate(words), 10) == []


def test_the_best_path_gives_every_digit_rows_of_its_own():
    scores = np.full((12, 12), -5.0)
    scores[:, 0] = -2.0
    for row, digit in [(1, 4), (2, 4), (5, 4), (9, 7)]:
        scores[row, digit + fit.FIRST] = 0.0
    assert align.path(scores, [4, 4, 7]) == [(1, 2), (5, 5), (9, 9)]


def test_decoding_tells_what_ended_and_what_was_cut_off():
    model = fit.new_model().eval()
    with torch.no_grad():
        model.step.out.bias[5] += 100  # always the same digit
    (row, ended), = fit.transcribe(model, [np.zeros((48, 40), np.int8)])
    assert (len(row), ended) == (fit.MAX_TOKENS, False)
    with torch.no_grad():
        model.step.out.bias[1] += 200
    assert fit.transcribe(model, [np.zeros((48, 40), np.int8)]) == [([], True)]


def test_the_loss_falls_when_a_model_is_trained():
    rng = np.random.default_rng(0)
    features, digits, spans = [], [], []
    for _ in range(64):
        own = rng.integers(3, size=2)
        x = rng.normal(scale=8, size=(32, 40))
        for k, digit in enumerate(own):
            x[4 + 14 * k: 14 + 14 * k, 12 * digit: 12 * digit + 10] += 80
        features.append(x.clip(-128, 127).astype(np.int8))
        digits.append(own)
        spans.append([(4, 14), (18, 28)])
    data = strings.Strings(features, digits, spans, np.zeros(64, int))
    torch.manual_seed(0)
    before = fit.new_model()
    inputs = np.stack(features).astype(np.float32), digits, spans
    model = fit.train(before, data, 3e-3, 0.05, 1, log=lambda *_, **__: None)
    fresh = fit.new_model().eval()
    with torch.no_grad():
        assert fit.loss_of(model, *inputs) < 0.8 * fit.loss_of(fresh, *inputs)


def test_folds_deal_out_the_speakers_of_each_source():
    people = [recorded.Speaker(source, f"{source}{i}") for source in ("a", "b") for i in range(4)]
    assert recorded.folds(people) == [0, 1, 2, 0, 0, 1, 2, 0]


def test_the_interval_draws_speakers():
    rate, low, high = judge.interval(np.array([1, 1, 0, 0]), np.array([1, 1, 1, 1]), np.array(["a", "a", "b", "b"]))
    assert (rate, low, high) == (50, 0, 100)
    assert judge.interval(np.array([1, 0, 1, 0]), np.ones(4), np.array(["a", "a", "b", "b"])) == [50, 50, 50]
