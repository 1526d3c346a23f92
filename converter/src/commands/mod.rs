//! One file per subcommand of `attn`: arguments in, a call of the library, text out.

mod features;

pub use features::Features;

/// What a subcommand gives back; the error is printed with its causes and ends the program with status 1.
pub type CommandResult = Result<(), Box<dyn std::error::Error>>;
