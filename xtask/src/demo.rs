//! `cargo xtask demo`: keywords heard on the emulated Cortex-M4 by the committed model, then what that costs.

use crate::{TaskResult, setup};
use attn_lab::cost::{self, Cost};
use attn_lab::demo::{self, Comparison, Word, events_table, truth};
use attn_lab::emulator::{Core, Emulator};
use attn_lab::images::Image;
use attn_lab::model::Shipped;
use attn_lab::workspace;
use attn_runtime::audio::SAMPLE_RATE;
use std::path::{Path, PathBuf};

/// Builds the image of the shipped model, with Cargo's progress on the terminal.
fn image() -> Result<PathBuf, Box<dyn std::error::Error>> {
    setup::emulation()?;
    println!("building the firmware around models/kws.attn for a Cortex-M4");
    Ok(Image::keyword(&Shipped::Keywords.path()).build_aloud()?)
}

/// Plays with every instruction counted.
fn counted(image: &Path, pcm: &[i16]) -> Result<Cost, Box<dyn std::error::Error>> {
    let played = demo::play(&Emulator::new(Core::M4).counting(), image, pcm)?;
    Ok(cost::measure(
        &Shipped::Keywords.path(),
        image,
        &played,
        pcm,
    )?)
}

/// The cost of hearing these samples.
pub fn cost_of(pcm: &[i16]) -> Result<Cost, Box<dyn std::error::Error>> {
    counted(&image()?, pcm)
}

/// Plays the demo recording, or the one given.
pub fn run(wav: Option<&Path>) -> TaskResult {
    let committed = workspace::demo_recording();
    // An unusable recording is refused before anything is built.
    let pcm = attn_recordings::read(wav.unwrap_or(&committed))?;
    let image = image()?;
    let seconds = pcm.len() as f64 / f64::from(SAMPLE_RATE);
    println!("\nplaying {seconds:.1} s of sound to it in the emulator; it hears:");
    let emulator = Emulator::new(Core::M4);
    let played = demo::play_watched(&emulator, &image, &pcm, |word: &Word| {
        let Word {
            time_ms,
            label,
            percent,
        } = word;
        println!("  {:6.2} s  {label} ({percent} %)", *time_ms as f64 / 1e3);
    })?;
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
    println!("\nthe same again, with every instruction counted: what it costs");
    match counted(&image, &pcm) {
        Ok(cost) => {
            for table in cost.tables() {
                println!("\n{table}");
            }
            println!("\n{}", cost.summary());
        }
        Err(error) => println!("the cost cannot be measured: {error}"),
    }
    verdict
}
