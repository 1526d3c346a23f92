//! What a model computed, operator by operator, as bytes: the same walk on the computer and on a chip, so that two
//! traces can be compared byte by byte.

use attn_runtime::{Progress, Session, SessionError};

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
