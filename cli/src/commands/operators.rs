//! `attn operators`: the ONNX operators that can be converted, as docs/reference/operators.md shows them.

use super::CommandResult;
use clap::Args;

/// Prints the ONNX operators that can be converted, with their limits, as Markdown
#[derive(Args)]
pub struct Operators;

impl Operators {
    /// Runs the command.
    pub fn run(self) -> CommandResult {
        crate::shown::print(&attn_converter::import::markdown());
        Ok(())
    }
}
