//! Tests of the decision rule and of a spotter around a model of one Linear, put together by hand.

use super::*;
use crate::Arena;
use crate::format::{
    AudioMeta, DType, EntryRecord, FILE_ALIGN, Header, MAGIC, MetaKey, MetaRecord, NO_TENSOR,
    OpKind, OpRecord, Section, SpotterMeta, VERSION, checksum,
};
use crate::include::Aligned;
use crate::kernels::int::dot::{packed_index, packed_len};
use crate::ops::LinearParams;
use core::task::Poll;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;
use zerocopy::{FromZeros, IntoBytes};

const HALF: u16 = 16384;

/// What differs between the models of these tests.
struct Parts {
    audio: Option<AudioMeta>,
    labels: Vec<&'static str>,
    thresholds: Vec<u16>,
    smoothing_hops: u32,
    input_scale: f32,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            audio: Some(AudioMeta {
                sample_rate: SAMPLE_RATE,
                frame_len: FRAME_LEN as u32,
                hop: 320,
                mel_bands: MEL_BANDS as u32,
            }),
            labels: vec!["loud", "noise", "never"],
            thresholds: vec![HALF, NEVER, NEVER],
            smoothing_hops: 4,
            input_scale: FEATURE_SCALE,
        }
    }
}

fn tensor(dtype: DType, len: usize, offset: usize, scale: f32) -> TensorRecord {
    TensorRecord {
        dtype: dtype as u8,
        storage: 0,
        rank: 2,
        rows_rule: 0,
        dims: [1, len as u32, 1, 1, 1, 1],
        offset: offset as u32,
        scale,
        zero_point: 0,
        name: 0,
    }
}

/// Appends `bytes` at a multiple of `align` and returns their offset.
fn append(to: &mut Vec<u8>, bytes: &[u8], align: usize) -> u32 {
    to.resize(to.len().next_multiple_of(align), 0);
    let at = to.len() as u32;
    to.extend_from_slice(bytes);
    at
}

/// A model whose logits are `[sum of features, -sum, 0, ...]` in steps of 1/256.
fn model(parts: &Parts) -> &'static [u8] {
    let labels = 3;
    let (mut params, mut weights, mut strings, mut meta) = (vec![], vec![], vec![0u8, 0], vec![]);
    let mut matrix = vec![0i8; packed_len(labels, MEL_BANDS)];
    for i in 0..MEL_BANDS {
        matrix[packed_index(0, i, MEL_BANDS)] = 1;
        matrix[packed_index(1, i, MEL_BANDS)] = -1;
    }
    let linear = LinearParams {
        weights: append(&mut weights, matrix.as_bytes(), 4),
        bias: append(&mut weights, vec![0i32; labels].as_bytes(), 4),
        multipliers: append(&mut weights, vec![1i32 << 30; labels].as_bytes(), 4),
        left_shift: 2,
        min: -32768,
        max: 32767,
    };
    let linear = append(&mut params, linear.as_bytes(), 4);
    let mut record = |key: MetaKey, count: usize, payload: &[u8]| {
        let offset = append(&mut params, payload, 4);
        meta.push(MetaRecord {
            key: key as u16,
            count: count as u16,
            offset,
            len: payload.len() as u32,
        });
    };
    let mut offsets = vec![];
    for label in &parts.labels {
        offsets.push(strings.len() as u32);
        strings.extend_from_slice(&(label.len() as u16).to_le_bytes());
        strings.extend_from_slice(label.as_bytes());
    }
    record(MetaKey::Labels, offsets.len(), offsets.as_bytes());
    if let Some(audio) = &parts.audio {
        record(MetaKey::Audio, 0, audio.as_bytes());
    }
    let rule = SpotterMeta {
        smoothing_hops: parts.smoothing_hops,
        refractory_hops: 10,
    };
    let mut payload = rule.as_bytes().to_vec();
    payload.extend_from_slice(parts.thresholds.as_bytes());
    payload.resize(payload.len().next_multiple_of(4), 0);
    record(MetaKey::Spotter, parts.thresholds.len(), &payload);

    let mut op = OpRecord::new_zeroed();
    op.kind = OpKind::Linear as u16;
    op.inputs = [0, NO_TENSOR, NO_TENSOR, NO_TENSOR, NO_TENSOR];
    (op.outputs, op.scratch) = ([1, NO_TENSOR], 2);
    (op.params, op.params_len) = (linear, size_of::<LinearParams>() as u32);
    let mut entry = EntryRecord::new_zeroed();
    (entry.op_count, entry.inputs, entry.outputs) = (1, [NO_TENSOR; 8], [NO_TENSOR; 8]);
    (entry.inputs[0], entry.outputs[0]) = (0, 1);
    let tensors = [
        tensor(DType::I8, MEL_BANDS, 0, parts.input_scale),
        tensor(DType::I16, labels, 40, 1.0 / 256.0),
        tensor(DType::I16, MEL_BANDS, 48, 1.0),
    ];
    file(&tensors, &op, &entry, &meta, [&params, &weights, &strings])
}

