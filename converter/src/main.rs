//! The `attn` command: argument parsing and error printing only; each subcommand is a file in `commands/`.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod commands;

/// Converts float ONNX attention models to flat int8 files for microcontrollers, and runs them on the host.
#[derive(Parser)]
#[command(name = "attn", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Convert(Box<commands::Convert>),
    Inspect(commands::Inspect),
    Run(commands::Run),
    Compare(commands::Compare),
    Spot(commands::Spot),
    Decode(commands::Decode),
    Features(commands::Features),
    Operators(commands::Operators),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Convert(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Compare(command) => command.run(),
        Command::Spot(command) => command.run(),
        Command::Decode(command) => command.run(),
        Command::Features(command) => command.run(),
        Command::Operators(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
