//! A model's results as bytes, operator by operator or token by token. The computer and the chip run the same code, so two traces can be
//! compared byte by byte.

#[cfg(feature = "fp16")]
use attn_runtime::f16;
use attn_runtime::seq2seq::{Beam, DecodeError, Greedy};
use attn_runtime::{DType, DecodeMeta, Model, Progress, Session, SessionError, Storage};
use zerocopy::transmute_ref;

/// Hypotheses of the beam that [`decode`] searches with.
pub const WIDTH: usize = 3;
/// Number of best tokens that the decoding application samples from.
pub const TOP: usize = 8;
/// The temperature of the sampling.
pub const TEMPERATURE: f32 = 0.8;

/// Runs an entry point and writes the outputs of each operator, and at the end the session's state. `write` gets the
/// number of the operator (for the state, the number of operators in the file) and the bytes.
///
/// # Errors
/// [`SessionError::NoSuchEntry`].
pub fn run(
    session: &mut Session<'_, '_>,
    entry: usize,
    mut write: impl FnMut(usize, &[u8]),
) -> Result<(), SessionError> {
    let model = session.model();
    let ops = model
        .entries()
        .get(entry)
        .ok_or(SessionError::NoSuchEntry { entry })?
        .ops();
    session.start(entry)?;
    for id in ops {
        let progress = session.run_ops(1)?;
        let outputs = model.ops().get(id).into_iter().flat_map(|op| op.outputs());
        for bytes in outputs.filter_map(|tensor| session.tensor_bytes(tensor)) {
            write(id, bytes);
        }
        if progress == Progress::Done {
            break;
        }
    }
    for id in (0..model.tensors().len()).filter(|&id| is_state(model, id)) {
        if let Some(bytes) = session.tensor_bytes(id) {
            write(model.ops().len(), bytes);
        }
    }
    Ok(())
}

/// Most elements of int8 features that [`decode`] takes.
const FEATURES: usize = 512;

/// Decodes one input greedily and with a beam of [`WIDTH`] hypotheses. Writes the state after the encoder; for each greedy step
/// the token and all outputs (logits or candidates, attention weights), then the score; for each sequence of the beam its
/// tokens, score and normalized score. `elements` are numbers of symbols, or the bits of features in the model's type, row by
/// row; a model without an input ignores them. `memory` is the memory of the beam.
///
/// # Errors
/// [`DecodeError`].
pub fn decode(
    session: &mut Session<'_, '_>,
    memory: &mut [u8],
    elements: &[u16],
    mut write: impl FnMut(&[u8]),
) -> Result<(), DecodeError> {
    let model = session.model();
    let step = model.decode().map_or(0, |decode| decode.step as usize);
    let outputs = || {
        let step = model.entries().get(step).into_iter();
        step.flat_map(|entry| entry.outputs())
    };
    let mut features = [0; FEATURES];
    let input = Input::new(model, elements, &mut features)?;
    let mut greedy = Greedy::new(session)?;
    match input {
        Input::None => greedy.restart()?,
        Input::Symbols(symbols) => greedy.encode_symbols(symbols)?,
        Input::Int8(features) => greedy.encode(features)?,
        Input::Int16(features) => greedy.encode(features)?,
        #[cfg(feature = "fp16")]
        Input::Half(features) => greedy.encode(features)?,
    }
    for id in (0..model.tensors().len()).filter(|&id| is_state(model, id)) {
        write(greedy.session().tensor_bytes(id).unwrap_or_default());
    }
    while let Some(token) = greedy.step()? {
        write(&token.to_le_bytes());
        for id in outputs() {
            write(greedy.session().tensor_bytes(id).unwrap_or_default());
        }
    }
    write(&greedy.score().to_le_bytes());
    let mut beam = Beam::<WIDTH>::new(session, memory)?;
    match input {
        Input::None => beam.restart()?,
        Input::Symbols(symbols) => beam.encode_symbols(symbols)?,
        Input::Int8(features) => beam.encode(features)?,
        Input::Int16(features) => beam.encode(features)?,
        #[cfg(feature = "fp16")]
        Input::Half(features) => beam.encode(features)?,
    }
    beam.decode()?;
    for found in beam.hypotheses() {
        let tokens = found.tokens.iter();
        tokens.for_each(|token| write(&token.to_le_bytes()));
        write(&found.score.to_le_bytes());
        write(&found.normalized.to_le_bytes());
    }
    Ok(())
}

fn is_state(model: Model, id: usize) -> bool {
    let tensor = model.tensor(id);
    tensor.is_some_and(|tensor| tensor.storage() == Storage::State)
}

/// An input in the model's type.
#[derive(Clone, Copy)]
enum Input<'i> {
    None,
    Symbols(&'i [u16]),
    Int8(&'i [i8]),
    Int16(&'i [i16]),
    #[cfg(feature = "fp16")]
    Half(&'i [f16]),
}

impl<'i> Input<'i> {
    fn new(
        model: Model,
        elements: &'i [u16],
        features: &'i mut [i8; FEATURES],
    ) -> Result<Self, DecodeError> {
        let meta = model.decode().ok_or(DecodeError::NoDecode)?;
        let record = DecodeMeta::optional(meta.encode).and_then(|encode| {
            let mut inputs = model.entries().get(encode)?.inputs();
            model.tensor(inputs.nth(meta.input as usize)?)
        });
        Ok(match record.map(|record| record.dtype()) {
            None => Self::None,
            Some(DType::I32) => Self::Symbols(elements),
            Some(DType::I8) => {
                let Some(features) = features.get_mut(..elements.len()) else {
                    return Err(DecodeError::InputTooLong {
                        length: elements.len(),
                        max: FEATURES,
                    });
                };
                let pairs = features.iter_mut().zip(elements);
                pairs.for_each(|(slot, &x)| *slot = x as i8);
                Self::Int8(features)
            }
            // Same size and alignment, and any bits are a valid number.
            Some(DType::I16) => Self::Int16(transmute_ref!(elements)),
            #[cfg(feature = "fp16")]
            Some(DType::F16) => Self::Half(transmute_ref!(elements)),
            // Such files are not accepted.
            #[cfg(not(feature = "fp16"))]
            Some(DType::F16) => Self::None,
        })
    }
}