fn file(
    tensors: &[TensorRecord],
    op: &OpRecord,
    entry: &EntryRecord,
    meta: &[MetaRecord],
    [params, weights, strings]: [&[u8]; 3],
) -> &'static [u8] {
    let mut header = Header::new_zeroed();
    let mut bytes = header.as_bytes().to_vec();
    let mut section = |payload: &[u8], count: usize| Section {
        offset: append(&mut bytes, payload, FILE_ALIGN),
        count: count as u32,
    };
    header.tensors = section(tensors.as_bytes(), tensors.len());
    header.ops = section(op.as_bytes(), 1);
    header.entries = section(entry.as_bytes(), 1);
    header.meta = section(meta.as_bytes(), meta.len());
    header.params = section(params, params.len());
    header.weights = section(weights, weights.len());
    header.strings = section(strings, strings.len());
    (header.magic, header.version) = (MAGIC, VERSION);
    (header.file_len, header.arena_len) = (bytes.len() as u32, 128);
    bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    header.checksum = checksum(&bytes);
    bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    aligned(&bytes)
}

fn aligned(bytes: &[u8]) -> &'static [u8] {
    let block = |chunk: &[u8]| core::array::from_fn(|i| chunk.get(i).copied().unwrap_or(0));
    let blocks: Vec<Aligned<[u8; 16]>> = bytes.chunks(16).map(block).map(Aligned).collect();
    let words: Vec<u128> = blocks.iter().map(|b| u128::from_le_bytes(b.0)).collect();
    &Box::leak(words.into_boxed_slice()).as_bytes()[..bytes.len()]
}

/// Why a model with these parts is refused.
fn error(change: impl FnOnce(&mut Parts)) -> SpotterError {
    let mut parts = Parts::default();
    change(&mut parts);
    spotter(&parts, &mut Arena::<128>::new()).unwrap_err()
}

fn spotter<'a, const N: usize>(
    parts: &Parts,
    arena: &'a mut Arena<N>,
) -> Result<KeywordSpotter<'static, 'a>, SpotterError> {
    KeywordSpotter::new(Model::parse(model(parts)).unwrap(), arena.as_mut_slice())
}

/// Half a second of silence, half a second of a loud square wave, half a second of silence.
fn recording() -> Vec<i16> {
    let loud = |i: usize| {
        if (i / 20).is_multiple_of(2) {
            20_000
        } else {
            -20_000
        }
    };
    let heard = |i: usize| (8000..16_000).contains(&i);
    (0..24_000)
        .map(|i| if heard(i) { loud(i) } else { 0 })
        .collect()
}

#[test]
fn the_size_of_the_pieces_does_not_change_the_events() {
    let mut arena = Arena::<128>::new();
    let mut spotter = spotter(&Parts::default(), &mut arena).unwrap();
    let pcm = recording();
    let mut heard = |piece: usize| {
        let mut events = vec![];
        spotter.reset();
        for pcm in pcm.chunks(piece) {
            spotter.push(pcm, |event| events.push(event)).unwrap();
        }
        events
    };
    let whole = heard(pcm.len());
    assert!(!whole.is_empty());
    assert!(
        whole
            .iter()
            .all(|e| e.label == "loud" && e.label_index == 0)
    );
    assert!(whole.iter().all(|e| e.confidence_q15 >= HALF));
    assert!((500..=600).contains(&whole[0].time_ms()), "{whole:?}");
    for piece in [1, 7, 320, 511, 513] {
        assert_eq!(heard(piece), whole);
    }
}

#[test]
fn slices_of_a_hop_do_not_change_the_events() {
    let mut arena = Arena::<128>::new();
    let mut spotter = spotter(&Parts::default(), &mut arena).unwrap();
    let pcm = recording();
    let mut whole = vec![];
    spotter.push(&pcm, |event| whole.push(event)).unwrap();
    for (piece, operators) in [(320, 1), (7, 0), (1000, 2), (513, usize::MAX)] {
        spotter.reset();
        assert_eq!(spotter.poll(1), Ok(Poll::Ready(None)));
        let mut events = vec![];
        for mut rest in pcm.chunks(piece) {
            while !rest.is_empty() {
                rest = spotter.feed(rest).unwrap();
                // Half-way, no sample is taken.
                assert_eq!(spotter.feed(rest).unwrap().len(), rest.len());
                loop {
                    match spotter.poll(operators).unwrap() {
                        Poll::Pending => continue,
                        Poll::Ready(event) => events.extend(event),
                    }
                    break;
                }
            }
        }
        assert_eq!(events, whole, "{operators} operators");
    }
}

