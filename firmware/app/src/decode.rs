//! The decoding application: one session and the memory of its beam, around any model or the embedded one. The board brings the
//! input and shows the tokens.

use attn_runtime::seq2seq::{Beam, DecodeError, Greedy};
use attn_runtime::{Arena, Model, ModelError, Session, SessionError};
use static_cell::ConstStaticCell;

attn_runtime::include_model!(
    /// The model of the environment variable ATTN_MODEL.
    pub mod model = concat!(env!("OUT_DIR"), "/model.attn")
);

/// Hypotheses of the beam.
pub const WIDTH: usize = 4;

static ARENA: ConstStaticCell<Arena<{ model::ARENA_LEN }>> = ConstStaticCell::new(model::arena());
static BEAM: ConstStaticCell<Arena<{ model::beam_len(WIDTH) }>> =
    ConstStaticCell::new(Arena::new());

/// Errors at the start of the embedded application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StartError {
    /// The embedded file is not a model.
    Model(ModelError),
    /// The session cannot be created.
    Session(SessionError),
    /// The model does not decode.
    Decode(DecodeError),
    /// [`DecodeApp::start`] was called twice; there is only one arena.
    Twice,
}

/// A model that decodes, with memory for a beam of [`WIDTH`] hypotheses.
#[derive(Debug)]
pub struct DecodeApp<'m, 'a> {
    session: Session<'m, 'a>,
    memory: &'a mut [u8],
}

impl DecodeApp<'static, 'static> {
    /// The application around the embedded model.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start() -> Result<Self, StartError> {
        let model = model::model().map_err(StartError::Model)?;
        if model.decode().is_none() {
            return Err(StartError::Decode(DecodeError::NoDecode));
        }
        let arena = ARENA.try_take().ok_or(StartError::Twice)?;
        let memory = BEAM.try_take().ok_or(StartError::Twice)?.as_mut_slice();
        let session = Session::new(model, arena.as_mut_slice()).map_err(StartError::Session)?;
        Ok(Self { session, memory })
    }
}

impl<'m, 'a> DecodeApp<'m, 'a> {
    /// The model.
    pub fn model(&self) -> Model<'m> {
        self.session.model()
    }

    /// A decoder that takes the best token of every step.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn greedy(&mut self) -> Result<Greedy<'_, 'm, 'a>, DecodeError> {
        Greedy::new(&mut self.session)
    }

    /// A decoder that keeps [`WIDTH`] hypotheses.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn beam(&mut self) -> Result<Beam<'_, 'm, 'a, '_, WIDTH>, DecodeError> {
        Beam::new(&mut self.session, self.memory)
    }
}
