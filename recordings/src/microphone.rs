//! The microphone of the desktop, heard as the front end takes it.

use crate::RecordingError;
use crate::resample::Resampler;
use attn_runtime::audio::SAMPLE_RATE;
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{Sample, SampleFormat, SizedSample, Stream, StreamConfig};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The system's default microphone, at its own rate and channels. Its items are pieces of 16 kHz mono samples, without end.
pub struct Microphone {
    /// Records as long as it is there.
    _stream: Stream,
    pieces: Receiver<Result<Vec<f64>, String>>,
    /// `None` at 16 kHz.
    resampler: Option<Resampler>,
}

fn failed(reason: impl ToString) -> RecordingError {
    RecordingError::Microphone {
        reason: reason.to_string(),
    }
}

impl Microphone {
    /// Starts to record.
    ///
    /// # Errors
    /// [`RecordingError::Microphone`]: there is none, it is in use, or it has a format that is not read;
    /// [`RecordingError::WrongRate`].
    pub fn open() -> Result<Self, RecordingError> {
        let device = cpal::default_host()
            .default_input_device()
            .ok_or_else(|| failed("the system has none, or does not let this program use it"))?;
        let supported = device.default_input_config().map_err(failed)?;
        let (format, config) = (supported.sample_format(), supported.config());
        let rate = config.sample_rate;
        if !crate::RATES.contains(&rate) {
            let path = PathBuf::from("microphone");
            return Err(RecordingError::WrongRate { path, rate });
        }
        let (sender, pieces) = channel();
        let stream = match format {
            SampleFormat::I16 => listen::<i16>(&device, config, sender),
            SampleFormat::I32 => listen::<i32>(&device, config, sender),
            SampleFormat::U8 => listen::<u8>(&device, config, sender),
            SampleFormat::U16 => listen::<u16>(&device, config, sender),
            SampleFormat::F32 => listen::<f32>(&device, config, sender),
            SampleFormat::F64 => listen::<f64>(&device, config, sender),
            other => Err(failed(format!("samples of {other} are not read"))),
        }?;
        stream.play().map_err(failed)?;
        let resampler = (rate != SAMPLE_RATE)
            .then(|| Resampler::new(rate))
            .transpose();
        Ok(Self {
            _stream: stream,
            pieces,
            resampler: resampler.map_err(failed)?,
        })
    }
}

/// A stream that sends mono samples, channels averaged, as they come.
fn listen<T: SizedSample>(
    device: &cpal::Device,
    config: StreamConfig,
    sender: Sender<Result<Vec<f64>, String>>,
) -> Result<Stream, RecordingError>
where
    f64: cpal::FromSample<T>,
{
    let channels = usize::from(config.channels).max(1);
    let lost = sender.clone();
    let stream = device.build_input_stream(
        config,
        move |samples: &[T], _: &_| {
            let scale = 1.0 / channels as f64;
            let mono = samples
                .chunks_exact(channels)
                .map(|frame| frame.iter().map(|x| f64::from_sample(*x)).sum::<f64>() * scale);
            // The receiver is gone when nobody listens any more.
            let _ = sender.send(Ok(mono.collect()));
        },
        move |error| {
            let _ = lost.send(Err(error.to_string()));
        },
        None,
    );
    stream.map_err(failed)
}

impl Iterator for Microphone {
    type Item = Result<Vec<i16>, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mono = match self.pieces.recv().ok()? {
                Ok(mono) => mono,
                Err(reason) => return Some(Err(failed(reason))),
            };
            let samples = match &mut self.resampler {
                None => mono,
                Some(resampler) => match resampler.push(&mono) {
                    Ok(samples) => samples,
                    Err(reason) => return Some(Err(failed(reason))),
                },
            };
            if !samples.is_empty() {
                return Some(Ok(crate::to_pcm(samples)));
            }
        }
    }
}