#[test]
fn a_gap_gives_up_a_hop_that_is_half_way() {
    let mut arena = Arena::<128>::new();
    let mut spotter = spotter(&Parts::default(), &mut arena).unwrap();
    let pcm = recording();
    let (before, behind) = pcm.split_at(4000);
    let mut rest = before;
    while !rest.is_empty() {
        rest = spotter.feed(rest).unwrap();
        if !rest.is_empty() {
            while spotter.poll(1) == Ok(Poll::Pending) {}
        }
    }
    spotter.gap(1000);
    let (mut events, mut expected) = (vec![], vec![]);
    spotter.push(behind, |event| events.push(event)).unwrap();
    spotter.reset();
    spotter.push(behind, |event| expected.push(event)).unwrap();
    for event in &mut expected {
        event.time_samples += 5000;
    }
    assert!(!events.is_empty());
    assert_eq!(events, expected);
}

#[test]
fn after_a_gap_times_go_on_and_what_was_heard_is_forgotten() {
    let mut arena = Arena::<128>::new();
    let mut spotter = spotter(&Parts::default(), &mut arena).unwrap();
    let pcm = recording();
    // Pieces, each with the samples that are lost before it.
    let mut heard = |pieces: &[(usize, &[i16])]| {
        let mut events = vec![];
        spotter.reset();
        for (lost, pcm) in pieces {
            spotter.gap(*lost as u64);
            spotter.push(pcm, |event| events.push(event)).unwrap();
        }
        events
    };
    let whole = heard(&[(0, &pcm)]);
    assert_eq!(heard(&[(0, &pcm[..4001]), (0, &pcm[4001..])]), whole);
    for (before, lost) in [(0, 1), (4001, 7), (5000, 7000), (8000, 1)] {
        let behind = &pcm[before + lost..];
        let mut events = heard(&[(0, &pcm[..before]), (lost, behind)]);
        assert!(!events.is_empty());
        for event in &mut events {
            event.time_samples -= (before + lost) as u64;
        }
        assert_eq!(events, heard(&[(0, behind)]), "{lost} lost behind {before}");
    }
}

#[test]
fn a_label_is_background_by_its_threshold_and_not_by_its_name() {
    let mut arena = Arena::<128>::new();
    let mut spotter = spotter(&Parts::default(), &mut arena).unwrap();
    // Silence gives the lowest features: all posterior goes to `noise`.
    spotter
        .push(&[0; 32_000], |event| panic!("{event:?}"))
        .unwrap();
    assert!(spotter.decoder().averages_q15().eq([0, 32767, 0]));
    spotter.set_threshold(1, 0).unwrap();
    let mut heard = vec![];
    spotter
        .push(&[0; 3_200], |event| heard.push(event.label))
        .unwrap();
    assert_eq!(heard, ["noise"]);
}

#[test]
fn a_threshold_that_is_set_counts_from_the_next_hop_on_and_outlives_a_reset() {
    let mut decoder = Decoder::new(&[20_000, NEVER], 1, 0, 1.0 / 8.0).unwrap();
    let even = [100i16, 100];
    assert_eq!(decoder.push(&even), None);
    decoder.set_threshold(0, 16_000).unwrap();
    assert_eq!(decoder.push(&even).map(|d| d.label), Some(0));
    decoder.reset();
    assert_eq!(decoder.thresholds_q15(), [16_000, NEVER]);
    assert_eq!(decoder.push(&even).map(|d| d.label), Some(0));
    decoder.set_threshold(0, NEVER).unwrap();
    assert_eq!(decoder.push(&[900i16, 0]), None);
    let (label, labels) = (2, 2);
    assert_eq!(
        decoder.set_threshold(label, 0),
        Err(SpotterError::NoSuchLabel { label, labels })
    );
}

#[test]
fn features_of_another_front_end_are_taken_as_they_are() {
    let parts = Parts {
        audio: None,
        input_scale: 0.5,
        ..Parts::default()
    };
    let model = Model::parse(model(&parts)).unwrap();
    let mut arena = Arena::<128>::new();
    let mut spotter = FeatureSpotter::new(model, arena.as_mut_slice()).unwrap();
    for hop in 0..3 {
        // Smoothed over four hops, the second that says so is a half.
        let decision = spotter.push_features(&[100; MEL_BANDS]).unwrap();
        assert_eq!(decision.map(|d| d.label), (hop == 2).then_some(0), "{hop}");
    }
    let (needed, given) = (MEL_BANDS, MEL_BANDS - 1);
    assert_eq!(
        spotter.push_features(&[0; MEL_BANDS - 1]),
        Err(SpotterError::BadFeatureCount { needed, given })
    );
    spotter.reset();
    assert!(spotter.decoder().averages_q15().eq([0; 3]));
}

