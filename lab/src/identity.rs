//! The same bytes everywhere: a model traced on this computer and on an emulated core, operator by operator.

use crate::aligned::AlignedBytes;
use crate::emulator::{Core, Emulator};
use crate::error::LabError;
use crate::runner;
use attn_app::trace;
use attn_runtime::format::DType;
use attn_runtime::{Model, Session, SessionError, f16};
use std::path::Path;
use zerocopy::IntoBytes;

/// One operator's results in one run.
struct Piece {
    run: usize,
    op: usize,
    bytes: Vec<u8>,
}

/// Runs `model` on this computer and on `core`, and compares every operator's output, and the state after every run. `inputs` has the bytes
/// of all inputs of entry point 0, run after run; there is no reset between runs. Returns the number of comparisons.
///
/// # Errors
/// [`LabError`].
pub fn check(core: Core, model: &Path, inputs: &[u8]) -> Result<usize, LabError> {
    let arguments = ["trace", "model.attn", "inputs", "outputs"];
    let ran = runner::run(
        &Emulator::new(core),
        &arguments,
        model,
        &[("inputs", inputs)],
    )?;
    compare(core, &here(model, inputs)?, &ran.outputs)
}

/// The trace of this computer.
fn here(model: &Path, inputs: &[u8]) -> Result<Vec<Piece>, LabError> {
    let file = AlignedBytes::read(model)?;
    let model = runner::parse(model, &file)?;
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice())?;
    let mut pieces = Vec::new();
    for (run, bytes) in inputs.chunks_exact(run_len(model).max(1)).enumerate() {
        fill(&mut session, bytes)?;
        trace::run(&mut session, 0, |op, bytes| {
            pieces.push(Piece {
                run,
                op,
                bytes: bytes.to_vec(),
            })
        })?;
    }
    Ok(pieces)
}

/// Bytes of all inputs of entry point 0.
pub fn run_len(model: Model) -> usize {
    let inputs = model
        .entries()
        .iter()
        .take(1)
        .flat_map(|entry| entry.inputs());
    inputs
        .filter_map(|id| model.tensor(id))
        .map(|tensor| tensor.byte_len())
        .sum()
}

/// Fills all inputs of entry point 0 in order.
fn fill(session: &mut Session, mut bytes: &[u8]) -> Result<(), SessionError> {
    let count = session.model().entries()[0].inputs().count();
    for index in 0..count {
        let input = match session.input_record(0, index)?.dtype() {
            DType::I8 => session.input::<i8>(0, index)?.as_mut_bytes(),
            DType::I16 => session.input::<i16>(0, index)?.as_mut_bytes(),
            DType::I32 => session.input::<i32>(0, index)?.as_mut_bytes(),
            DType::F16 => session.input::<f16>(0, index)?.as_mut_bytes(),
        };
        let (first, rest) = bytes.split_at(input.len());
        input.copy_from_slice(first);
        bytes = rest;
    }
    Ok(())
}

fn compare(core: Core, expected: &[Piece], found: &[u8]) -> Result<usize, LabError> {
    let len = expected.iter().map(|piece| piece.bytes.len()).sum();
    if found.len() != len {
        return Err(LabError::Length {
            core,
            found: found.len(),
            expected: len,
        });
    }
    let mut rest = found;
    for Piece { run, op, bytes } in expected {
        let (piece, behind) = rest.split_at(bytes.len());
        if piece != bytes {
            return Err(LabError::OperatorDiffers {
                core,
                run: *run,
                op: *op,
            });
        }
        rest = behind;
    }
    Ok(expected.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_bit_is_found_with_its_operator() {
        let piece = |run, op, bytes: &[u8]| Piece {
            run,
            op,
            bytes: bytes.to_vec(),
        };
        let expected = [
            piece(0, 0, &[1, 2]),
            piece(0, 1, &[3]),
            piece(1, 0, &[4, 5]),
        ];
        assert_eq!(compare(Core::M4, &expected, &[1, 2, 3, 4, 5]).unwrap(), 3);
        let message = compare(Core::M4, &expected, &[1, 2, 3, 4, 4])
            .unwrap_err()
            .to_string();
        assert!(message.contains("run 1, operator 0"), "{message}");
        let message = compare(Core::M4, &expected, &[1, 2, 3, 4])
            .unwrap_err()
            .to_string();
        assert!(message.contains("4 bytes, expected 5"), "{message}");
    }
}
