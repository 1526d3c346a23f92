//! What a model computed, operator by operator or token by token, as bytes: the same walk on the computer and on a chip, so
//! that two traces can be compared byte by byte.

use attn_runtime::format::DecodeMeta;
use attn_runtime::seq2seq::{Beam, DecodeError, Greedy};
use attn_runtime::{Progress, Session, SessionError};

/// Hypotheses of the beam that [`decode`] searches with.
pub const WIDTH: usize = 3;

/// Runs an entry point and hands over, after each operator, its outputs, and at the end the session's state.
/// `write` gets the number of the operator (or the number of operators of the file, for the state) and the bytes.
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
    let state = model.tensors().iter().enumerate();
    for (id, _) in
        state.filter(|(_, tensor)| tensor.storage() == attn_runtime::format::Storage::State)
    {
        if let Some(bytes) = session.tensor_bytes(id) {
            write(model.ops().len(), bytes);
        }
    }
    Ok(())
}

/// Decodes `symbols` greedily and with a beam of [`WIDTH`] hypotheses, and hands over: for each token of the first its
/// number and attention weights, if the model hands them out, then its score; for each sequence of the second its
/// tokens, score and normalized score. `memory` is that of the beam.
///
/// # Errors
/// [`DecodeError`].
pub fn decode(
    session: &mut Session<'_, '_>,
    memory: &mut [u8],
    symbols: &[u16],
    mut write: impl FnMut(&[u8]),
) -> Result<(), DecodeError> {
    let model = session.model();
    let weights = model.decode().and_then(|decode| {
        let step = model.entries().get(decode.step as usize)?;
        step.outputs().nth(DecodeMeta::optional(decode.weights)?)
    });
    let mut greedy = Greedy::new(session)?;
    greedy.encode_symbols(symbols)?;
    while let Some(token) = greedy.step()? {
        write(&token.to_le_bytes());
        write(
            weights
                .and_then(|id| greedy.session().tensor_bytes(id))
                .unwrap_or_default(),
        );
    }
    write(&greedy.score().to_le_bytes());
    let mut beam = Beam::<WIDTH>::new(session, memory)?;
    beam.encode_symbols(symbols)?;
    beam.decode()?;
    for found in beam.hypotheses() {
        let tokens = found.tokens.iter();
        tokens.for_each(|token| write(&token.to_le_bytes()));
        write(&found.score.to_le_bytes());
        write(&found.normalized.to_le_bytes());
    }
    Ok(())
}
