//! The keyword application: samples in, keywords and an LED out. The board brings the samples and shows the keywords.

use attn_runtime::audio::SAMPLE_RATE;
use attn_runtime::kws::{Event, KeywordSpotter, SpotterError};
use attn_runtime::{Model, SessionError};
use embedded_hal::digital::OutputPin;

/// Time that the LED stays on after a keyword, in samples: 0.4 s.
pub const LED_SAMPLES: u64 = SAMPLE_RATE as u64 * 2 / 5;

/// Errors that stop the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum AppError<E> {
    /// The model failed; a parsed model never does.
    Session(SessionError),
    /// The LED's pin failed.
    Led(E),
}

/// A keyword spotter with an LED.
#[derive(Debug)]
pub struct KeywordApp<'m, 'a, L> {
    spotter: KeywordSpotter<'m, 'a>,
    led: L,
    heard: u64,
    /// Sample at which the LED goes off, while it is on.
    lit_until: Option<u64>,
}

impl<'m, 'a, L: OutputPin> KeywordApp<'m, 'a, L> {
    /// An application around `model` in `arena`, its LED off.
    ///
    /// # Errors
    /// [`SpotterError`]: the model is not a keyword spotter or does not fit the arena.
    pub fn new(model: Model<'m>, arena: &'a mut [u8], led: L) -> Result<Self, SpotterError> {
        Ok(Self {
            spotter: KeywordSpotter::new(model, arena)?,
            led,
            heard: 0,
            lit_until: None,
        })
    }

    /// Samples that cause one run of the model. A board that delivers this number at a time has the shortest delay.
    pub fn hop(&self) -> usize {
        self.spotter.hop()
    }

    /// Takes the next samples (16 kHz, any number), reports keywords and switches the LED.
    ///
    /// # Errors
    /// [`AppError::Led`] when the pin fails; [`AppError::Session`] never for a parsed model.
    // Inlined into a program's loop, it runs out of registers: 3 % more instructions per hop.
    #[inline(never)]
    pub fn push(
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
            self.lit_until = Some(self.heard + LED_SAMPLES);
            self.led.set_high().map_err(AppError::Led)?;
        } else if self.lit_until.is_some_and(|end| self.heard >= end) {
            self.lit_until = None;
            self.led.set_low().map_err(AppError::Led)?;
        }
        Ok(())
    }
}

/// The embedded model, and memory for one application around it.
#[cfg(feature = "keyword")]
pub mod embedded {
    use super::KeywordApp;
    use attn_runtime::kws::SpotterError;
    use attn_runtime::{Arena, ModelError};
    use embedded_hal::digital::OutputPin;
    use static_cell::ConstStaticCell;

    attn_runtime::include_model!(
        /// The model of the environment variable ATTN_MODEL.
        pub mod model = concat!(env!("OUT_DIR"), "/model.attn")
    );

    static ARENA: ConstStaticCell<Arena<{ model::ARENA_LEN }>> =
        ConstStaticCell::new(model::arena());

    /// Errors at the start of the embedded application.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[cfg_attr(feature = "defmt", derive(defmt::Format))]
    pub enum StartError {
        /// The embedded file is not a model.
        Model(ModelError),
        /// The model is not a keyword spotter.
        Spotter(SpotterError),
        /// [`start`] was called twice; there is only one arena.
        Twice,
    }

    /// The application with the embedded model.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start<L: OutputPin>(led: L) -> Result<KeywordApp<'static, 'static, L>, StartError> {
        let model = model::model().map_err(StartError::Model)?;
        let arena = ARENA.try_take().ok_or(StartError::Twice)?;
        KeywordApp::new(model, arena.as_mut_slice(), led).map_err(StartError::Spotter)
    }
}
