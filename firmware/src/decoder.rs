//! The decoding application: memory for one decoder around the embedded model. Where inputs come from and where tokens go
//! is the board's business.

use attn_runtime::seq2seq::DecodeError;
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

/// Why the embedded decoder cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "nano33ble_decode", derive(defmt::Format))]
pub enum StartError {
    /// The embedded file is no model.
    Model(ModelError),
    /// The session cannot be made.
    Session(SessionError),
    /// The model does not decode.
    Decode(DecodeError),
    /// [`start`] was called before: there is only one arena.
    Twice,
}

/// A session of the embedded model, and memory for a beam of [`WIDTH`] hypotheses.
///
/// # Errors
/// [`StartError`].
pub fn start() -> Result<(Session<'static, 'static>, &'static mut [u8]), StartError> {
    let model = Model::parse(model::FILE).map_err(StartError::Model)?;
    if model.decode().is_none() {
        return Err(StartError::Decode(DecodeError::NoDecode));
    }
    let arena = ARENA.try_take().ok_or(StartError::Twice)?;
    let beam = BEAM.try_take().ok_or(StartError::Twice)?;
    let session = Session::new(model, arena.as_mut_slice()).map_err(StartError::Session)?;
    Ok((session, beam.as_mut_slice()))
}
