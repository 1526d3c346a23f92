//! `attn compare`: what quantization cost.

use super::bundle::Sequence;
use super::{CommandResult, load_manifest, quality, table};
use crate::bars::Bars;
use crate::flags::FlagError;
use crate::shown::say;
use attn_converter::bundle::Manifest;
use attn_converter::compare::{Comparison, compare};
use attn_converter::pipeline::Source;
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
    /// Let a manifest name files outside its folder.
    #[arg(long)]
    outside: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sequence: Sequence,
}

impl Compare {
    pub fn run(&self) -> CommandResult {
        let bars = Bars::default();
        let show = |step| bars.show(step);
        let manifest = self.manifest()?;
        let result = compare(Source::Bundle(&manifest), &self.attn, &show)?;
        if self.json {
            say!("{:#}", result.json());
        } else {
            print(&result);
        }
        quality::warn_of_clipped(&result.clipped(), result.samples);
        Ok(())
    }
}

impl Compare {
    /// What the file was made from.
    fn manifest(&self) -> Result<Manifest, Box<dyn std::error::Error>> {
        let is_manifest = self.model.extension().is_some_and(|end| end == "toml");
        let refused = |flag, reason: &str| Err(FlagError::new(flag, reason).into());
        match (&self.data, self.sequence.given()) {
            (Some(_), _) if is_manifest => refused("--data", "a manifest names its own data"),
            (_, Some(flag)) if is_manifest => refused(flag, "a manifest says this itself"),
            (None, _) if is_manifest => load_manifest(&self.model, self.outside),
            (Some(data), _) => {
                let name = self.model.display().to_string();
                let keys = self.sequence.single(false, &self.model, data)?;
                Ok(Manifest::from_table(&name, keys)?)
            }
            (None, _) => {
                let reason = "name an .npz file with samples of the model's inputs";
                refused("--data", reason)
            }
        }
    }
}

fn print(result: &Comparison) {
    let mut table = table(&["value", "operator", "type", "SQNR dB"]);
    for layer in &result.layers {
        let db = format!("{:.1}", layer.sqnr.db());
        table.add_row([layer.name.as_str(), layer.op, layer.dtype.name(), &db]);
    }
    say!("{table}");
    let top = result.top_one;
    let percent = |count: usize| 100.0 * count as f64 / top.samples.max(1) as f64;
    say!(
        "outputs: SQNR {:.1} dB over {} samples",
        result.outputs.db(),
        top.samples
    );
    say!(
        "highest logit: float and integers agree on {:.2} %",
        percent(top.agree)
    );
    if result.labelled {
        say!(
            "top-1: float {:.2} %, integers {:.2} %",
            percent(top.float),
            percent(top.int8)
        );
    }
}
