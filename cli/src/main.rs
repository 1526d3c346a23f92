//! The `attn` command: argument parsing and error printing only; each subcommand is a file in `commands/`.
#![forbid(unsafe_code)]

use attn_converter::guard::guarded;
use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

mod bars;
mod commands;
mod flags;
mod limits;
mod plot;
mod shown;
mod sound;

/// Converts float ONNX attention models to flat int8 files for microcontrollers, and runs them on the host.
#[derive(Parser)]
#[command(name = "attn", version, about)]
struct Cli {
    #[command(flatten)]
    limits: limits::Limits,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Convert(Box<commands::Convert>),
    Inspect(commands::Inspect),
    Run(commands::Run),
    Compare(commands::Compare),
    Bench(Box<commands::Bench>),
    Spot(commands::Spot),
    Tune(commands::Tune),
    Record(commands::Record),
    Decode(commands::Decode),
    Features(commands::Features),
    Operators(commands::Operators),
    Keygen(commands::Keygen),
    Sign(commands::Sign),
    Verify(commands::Verify),
    Completions(commands::Completions),
    Man(commands::Manual),
}

fn main() -> ExitCode {
    // A closed pipe ends the command quietly, as it does any other.
    sigpipe::reset();
    let Cli { limits, command } = Cli::parse();
    limits.watch();
    let result = guarded(|| run(command)).unwrap_or_else(|reason| {
        Err(format!(
            "attn came upon something that it does not expect ({reason}): please report it"
        )
        .into())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = flags::explained(error).to_string();
            eprintln!("error: {}", shown::error(&text));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> commands::CommandResult {
    match command {
        Command::Convert(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Compare(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Spot(command) => command.run(),
        Command::Tune(command) => command.run(),
        Command::Record(command) => command.run(),
        Command::Decode(command) => command.run(),
        Command::Features(command) => command.run(),
        Command::Operators(command) => command.run(),
        Command::Keygen(command) => command.run(),
        Command::Sign(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Completions(command) => command.run(Cli::command()),
        Command::Man(command) => command.run(Cli::command()),
    }
}
