//! `attn compare`: what quantization cost.

use super::{CommandResult, table};
use crate::bars::Bars;
use attn_converter::compare::{Comparison, compare};
use clap::Args;
use std::path::PathBuf;

/// Compares an .attn file with the float model it came from: SQNR per layer and end to end, top-1 of both.
#[derive(Args)]
pub struct Compare {
    /// The float ONNX model; it is run by tract.
    model: PathBuf,
    /// The .attn file made from it.
    attn: PathBuf,
    /// Evaluation data: an .npz as for calibration; with an int64 array `labels` top-1 is counted.
    #[arg(long, value_name = "NPZ")]
    data: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub fn run(&self) -> CommandResult {
        let bars = Bars::default();
        let show = |step| bars.show(step);
        let result = compare(&self.model, &self.attn, &self.data, &show)?;
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
