//! `cargo xtask demo g2p WORD`, `cargo xtask demo digits` and `cargo xtask demo llama TEXT`: tokens from the emulated Cortex-M4, and what they cost.

use crate::{TaskResult, setup};
use attn_lab::decoding::{Decoded, Input};
use attn_lab::decoding_cost::{Answers, DecodingCost, answers, measure};
use attn_lab::images::Image;
use attn_lab::model::Shipped;
use attn_lab::workspace;
use std::path::{Path, PathBuf};

/// Word that the cost table shows.
pub const WORD: &str = "tokenize";
/// Default text to continue.
pub const PROMPT: &str = "In the beginning";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Builds the image of a shipped model, with Cargo's progress on the terminal.
fn image(model: Shipped) -> Outcome<PathBuf> {
    setup::emulation()?;
    let name = model.name();
    println!("building the firmware around models/{name}.attn for a Cortex-M4");
    Ok(Image::decode(&model.path()).build_aloud()?)
}

/// The cost of the phonemes of a word.
pub fn cost_of(word: &str) -> Outcome<DecodingCost> {
    let (model, input) = (Shipped::G2p, Input::Text(word));
    let image = image(model)?;
    let answers = answers(&image, input)?;
    Ok(measure(&model.path(), &image, input, answers)?)
}

/// Decodes `input`, shows the answers with `print`, then what they cost.
fn show(model: Shipped, input: Input, print: impl Fn(&Answers)) -> Outcome<Answers> {
    let image = image(model)?;
    println!("\ndecoding on the emulated Cortex-M4");
    let answers = answers(&image, input)?;
    println!();
    print(&answers);
    println!("\ncounting what that costs, operator by operator");
    match measure(&model.path(), &image, input, answers.clone()) {
        Ok(cost) => cost.tables().iter().for_each(|table| println!("\n{table}")),
        Err(error) => println!("the cost cannot be measured: {error}"),
    }
    Ok(answers)
}

/// Prints phonemes of a word.
pub fn g2p(word: &str) -> TaskResult {
    show(Shipped::G2p, Input::Text(word), print_tokens).map(drop)
}

/// Continues a text.
pub fn llama(prompt: &str) -> TaskResult {
    let print = |answers: &Answers| {
        for (name, decoded) in named(answers) {
            println!("{name}: {prompt}{}\n", decoded.tokens.concat());
        }
    };
    show(Shipped::Llama, Input::Prompt(prompt), print).map(drop)
}

/// Prints the digits of the demo recording, or of the one given.
pub fn digits(wav: Option<&Path>) -> TaskResult {
    let committed = workspace::digits_recording();
    // Read here first: any sampling rate is accepted, and an unusable recording is refused before anything is built.
    let pcm = attn_recordings::read(wav.unwrap_or(&committed))?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("recording.wav");
    attn_recordings::write(&path, &pcm)?;
    let answers = show(Shipped::Digits, Input::Wav(&path), print_tokens)?;
    if wav.is_none() {
        let said = std::fs::read_to_string(workspace::digits_truth())?;
        let said: Vec<&str> = said.split_whitespace().collect();
        println!("\nsaid:    {}", said.join(" "));
        if answers.other.tokens != said {
            return Err("the digits are not those that were said".into());
        }
    }
    Ok(())
}

fn named(answers: &Answers) -> [(&'static str, &Decoded); 2] {
    [
        ("greedy", &answers.greedy),
        (answers.other_name, &answers.other),
    ]
}

fn print_tokens(answers: &Answers) {
    for (name, decoded) in named(answers) {
        let score = f64::from(decoded.score) / 65536.0;
        let cut = if decoded.cut { ", cut off" } else { "" };
        let tokens = decoded.tokens.join(" ");
        println!("{name:9} {tokens}  (log-probability {score:.2}{cut})");
    }
}
