//! `attn completions` and `attn man`: what shells and `man` take, made from the arguments that the command has.

use super::CommandResult;
use crate::flags::FlagError;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use std::io::{Write, stdout};

/// Prints completions for a shell.
///
/// For bash: `attn completions bash > ~/.local/share/bash-completion/completions/attn`.
#[derive(Args)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the completions of `whole`, the command with all its subcommands.
    pub fn run(self, mut whole: Command) -> CommandResult {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut whole, "attn", &mut text);
        stdout().write_all(&text)?;
        Ok(())
    }
}

/// Prints a manual page: `attn man convert | man -l -`.
#[derive(Args)]
pub struct Manual {
    /// The subcommand, such as convert; without it, the page of `attn` itself.
    subcommand: Option<String>,
}

impl Manual {
    /// Prints the page of `whole`, the command with all its subcommands, or of one of them.
    pub fn run(self, whole: Command) -> CommandResult {
        let mut whole = whole.disable_help_subcommand(true);
        whole.build();
        let page = match &self.subcommand {
            None => &whole,
            Some(name) => whole.find_subcommand(name).ok_or_else(|| {
                let names: Vec<_> = whole.get_subcommands().map(Command::get_name).collect();
                let reason = format!("{name:?} is no subcommand: there are {}", names.join(", "));
                FlagError::new("SUBCOMMAND", reason)
            })?,
        };
        Man::new(page.clone()).render(&mut stdout())?;
        Ok(())
    }
}