#[test]
fn a_model_that_lacks_something_is_refused_with_the_reason() {
    assert_eq!(error(|parts| parts.audio = None), SpotterError::NoAudio);
    let audio = |change: fn(&mut AudioMeta)| {
        error(|parts| parts.audio.as_mut().map(change).expect("it hears audio"))
    };
    assert!(matches!(
        audio(|audio| audio.mel_bands = 20),
        SpotterError::OtherFrontEnd { mel_bands: 20, .. }
    ));
    let hop = SpotterError::Audio(AudioError::BadHop { hop: 0 });
    assert_eq!(audio(|audio| audio.hop = 0), hop);
    let (labels, thresholds) = (3, 2);
    assert_eq!(
        error(|parts| parts.thresholds = vec![HALF; thresholds]),
        SpotterError::BadThresholdCount { labels, thresholds }
    );
    let labels = |count: usize| {
        error(|parts| {
            (parts.labels, parts.thresholds) = (vec!["a"; count], vec![HALF; count]);
        })
    };
    assert_eq!(labels(2), SpotterError::NoSuitableEntry);
    assert_eq!(labels(0), SpotterError::NoSuitableEntry);
    assert_eq!(labels(65), SpotterError::BadLabelCount { labels: 65 });
    for hops in [0, 257] {
        assert_eq!(
            error(|parts| parts.smoothing_hops = hops as u32),
            SpotterError::BadSmoothing { hops, labels: 3 }
        );
    }
    let scale = error(|parts| parts.input_scale = 0.5);
    assert_eq!(scale, SpotterError::NoSuitableEntry);
}

#[test]
fn an_arena_that_is_too_small_is_refused() {
    let (needed, given) = (128, 112);
    let error = SessionError::ArenaTooSmall { needed, given };
    let refused = spotter(&Parts::default(), &mut Arena::<112>::new()).unwrap_err();
    assert_eq!(refused, SpotterError::Session(error));
}

#[test]
fn the_average_is_that_of_the_last_hops_with_nothing_before_the_start() {
    let hops = 6;
    let mut decoder = Decoder::new(&[NEVER, NEVER], hops, 0, 1.0 / 16.0).unwrap();
    let logits: Vec<[i8; 2]> = (0..50u8)
        .map(|i| [i.wrapping_mul(37) as i8, i.wrapping_mul(91) as i8])
        .collect();
    let posterior =
        |[a, b]: [i8; 2]| 1.0 / (1.0 + (f64::from(b) / 16.0 - f64::from(a) / 16.0).exp());
    for at in 0..logits.len() {
        assert_eq!(decoder.push(&logits[at]), None);
        let last = &logits[(at + 1).saturating_sub(hops)..=at];
        let exact: f64 = last.iter().map(|&l| posterior(l)).sum::<f64>() / hops as f64;
        let found = f64::from(decoder.averages_q15().next().unwrap()) / 32767.0;
        assert!(
            (found - exact).abs() < 0.001,
            "hop {at}: {found} for {exact}"
        );
    }
}

#[test]
fn the_best_label_fires_at_its_own_threshold_then_all_are_quiet() {
    let mut decoder = Decoder::new(&[20_000, 10_000, NEVER], 1, 3, 1.0 / 8.0).unwrap();
    // Posteriors about 0.5 and 0.5: label 0 is not above label 1, label 0 comes first and misses its threshold.
    assert_eq!(decoder.push(&[100i16, 100, -900]), None);
    assert_eq!(decoder.push(&[99i16, 100, -900]).map(|d| d.label), Some(1));
    for _ in 0..3 {
        assert_eq!(decoder.push(&[900i16, 0, 0]), None);
    }
    let fired = decoder.push(&[900i16, 0, 0]);
    let (label, confidence_q15) = (0, 32767);
    assert_eq!(
        fired,
        Some(Decision {
            label,
            confidence_q15
        })
    );
    decoder.reset();
    assert_eq!(decoder.push(&[900i16, 0, 0]), fired);
    // A keyword below the background label does not fire, however often.
    decoder.reset();
    for _ in 0..9 {
        assert_eq!(decoder.push(&[0i16, 0, 900]), None);
    }
}

#[test]
fn logits_of_the_wrong_number_do_no_harm() {
    let mut decoder = Decoder::new(&[HALF; 3], 2, 0, 1.0).unwrap();
    assert_eq!(decoder.push::<i8>(&[]), None);
    assert_eq!(decoder.push(&[1i8; 70]), None);
    // Label 1 alone: its average with the 1/3 of the hop before is above a half.
    assert_eq!(
        decoder.push(&[i16::MIN, i16::MAX]).map(|d| d.label),
        Some(1)
    );
}
