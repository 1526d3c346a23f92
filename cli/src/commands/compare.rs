//! `attn compare`: what quantization cost.

use super::{CommandResult, table};
use crate::bars::Bars;
use crate::flags::FlagError;
use attn_converter::bundle::Manifest;
use attn_converter::compare::{Comparison, compare, compare_bundle};
use clap::Args;
use std::path::PathBuf;

/// Compares an .attn file with the float model it came from: SQNR per layer and end to end, top-1 of both.
#[derive(Args)]
pub struct Compare {
    /// The float ONNX model, or the manifest of a bundle; it is run by tract.
    model: PathBuf,
    /// The .attn file made from it.
    attn: PathBuf,
    /// Evaluation data: an .npz as for calibration; with an array `labels` top-1 is counted. A manifest names its own.
    #[arg(long, value_name = "NPZ")]
    data: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub fn run(&self) -> CommandResult {
        let bars = Bars::default();
        let show = |step| bars.show(step);
        let is_manifest = self.model.extension().is_some_and(|end| end == "toml");
        let result = match &self.data {
            Some(_) if is_manifest => {
                let reason = "a manifest names its own data";
                return Err(FlagError::new("--data", reason).into());
            }
            None if is_manifest => {
                compare_bundle(&Manifest::load(&self.model)?, &self.attn, &show)?
            }
            Some(data) => compare(&self.model, &self.attn, data, &show)?,
            None => {
                let reason = "name an .npz file with samples of the model's inputs";
                return Err(FlagError::new("--data", reason).into());
            }
        };
        if self.json {
            println!("{:#}", result.json());
        } else {
            print(&result);
        }
        Ok(())
    }
}

fn print(result: &Comparison) {
    let mut table = table(&["value", "operator", "type", "SQNR dB"]);
    for layer in &result.layers {
        let db = format!("{:.1}", layer.sqnr.db());
        table.add_row([layer.name.as_str(), layer.op, layer.dtype.name(), &db]);
    }
    println!("{table}");
    let top = result.top_one;
    let percent = |count: usize| 100.0 * count as f64 / top.samples.max(1) as f64;
    println!(
        "outputs: SQNR {:.1} dB over {} samples",
        result.outputs.db(),
        top.samples
    );
    println!(
        "highest logit: float and integers agree on {:.2} %",
        percent(top.agree)
    );
    if result.labelled {
        println!(
            "top-1: float {:.2} %, integers {:.2} %",
            percent(top.float),
            percent(top.int8)
        );
    }
}
