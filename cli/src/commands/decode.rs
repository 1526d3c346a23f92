//! `attn decode`: sequences of tokens from text, symbols or sound, as the chip makes them.

use super::{CommandResult, check_output};
use crate::bars::bar;
use crate::plot;
use crate::shown::{say, shown};
use crate::sound;
use attn_converter::decode::{self, Chance, Decoder, Input, Search, Sequence};
use attn_converter::files::read_lines;
use attn_converter::runner::ModelFile;
use attn_runtime::Model;
use attn_runtime::seq2seq::text;
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Decodes an input with an .attn file that holds an encoder and a decoder; tokens and scores are those of the chip, bit
/// for bit.
#[derive(Args)]
pub struct Decode {
    /// The .attn file, converted from a bundle.
    model: PathBuf,
    #[command(flatten)]
    source: Source,
    /// Beam search with so many hypotheses, 1 to 16; without it decoding is greedy.
    #[arg(long, value_name = "WIDTH")]
    beam: Option<usize>,
    /// With --beam: sequences are ranked by their log-probability divided by their length to this power.
    #[arg(long, value_name = "ALPHA", default_value_t = 1.0, requires = "beam")]
    length_normalization: f32,
    /// With --beam: print every sequence that was found, best first.
    #[arg(long, requires = "beam")]
    n_best: bool,
    /// With --prompt: draw each token by chance from the best ones, as probable as the model says, in place of the best.
    #[arg(long, requires = "prompt", value_name = "SEED")]
    sample: Option<u32>,
    /// With --sample: 1 draws as the model says, less keeps closer to the best tokens.
    #[arg(long, value_name = "T", default_value_t = 0.8, requires = "sample")]
    temperature: f32,
    /// With --sample: how many of the best tokens to draw from, 1 to 16.
    #[arg(long, value_name = "K", default_value_t = 8, requires = "sample",
          value_parser = clap::value_parser!(u8).range(1..=16))]
    top: u8,
    /// Draw the attention weights along the best sequence into this PNG file.
    #[arg(long, value_name = "PNG", conflicts_with = "input")]
    plot: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// What to decode; without any of them the model makes a sequence of its own.
#[derive(Args)]
#[group(multiple = false)]
struct Source {
    /// Text, spelled in the model's symbols.
    #[arg(long)]
    text: Option<String>,
    /// Symbols by number, with commas between them.
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    symbols: Option<Vec<u16>>,
    /// For a language model: text to be continued, spelled in the model's tokens.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["beam", "plot"])]
    prompt: Option<String>,
    /// A text file, decoded line by line; empty lines are left out.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// A recording: WAV or FLAC of any sampling rate and number of channels; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    wav: Option<PathBuf>,
}

impl Decode {
    pub fn run(&self) -> CommandResult {
        if let Some(plot) = &self.plot {
            let files = [
                Some(&self.model),
                self.source.input.as_ref(),
                self.source.wav.as_ref(),
            ];
            check_output(plot, files.into_iter().flatten())?;
        }
        let file = ModelFile::load(&self.model)?;
        let model = file.model();
        let search = match self.beam {
            None => Search::Greedy,
            Some(width) => Search::Beam {
                width,
                alpha: self.length_normalization,
            },
        };
        let mut decoder = Decoder::new(model);
        if let Some(path) = &self.source.input {
            return self.lines(&mut decoder, model, search, path);
        }
        if let Some(prompt) = &self.source.prompt {
            return self.write(&mut decoder, model, prompt);
        }
        let (input, name) = self.source.read(model)?;
        let found = decoder
            .decode(&input, search)
            .map_err(|error| format!("{}: {error}", self.named(&name)))?;
        if let (Some(path), Some(best)) = (&self.plot, found.first()) {
            let weights = decoder.weights(&input, &best.tokens)?;
            let rows = decoder.symbol_names(&input);
            let mut tokens: Vec<String> = best.tokens.iter().map(|t| name_of(model, *t)).collect();
            tokens.extend(
                model
                    .decode()
                    .map(|decode| name_of(model, decode.end as u16)),
            );
            plot::alignment(path, &weights, &rows, &tokens)?;
        }
        if self.json {
            say!("{:#}", self.json_of(model, &name, &found));
        } else {
            self.print(model, &name, &found);
        }
        warn_of_cut(&name, &found);
        Ok(())
    }

