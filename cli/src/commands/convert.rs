//! `attn convert`: ONNX in, `.attn` out.

use super::recipe::Recipe;
use super::{CommandResult, check_output, quality};
use crate::bars::Bars;
use crate::flags::{self, FlagError};
use crate::shown::say;
use attn_converter::emit::Metadata;
use attn_converter::estimate::{Fallback, estimate};
use attn_converter::files::{self, FileError};
use attn_converter::pipeline::{Conversion, Source, convert};
use attn_converter::quantize::Precision;
use attn_converter::thresholds::{Threshold, chosen};
use attn_runtime::format::SpotterMeta;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Converts a float ONNX model to an .attn file.
#[derive(Args)]
pub struct Convert {
    /// The ONNX model, with a batch of 1; or a bundle of several, described by a .toml file.
    #[arg(required_unless_present = "entry", conflicts_with = "entry")]
    model: Option<PathBuf>,
    /// Where to write the .attn file.
    #[arg(short, long)]
    output: PathBuf,
    /// Class names in the order of the logits: a text file, one per line.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Keyword spotting: hops over which posteriors are averaged.
    #[arg(long, value_name = "HOPS", requires_all = ["threshold", "labels", "audio_hop"])]
    smoothing: Option<u32>,
    /// Keyword spotting: averaged posterior from which a keyword counts as heard, 0 to 1; `LABEL=VALUE` for one label. Several are
    /// separated by commas.
    #[arg(long, value_name = "P", requires = "smoothing", value_delimiter = ',')]
    threshold: Vec<Threshold>,
    /// Keyword spotting: hops after an event in which no other is reported.
    #[arg(
        long,
        value_name = "HOPS",
        requires = "smoothing",
        default_value_t = 50
    )]
    refractory: u32,
    /// Labels that are never reported, separated by commas.
    #[arg(
        long,
        value_name = "LABELS",
        requires = "smoothing",
        value_delimiter = ',',
        default_value = "unknown,noise"
    )]
    background: Vec<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    recipe: Recipe,
}

impl Convert {
    pub fn run(&self) -> CommandResult {
        let manifest = self.recipe.manifest(self.model.as_deref())?;
        check_output(&self.output, manifest.files().iter().chain(&self.labels))?;
        if manifest.decode.is_some() && self.smoothing.is_some() {
            let reason = "takes a single model, as keyword spotting does";
            return Err(FlagError::new("--smoothing", reason).into());
        }
        let options = self.recipe.options(self.metadata()?);
        let bars = Bars::default();
        let source = Source::Bundle(&manifest);
        let conversion = convert(source, &options, &|step| bars.show(step))?;
        files::write_bytes(&self.output, conversion.file.bytes())?;
        self.print(&conversion);
        quality::warn(&conversion.quality);
        Ok(())
    }

    fn labels(&self) -> Result<Vec<String>, FileError> {
        let lines = self.labels.as_deref().map(files::read_lines);
        Ok(lines.transpose()?.unwrap_or_default())
    }

    fn metadata(&self) -> Result<Metadata, Box<dyn std::error::Error>> {
        let labels = self.labels()?;
        let rule = self.smoothing.map(|smoothing_hops| SpotterMeta {
            smoothing_hops,
            refractory_hops: self.refractory,
        });
        let values = || {
            chosen(&self.threshold, &labels, &self.background).map_err(FlagError::of("--threshold"))
        };
        let spotter = rule.map(|rule| Ok::<_, FlagError>((rule, values()?)));
        let spotter = spotter.transpose()?;
        Ok(Metadata {
            labels,
            spotter,
            ..Metadata::default()
        })
    }

    fn print(&self, conversion: &Conversion) {
        let model = conversion.file.model();
        let bytes = conversion.file.bytes().len();
        let [widened, two_parts] =
            [&conversion.widened, &conversion.two_parts].map(|chosen| conversion.named(chosen));
        let graphs = conversion.graphs.iter();
        let half = self.recipe.precision() == Precision::Fp16;
        let estimates: Vec<_> = graphs.map(|graph| estimate(graph, half)).collect();
        let cycles: u64 = estimates.iter().map(|estimate| estimate.cycles).sum();
        let fallbacks: Vec<_> = estimates.iter().flat_map(|e| &e.fallbacks).collect();
        let entries = model.entries().iter().map(|entry| model.name(entry.name));
        if self.json {
            let mut result =
                conversion.json(self.recipe.precision(), &|what| flags::remedy(what).into());
            result["file"] = json!(self.output);
            say!("{result:#}");
            return;
        }
        for name in &conversion.batch {
            say!("batch axis `{name}` taken as 1");
        }
        for (input, output) in &conversion.possible_states {
            say!(
                "input `{input}` and output `{output}` look like one state: --state {input}={output} would keep it from run to run"
            );
        }
        for (name, gain) in widened {
            say!("int16: {name} (+{gain:.1} dB at the outputs)");
        }
        for (name, gain) in two_parts {
            say!("weights of 16 bits, in two parts: {name} (+{gain:.1} dB at the outputs)");
        }
        if !fallbacks.is_empty() {
            print_fallbacks(&fallbacks, cycles);
        }
        say!(
            "{}: {bytes} bytes, of which weights {}; arena {} bytes (state {}; {} without sharing); {} operators in {} entry point(s)",
            self.output.display(),
            model.weights_len(),
            model.arena_len(),
            model.state_len(),
            conversion.unshared_len,
            model.ops().len(),
            entries.count()
        );
        quality::print(&conversion.quality);
    }
}

/// Fallbacks that are named.
const NAMED: usize = 6;

/// What is computed node by node, the most costly first, with its part of the estimated cycles of a run.
fn print_fallbacks(fallbacks: &[&Fallback], cycles: u64) {
    let percent = |part: u64| 100.0 * part as f64 / cycles.max(1) as f64;
    let mut names: Vec<_> = (fallbacks.iter().take(NAMED))
        .map(|f| {
            let part = percent(f.cycles);
            format!("{} ({}) {part:.0} %", f.node, f.operator)
        })
        .collect();
    if let Some(more) = fallbacks.len().checked_sub(NAMED).filter(|&n| n > 0) {
        names.push(format!("and {more} more, which --json lists"));
    }
    let all = percent(fallbacks.iter().map(|f| f.cycles).sum());
    let names = names.join(", ");
    say!(
        "computed by base operators, which are slower, {all:.0} % of an estimated {} cycles of a Cortex-M4: {names}",
        rounded(cycles)
    );
}

/// A number with two significant digits and more: 1.2 M, 340 k.
fn rounded(cycles: u64) -> String {
    match cycles {
        0..1_000_000 => format!("{} k", cycles.div_ceil(1000)),
        _ => format!("{:.1} M", cycles as f64 / 1e6),
    }
}
