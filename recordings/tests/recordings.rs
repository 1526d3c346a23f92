//! What recorders, pipes and editors write, read as 16 kHz mono.

use attn_recordings::{Recording, RecordingError, read, write};
use hound::{SampleFormat, WavSpec, WavWriter};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

fn spec(
    channels: u16,
    sample_rate: u32,
    bits_per_sample: u16,
    sample_format: SampleFormat,
) -> WavSpec {
    WavSpec {
        channels,
        sample_rate,
        bits_per_sample,
        sample_format,
    }
}

/// A tone of 100 Hz and half of full scale in a WAV file.
fn tone(spec: WavSpec, seconds: f64) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut file, spec).unwrap();
    for i in 0..(f64::from(spec.sample_rate) * seconds) as u32 {
        let phase = std::f64::consts::TAU * 100.0 * f64::from(i) / f64::from(spec.sample_rate);
        let x = 0.5 * phase.sin();
        for _ in 0..spec.channels {
            match spec.sample_format {
                SampleFormat::Float => writer.write_sample(x as f32).unwrap(),
                SampleFormat::Int => {
                    let full = (1u64 << (spec.bits_per_sample - 1)) as f64;
                    writer.write_sample((x * full) as i32).unwrap();
                }
            }
        }
    }
    writer.finalize().unwrap();
    file.into_inner()
}

fn heard(bytes: impl Into<Vec<u8>>) -> Result<Vec<i16>, RecordingError> {
    let mut all = Vec::new();
    for piece in Recording::from_reader(Path::new("some.wav"), Cursor::new(bytes.into()))? {
        all.append(&mut piece?);
    }
    Ok(all)
}

/// 16 kHz, mono, 16-bit: chunks by tag, each with the size that the header is to give.
fn wav(riff: u32, chunks: &[(&[u8; 4], u32, &[u8])]) -> Vec<u8> {
    let mut file = b"RIFF".to_vec();
    file.extend_from_slice(&riff.to_le_bytes());
    file.extend_from_slice(b"WAVE");
    for (tag, size, bytes) in chunks {
        file.extend_from_slice(*tag);
        file.extend_from_slice(&size.to_le_bytes());
        file.extend_from_slice(bytes);
    }
    file
}

const FORMAT: [u8; 16] = [1, 0, 1, 0, 0x80, 0x3e, 0, 0, 0, 0x7d, 0, 0, 2, 0, 16, 0];
const SAMPLES: [u8; 8] = [1, 0, 2, 0, 3, 0, 0xff, 0xff];
const HEARD: [i16; 4] = [1, 2, 3, -1];

#[test]
fn sixteen_kilohertz_mono_passes_through_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.wav");
    let pcm: Vec<i16> = (0..=u16::MAX).map(|x| x as i16).collect();
    write(&path, &pcm).unwrap();
    assert_eq!(read(&path).unwrap(), pcm);
}

#[test]
fn other_rates_channels_and_widths_become_the_same_tone() {
    use SampleFormat::{Float, Int};
    let original = heard(tone(spec(1, 16_000, 16, Int), 1.0)).unwrap();
    assert_eq!(original.len(), 16_000);
    for other in [
        spec(2, 16_000, 16, Int),
        spec(1, 44_100, 16, Int),
        spec(2, 48_000, 24, Int),
        spec(1, 8_000, 32, Int),
        spec(1, 22_050, 16, Int),
        spec(6, 96_000, 32, Float),
        spec(1, 16_000, 8, Int),
        spec(1, 11_025, 32, Float),
    ] {
        let pcm = heard(tone(other, 1.0)).unwrap();
        assert_eq!(pcm.len(), 16_000, "{other:?}");
        // Without the ends, where the filter sees silence beside the tone. The filter's middle may be half a sample of the
        // slower rate off, and a sample of 16 kHz is a difference of 643; 8 bits have steps of 256.
        let slower = f64::from(other.sample_rate.min(16_000));
        let off = (643.0 * 0.5 * 16_000.0 / slower) as u16;
        let parts = pcm.iter().zip(&original).enumerate();
        for (at, (a, b)) in parts.skip(1000).take(14_000) {
            assert!(a.abs_diff(*b) <= off + 10, "{other:?} at {at}: {a}, {b}");
        }
    }
}

#[test]
fn pieces_of_any_size_give_the_same_samples() {
    /// Gives at most `1` bytes at a time, as a pipe may.
    struct Trickle(Cursor<Vec<u8>>, usize);
    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }
    let file = tone(spec(2, 44_100, 24, SampleFormat::Int), 0.3);
    let whole = heard(file.clone()).unwrap();
    for most in [1, 7, 1000] {
        let reader = Trickle(Cursor::new(file.clone()), most);
        let pieces: Result<Vec<_>, _> = Recording::from_reader(Path::new("pipe"), reader)
            .unwrap()
            .collect();
        let pieces = pieces.unwrap();
        assert!(pieces.len() > 1, "one piece is no stream");
        assert_eq!(pieces.concat(), whole);
    }
}

#[test]
fn a_size_that_the_writer_never_filled_in_is_no_size() {
    let (format, all) = ((b"fmt ", 16, &FORMAT[..]), u32::MAX);
    for (riff, data) in [
        (0, 0),
        (all, all),
        (36, 0),
        (all, 0),
        (0x7fff_f024, 0x7fff_f000),
        (0x8000_0024, 0x8000_0000),
    ] {
        let file = wav(riff, &[format, (b"data", data, &SAMPLES)]);
        assert_eq!(heard(file).unwrap(), HEARD, "{riff:#x} {data:#x}");
    }
    // The size of the whole is wrong, that of the samples is right: what follows them is not heard.
    let file = wav(0, &[format, (b"data", 8, &SAMPLES), (b"LIST", 4, b"INFO")]);
    assert_eq!(heard(file).unwrap(), HEARD);
}

