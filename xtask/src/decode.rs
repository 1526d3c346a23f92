//! `cargo xtask demo g2p WORD`, `cargo xtask demo digits` and `cargo xtask demo llama TEXT`: tokens from the emulated Cortex-M4, and what they cost.

use crate::{TaskResult, setup};
use attn_lab::decoding::{Decoded, Input};
use attn_lab::decoding_cost::{DecodingCost, measure};
use attn_lab::{model, workspace};
use std::path::{Path, PathBuf};

/// Word that the cost table shows.
pub const WORD: &str = "tokenize";
/// Default text to continue.
pub const PROMPT: &str = "In the beginning";

/// The shipped bundle of this name, converted.
fn converted(name: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
    setup::run()?;
    println!(
        "converting models/{name}.bundle.toml (the first time, this builds the converter: some minutes)"
    );
    let converted = model::convert_bundle(name)?;
    converted
        .report
        .lines()
        .for_each(|line| println!("  {line}"));
    Ok(converted.path)
}

/// Decodes a word with the model for text.
pub fn pronounce(word: &str) -> Result<DecodingCost, Box<dyn std::error::Error>> {
    let model = converted("g2p")?;
    println!("decoding {word:?} on the emulated Cortex-M4");
    Ok(measure(&model, Input::Text(word))?)
}

/// Prints phonemes of a word.
pub fn g2p(word: &str) -> TaskResult {
    show(&pronounce(word)?);
    Ok(())
}

/// Continues a text.
pub fn llama(prompt: &str) -> TaskResult {
    let model = converted("llama")?;
    println!("continuing {prompt:?} on the emulated Cortex-M4");
    let cost = measure(&model, Input::Prompt(prompt))?;
    for table in cost.tables() {
        println!("\n{table}");
    }
    for (name, decoded) in [("greedy", &cost.greedy), (cost.other_name, &cost.other)] {
        println!("\n{name}: {prompt}{}", decoded.tokens.concat());
    }
    Ok(())
}

/// Prints the digits of the demo recording, or of the one given.
pub fn digits(wav: Option<&Path>) -> TaskResult {
    let committed = workspace::digits_recording();
    // Read here first: any sampling rate is accepted, and an unusable recording is refused before anything is built.
    let pcm = attn_recordings::read(wav.unwrap_or(&committed))?;
    let model = converted("digits")?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("recording.wav");
    attn_recordings::write(&path, &pcm)?;
    println!(
        "decoding {:.1} s of sound on the emulated Cortex-M4",
        pcm.len() as f64 / 16e3
    );
    let cost = measure(&model, Input::Wav(&path))?;
    show(&cost);
    if wav.is_none() {
        let said = std::fs::read_to_string(workspace::digits_truth())?;
        let said: Vec<&str> = said.split_whitespace().collect();
        println!("said:    {}", said.join(" "));
        if cost.other.tokens != said {
            return Err("the digits are not those that were said".into());
        }
    }
    Ok(())
}

fn show(cost: &DecodingCost) {
    for table in cost.tables() {
        println!("\n{table}");
    }
    println!();
    for (name, decoded) in [("greedy", &cost.greedy), (cost.other_name, &cost.other)] {
        println!("{name:9} {}", line(decoded));
    }
}

fn line(decoded: &Decoded) -> String {
    let score = f64::from(decoded.score) / 65536.0;
    let cut = if decoded.cut { ", cut off" } else { "" };
    format!(
        "{}  (log-probability {score:.2}{cut})",
        decoded.tokens.join(" ")
    )
}