    /// Continues a text.
    fn write(&self, decoder: &mut Decoder, model: Model, prompt: &str) -> CommandResult {
        let chance = self.sample.map(|seed| Chance {
            temperature: self.temperature,
            top: self.top.into(),
            seed,
        });
        let written = decoder
            .write(prompt, chance)
            .map_err(|error| format!("{}: {error}", self.named(prompt)))?;
        if self.json {
            say!("{:#}", self.json_of(model, prompt, &[written]));
        } else {
            say!(
                "{prompt}{}{}",
                model.separator(),
                text(model, &written.tokens)
            );
        }
        Ok(())
    }

    fn named(&self, input: &str) -> String {
        match input {
            "" => self.model.display().to_string(),
            input => format!("{}: {input:?}", self.model.display()),
        }
    }

    fn lines(
        &self,
        decoder: &mut Decoder,
        model: Model,
        search: Search,
        path: &Path,
    ) -> CommandResult {
        let lines = read_lines(path)?;
        if lines.is_empty() {
            return Err(format!("{}: no line with text", path.display()).into());
        }
        let bar = bar("decode", lines.len());
        let mut all = Vec::new();
        for line in lines {
            let found = decoder
                .decode(&Input::Text(line.clone()), search)
                .map_err(|error| format!("{}: {line:?}: {error}", path.display()))?;
            all.push((line, found));
            bar.inc(1);
        }
        bar.finish_and_clear();
        if self.json {
            let all = all
                .iter()
                .map(|(line, found)| self.json_of(model, line, found));
            say!("{:#}", all.collect::<Value>());
        } else {
            all.iter()
                .for_each(|(line, found)| self.print(model, line, found));
        }
        all.iter()
            .for_each(|(line, found)| warn_of_cut(line, found));
        Ok(())
    }

    fn print(&self, model: Model, name: &str, found: &[Sequence]) {
        let shown = if self.n_best { found.len() } else { 1 };
        for sequence in found.iter().take(shown) {
            let tokens = text(model, &sequence.tokens);
            let cut = if sequence.ended { "" } else { ", cut off" };
            let before = if name.is_empty() { "" } else { ": " };
            say!("{name}{before}{tokens}  ({:.3}{cut})", sequence.score);
        }
    }

    fn json_of(&self, model: Model, name: &str, found: &[Sequence]) -> Value {
        let one = |sequence: &Sequence| {
            let tokens = sequence.tokens.iter().map(|&token| name_of(model, token));
            json!({
                "tokens": tokens.collect::<Vec<_>>(),
                "score": sequence.score,
                "ended": sequence.ended,
            })
        };
        let mut value = found.first().map(one).unwrap_or_default();
        value["text"] = name.into();
        if self.n_best {
            value["n_best"] = found.iter().map(one).collect();
        }
        value
    }
}

impl Source {
    /// The input, and its name for people.
    fn read(&self, model: Model) -> Result<(Input, String), Box<dyn std::error::Error>> {
        if let Some(text) = &self.text {
            return Ok((Input::Text(text.clone()), text.clone()));
        }
        if let Some(symbols) = &self.symbols {
            let names: Vec<String> = symbols.iter().map(u16::to_string).collect();
            return Ok((Input::Symbols(symbols.clone()), names.join(",")));
        }
        let Some(path) = &self.wav else {
            return Ok((Input::Nothing, String::new()));
        };
        let name = sound::name(path);
        let input = decode::heard(model, name, || sound::read(path))?;
        Ok((input, name.display().to_string()))
    }
}

/// Says on standard error that what was written down of an input is not all of it: the best sequence was cut off, or a more probable
/// one than the best that ended. (A text that a language model makes up has no end.)
fn warn_of_cut(name: &str, found: &[Sequence]) {
    let Some(best) = found.first() else {
        return;
    };
    let cut = found
        .iter()
        .find(|sequence| !sequence.ended && sequence.score >= best.score);
    if let Some(cut) = cut.filter(|_| !name.is_empty()) {
        eprintln!(
            "warning: {}: cut off after {} tokens, the limit of the model: what follows is missing. Give it less at a time, \
             or convert the model with a greater max_tokens",
            shown(name),
            cut.tokens.len()
        );
    }
}

fn name_of(model: Model, token: u16) -> String {
    model
        .token_name(token)
        .map_or_else(|| token.to_string(), str::to_owned)
}