#[test]
fn chunks_around_the_samples_are_not_heard() {
    let format = (b"fmt ", 16, &FORMAT[..]);
    // An odd chunk is padded, and the padding is not part of its size.
    let odd = (b"LIST", 11, &b"INFOICMTxyz\0"[..]);
    let data = (b"data", 8, &SAMPLES[..]);
    for chunks in [
        &[odd, format, data, odd][..],
        &[format, odd, data][..],
        &[(b"junk", 0, &b""[..]), format, data][..],
    ] {
        let size = chunks
            .iter()
            .map(|(_, _, bytes)| 8 + bytes.len() as u32)
            .sum::<u32>();
        assert_eq!(heard(wav(4 + size, chunks)).unwrap(), HEARD);
    }
    // No samples, then a chunk: the size 0 is the truth.
    let file = wav(4 + 24 + 8 + 20, &[format, (b"data", 0, b""), odd]);
    assert!(matches!(heard(file), Err(RecordingError::Empty { .. })));
}

#[test]
fn a_file_of_more_than_four_gigabytes_says_so_in_a_chunk_of_its_own() {
    let mut sizes = [0u8; 28];
    sizes[8] = 8; // bytes of samples
    let mut file = wav(
        u32::MAX,
        &[
            (b"ds64", 28, &sizes),
            (b"fmt ", 16, &FORMAT),
            (b"data", u32::MAX, &SAMPLES),
            (b"LIST", 4, b"INFO"),
        ],
    );
    file[..4].copy_from_slice(b"RF64");
    assert_eq!(heard(file).unwrap(), HEARD);
}

#[test]
fn a_cut_file_is_not_taken_for_a_whole_one() {
    let whole = tone(spec(1, 44_100, 16, SampleFormat::Int), 0.5);
    let cut = heard(&whole[..whole.len() - 1001]).unwrap_err();
    assert!(
        matches!(
            cut,
            RecordingError::Cut {
                announced: 44_100,
                missing: 1001,
                ..
            }
        ),
        "{cut}"
    );
    // Half a sample at the end of a pipe is no sample.
    let file = wav(
        u32::MAX,
        &[(b"fmt ", 16, &FORMAT), (b"data", u32::MAX, &SAMPLES[..7])],
    );
    assert_eq!(heard(file).unwrap(), HEARD[..3]);
}

#[test]
fn flac_is_read_and_its_damage_found() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tone.flac"); // 100 Hz, 44.1 kHz, stereo, 0.1 s
    let pcm = read(&path).unwrap();
    assert_eq!(pcm.len(), 1600);
    let original = heard(tone(spec(1, 16_000, 16, SampleFormat::Int), 0.1)).unwrap();
    for (at, (a, b)) in pcm.iter().zip(&original).enumerate().skip(300).take(1000) {
        assert!(a.abs_diff(*b) < 330, "at {at}: {a}, {b}");
    }
    let mut damaged = std::fs::read(&path).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x10;
    heard(damaged).unwrap_err();
    let mut cut = std::fs::read(&path).unwrap();
    cut.truncate(cut.len() - 100);
    heard(cut).unwrap_err();
}

#[test]
fn samples_that_are_no_numbers_are_refused_and_loud_ones_clipped() {
    let file = |x: f32| {
        let mut file = Cursor::new(Vec::new());
        let mut writer =
            WavWriter::new(&mut file, spec(1, 16_000, 32, SampleFormat::Float)).unwrap();
        writer.write_sample(x).unwrap();
        writer.finalize().unwrap();
        file.into_inner()
    };
    assert_eq!(heard(file(7.5)).unwrap(), [32767]);
    assert_eq!(heard(file(-7.5)).unwrap(), [-32768]);
    for x in [f32::NAN, f32::INFINITY] {
        assert!(matches!(
            heard(file(x)),
            Err(RecordingError::NotFinite { .. })
        ));
    }
}

#[test]
fn what_is_no_recording_is_refused_with_the_reason() {
    let refused = |bytes: &[u8]| heard(bytes).unwrap_err().to_string();
    let mut channels = FORMAT;
    channels[2..4].fill(0xff);
    for (bytes, reason) in [
        (&b""[..], "not a readable WAV or FLAC file"),
        (b"RIFF", "ends within its header"),
        (b"RIFF\0\0\0\0AVI ", "no WAVE"),
        (
            b"a text that is no recording, whatever its name",
            "not a readable WAV or FLAC file",
        ),
        (&wav(36, &[(b"data", 8, &SAMPLES)]), "no format chunk"),
        (
            &wav(36, &[(b"fmt ", 16, &FORMAT)]),
            "ends within its header",
        ),
        (
            &wav(
                36,
                &[(b"fmt ", 16, &FORMAT), (b"LIST", 0x7000_0000, b"INFO")],
            ),
            "longer than any header",
        ),
        (
            &wav(36, &[(b"fmt ", 16, &channels), (b"data", 8, &SAMPLES)]),
            "more than 256 channels",
        ),
        (
            &tone(spec(1, 4_000, 16, SampleFormat::Int), 0.1),
            "4000 samples per second: 8000 to 192000 are taken",
        ),
        (
            &tone(spec(1, 16_000, 16, SampleFormat::Int), 0.0),
            "the recording is empty",
        ),
    ] {
        let error = refused(bytes);
        assert!(
            error.contains("some.wav") && error.contains(reason),
            "{error}"
        );
    }
    let missing = read(Path::new("no/such.wav")).unwrap_err();
    assert!(matches!(missing, RecordingError::Io { .. }));
}
