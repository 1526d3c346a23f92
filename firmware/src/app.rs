//! The application: samples in, keyword events and a lamp out. Where samples come from and where events go is the
//! board's business.

use attn_runtime::audio::SAMPLE_RATE;
use attn_runtime::kws::{Event, KeywordSpotter, SpotterError};
use attn_runtime::{Model, SessionError};
use embedded_hal::digital::OutputPin;

/// How long the lamp stays on after a keyword, in samples: 0.4 s.
pub const LAMP_SAMPLES: u64 = SAMPLE_RATE as u64 * 2 / 5;

/// Why the application stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "nano33ble", derive(defmt::Format))]
pub enum AppError<E> {
    /// The model failed; a parsed model never does.
    Session(SessionError),
    /// The lamp's pin failed.
    Lamp(E),
}

/// A keyword spotter with a lamp.
#[derive(Debug)]
pub struct App<'m, 'a, L> {
    spotter: KeywordSpotter<'m, 'a>,
    lamp: L,
    heard: u64,
    /// Sample at which the lamp goes out, while it is lit.
    lit_until: Option<u64>,
}

impl<'m, 'a, L: OutputPin> App<'m, 'a, L> {
    /// An application around `model` in `arena`, its lamp out.
    ///
    /// # Errors
    /// [`SpotterError`]: the model is no keyword spotter or does not fit the arena.
    pub fn new(model: Model<'m>, arena: &'a mut [u8], lamp: L) -> Result<Self, SpotterError> {
        Ok(Self {
            spotter: KeywordSpotter::new(model, arena)?,
            lamp,
            heard: 0,
            lit_until: None,
        })
    }

    /// Samples in the pieces that a microphone best delivers: one hop.
    pub fn hop(&self) -> usize {
        self.spotter.hop()
    }

    /// Takes the next samples (16 kHz, any number), reports keywords and switches the lamp.
    ///
    /// # Errors
    /// [`AppError::Lamp`] when the pin fails; [`AppError::Session`] never for a parsed model.
    pub fn hear(
        &mut self,
        pcm: &[i16],
        mut report: impl FnMut(Event<'m>),
    ) -> Result<(), AppError<L::Error>> {
        let mut lit = false;
        let on_event = |event| {
            lit = true;
            report(event);
        };
        self.spotter
            .push(pcm, on_event)
            .map_err(AppError::Session)?;
        self.heard += pcm.len() as u64;
        if lit {
            self.lit_until = Some(self.heard + LAMP_SAMPLES);
            self.lamp.set_high().map_err(AppError::Lamp)?;
        } else if self.lit_until.is_some_and(|end| self.heard >= end) {
            self.lit_until = None;
            self.lamp.set_low().map_err(AppError::Lamp)?;
        }
        Ok(())
    }
}

/// The model that was embedded at build time, and memory for one application around it.
#[cfg(feature = "spotter")]
pub mod embedded {
    use super::App;
    use attn_runtime::kws::SpotterError;
    use attn_runtime::{Arena, Model, ModelError};
    use embedded_hal::digital::OutputPin;
    use static_cell::ConstStaticCell;

    attn_runtime::include_model!(
        /// The model of the environment variable ATTN_MODEL.
        pub mod model = concat!(env!("OUT_DIR"), "/model.attn")
    );

    static ARENA: ConstStaticCell<Arena<{ model::ARENA_LEN }>> =
        ConstStaticCell::new(model::arena());

    /// Why the embedded application cannot start.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[cfg_attr(feature = "nano33ble", derive(defmt::Format))]
    pub enum StartError {
        /// The embedded file is no model.
        Model(ModelError),
        /// The model is no keyword spotter.
        Spotter(SpotterError),
        /// [`start`] was called before: there is only one arena.
        Twice,
    }

    /// The application with the embedded model.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start<L: OutputPin>(lamp: L) -> Result<App<'static, 'static, L>, StartError> {
        let model = Model::parse(model::FILE).map_err(StartError::Model)?;
        let arena = ARENA.try_take().ok_or(StartError::Twice)?;
        App::new(model, arena.as_mut_slice(), lamp).map_err(StartError::Spotter)
    }
}
