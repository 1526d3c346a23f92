//! `cargo xtask demo`: from the ONNX file to keywords heard on the emulated Cortex-M4, and their cost.

use crate::{TaskResult, setup};
use attn_lab::cost::{self, Cost};
use attn_lab::demo::{Comparison, Played, events_table, play, truth};
use attn_lab::emulator::{Core, Emulator};
use attn_lab::images::Image;
use attn_lab::model::{self, Converted};
use attn_lab::workspace;
use attn_runtime::audio::SAMPLE_RATE;
use std::path::Path;

/// The results of a demo with one recording.
pub struct Shown {
    pub played: Played,
    pub cost: Cost,
}

/// Converts the shipped model.
pub fn model() -> Result<Converted, Box<dyn std::error::Error>> {
    setup::run()?;
    println!(
        "converting models/kws.onnx (the first time, this builds the converter: some minutes)"
    );
    let converted = model::convert()?;
    print!("{}", indented(&converted.report));
    Ok(converted)
}

/// Converts, builds, plays and measures.
pub fn show(pcm: &[i16]) -> Result<Shown, Box<dyn std::error::Error>> {
    let model = model()?.path;
    println!("building the firmware for the emulated Cortex-M4");
    let image = Image::keyword(&model).build()?;
    let seconds = pcm.len() as f64 / f64::from(SAMPLE_RATE);
    println!("playing {seconds:.1} s of sound to it");
    let played = play(&Emulator::new(Core::M4).counting(), &image, pcm)?;
    let cost = cost::measure(&model, &image, &played, pcm)?;
    Ok(Shown { played, cost })
}

/// Plays the demo recording, or the one given.
pub fn run(wav: Option<&Path>) -> TaskResult {
    let committed = workspace::demo_recording();
    // An unusable recording is refused before anything is built.
    let pcm = attn_recordings::read(wav.unwrap_or(&committed))?;
    let Shown { played, cost } = show(&pcm)?;
    println!();
    let verdict = if wav.is_some() {
        println!("{}", events_table(&played.heard));
        Ok(())
    } else {
        let comparison = Comparison::new(&truth(&workspace::demo_truth())?, &played.heard);
        println!("{}", comparison.table());
        match (comparison.missed(), comparison.falsely_heard()) {
            (0, 0) => Ok(()),
            (missed, not_said) => {
                Err(format!("{missed} keywords missed, {not_said} heard that were not said").into())
            }
        }
    };
    for table in cost.tables() {
        println!("\n{table}");
    }
    println!("\n{}", cost.summary());
    verdict
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
