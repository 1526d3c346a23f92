"""`python -m pytest tests` in `training`: what needs no recording, no voice and no converter."""

import numpy as np
import pytest
import torch
from attn_training.words import augment, command, corpus, fit, judge, phones, spot, streams
from attn_training.words.model import WINDOW, KeywordSpotter


def test_near_misses_do_not_say_the_word():
    assert phones.distance(phones.phonemes("robot"), phones.phonemes("rabbit")) < 2
    assert phones.says("a robot arm", ["robot"])
    assert not phones.says("a rabbit", ["robot"])
    assert all(not phones.holds(phones.dictionary()[word], phones.phonemes("robot")) for _, word in phones.nearest(phones.phonemes("robot"), 5))


def test_a_word_is_a_text_or_a_label_with_a_text():
    assert command.labelled(["hey robot", "lights_on=turn the lights on"]) == {"hey_robot": "hey robot", "lights_on": "turn the lights on"}
    with pytest.raises(SystemExit, match="given twice"):
        command.labelled(["on", "on"])
    with pytest.raises(SystemExit, match="reserved"):
        command.labelled(["noise"])


def test_the_last_frame_of_a_window_is_the_frame_of_a_stream():
    model = KeywordSpotter(5).eval()
    features = np.random.default_rng(1).integers(-100, 100, (WINDOW, 40)).astype(np.int8)
    with torch.no_grad():
        window = model(torch.from_numpy(features.astype(np.float32) / 32)[None])[0].numpy()
    np.testing.assert_allclose(model.stream(features)[-1], window, atol=1e-4)


def test_blocks_of_a_stream_join_without_a_seam():
    model = KeywordSpotter(5)
    features = np.random.default_rng(2).integers(-100, 100, (230, 40)).astype(np.int8)
    np.testing.assert_allclose(model.stream(features, block=60), model.stream(features, block=400), atol=1e-4)


def test_a_peak_counts_once_at_every_threshold_below_it():
    lead = np.zeros(400)
    lead[100:130], lead[300] = 0.7, 0.9
    assert [round(score, 2) for _, score in spot.peaks(lead)] == [0.9, 0.7]
    average = np.stack([lead, np.zeros(400)], -1)
    assert len(spot.events(average, [0.6, 0.6])) == 2
    assert len(spot.events(average, [0.8, 0.6])) == 1


def test_a_threshold_allows_the_rate():
    peaks = np.sort(np.random.default_rng(3).beta(1, 4, 200))[::-1]
    assert np.sum(peaks >= judge.threshold(peaks, 10, 1)) == 10
    assert judge.threshold(peaks, 10, 0.1) > judge.threshold(peaks, 10, 1)


def test_a_threshold_of_hardly_any_peaks_still_falls_with_the_rate():
    for few in ([], [0.1], [0.2, 0.1, 0.06]):
        strict, loose = (judge.threshold(np.array(few), 1, rate) for rate in (0.1, 0.5))
        assert strict > loose > 0.05


def test_intervals_hold_the_estimate():
    assert judge.poisson(0, 2) == (0, 0, pytest.approx(1.844, abs=1e-3))
    share, low, high = judge.binomial(39, 40)
    assert low < share < high


def test_biases_bring_each_word_to_the_rate():
    rng = np.random.default_rng(4)
    logits = [rng.normal(size=(3000, 4)).repeat(6, axis=0).astype(np.float32) * 2 + [1.5, 0, 0, 3] for _ in range(10)]
    hours = 10 * 18000 * spot.HOP_SECONDS / 3600
    biases = judge.label_biases(logits, 2, hours, 20)
    counts = judge.count_events([spot.smoothed(x + biases) for x in logits], [0.6, 0.6])
    assert np.all(np.abs(counts / hours - 20) < 12)


def test_a_cut_off_word_after_another_keeps_both_targets():
    target = np.full(streams.FRAMES, streams.BACKGROUND, np.int8)
    streams.mark(target, 0, 0.3, 0.9, 2)
    streams.mark(target, 1, 1.0, 1.6, 2)
    assert {0, 1} <= set(target.tolist())


def test_a_wrong_peak_costs_and_a_right_one_does_not():
    target = torch.full((1, 50), streams.BACKGROUND)
    logp = torch.full((1, 50, 4), -8.0)
    logp[..., 3] = 0
    quiet, _ = fit.peak_losses(torch.log_softmax(logp, -1), target, 2)
    logp[0, 20:30, 0] = 8
    loud, _ = fit.peak_losses(torch.log_softmax(logp, -1), target, 2)
    target[0, 14:36] = 0
    right, miss = fit.peak_losses(torch.log_softmax(logp, -1), target, 2)
    assert loud > 1 > quiet and right < 0.1 and miss < 0.1


def test_a_warp_moves_bands_and_leaves_their_level():
    x = np.full((50, 3, augment.BANDS), 7, np.float32)
    x[:, :, 20] = 40
    warped = augment.warp(x, np.random.default_rng(5))
    peaks = warped[:, 0].argmax(-1)
    assert peaks.min() < 20 < peaks.max() and abs(peaks - 20).max() <= 4
    np.testing.assert_allclose(warped[:, :, [0, -1]], 7, rtol=1e-5)
    np.testing.assert_array_equal(augment.warp(x, np.random.default_rng(5), share=0), x)


def material():
    rng = np.random.default_rng(6)
    own = corpus.Corpus(words={"one": [rng.integers(-3000, 3000, 8000).astype(np.int16)]}, spoken={"one": {}})
    own.speech = [corpus.Clip("", rng.integers(-3000, 3000, 80000).astype(np.int16), "", f"speaker {i}") for i in range(12)]
    own.near = own.sentences = [rng.integers(-3000, 3000, 60000).astype(np.int16)]
    return own


def test_streams_for_one_fold_all_leave_it_out():
    assert {streams.Streams(material(), ["one"]).stream(i)[2] for i in range(20)} == {0, 1, 2}
    assert {streams.Streams(material(), ["one"], leave_out=1).stream(i)[2] for i in range(20)} == {1}


def test_only_the_newest_shards_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "SHARD", 2)
    monkeypatch.setattr(streams, "features", lambda pcm: np.zeros((len(pcm), streams.FRAMES, 40), np.int8))
    streams.produce(streams.Streams(material(), ["one"]), tmp_path, lambda number: number == 5, kept=2)
    assert sorted(p.name for p in tmp_path.glob("shard-*")) == ["shard-0-0003.npz", "shard-0-0004.npz"]
    assert len(streams.Store(tmp_path).refresh()) == 4
