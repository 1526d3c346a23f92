//! `attn tune`: thresholds of a converted keyword spotter, without another conversion.

use super::{CommandResult, table};
use crate::bars::bar;
use crate::flags::FlagError;
use crate::plot;
use crate::shown::say;
use attn_converter::files;
use attn_converter::runner::{AlignedBytes, ModelFile};
use attn_converter::thresholds::{self, Threshold, changed, is_reported, shown};
use attn_converter::tune::{Curve, Point, binomial, hear, poisson, with_thresholds};
use attn_runtime::Model;
use attn_runtime::audio::SAMPLE_RATE;
use attn_runtime::kws::KeywordSpotter;
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Sets the thresholds of a keyword spotter: to given values, or to what recordings say of a rate of false accepts.
#[derive(Args)]
pub struct Tune {
    /// The .attn file of a keyword spotter; it gets the new thresholds.
    model: PathBuf,
    /// Write the file with the new thresholds here, and leave the other as it is.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// A threshold: a number from 0 to 1 for every label that is reported, `LABEL=NUMBER` for one, `LABEL=never` for one that is not to be
    /// reported. Several are separated by commas.
    #[arg(long, value_name = "LABEL=VALUE", value_delimiter = ',')]
    threshold: Vec<Threshold>,
    /// Recordings of the keywords, FOLDER/LABEL/*.wav or *.flac, one keyword in each: how many a threshold misses.
    #[arg(long, value_name = "FOLDER", requires = "negative")]
    positive: Option<PathBuf>,
    /// Recordings without a keyword, *.wav or *.flac in a folder and all folders in it: what a threshold falsely reports.
    #[arg(long, value_name = "FOLDER")]
    negative: Option<PathBuf>,
    /// Choose the thresholds so that every label gives so many false accepts an hour: `0.1/h`.
    #[arg(long, value_name = "RATE", requires = "negative")]
    rate: Option<Rate>,
    /// Draw misses against false accepts an hour into this PNG file.
    #[arg(long, value_name = "PNG", requires = "positive")]
    plot: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// False accepts an hour.
#[derive(Clone, Copy, Debug)]
struct Rate(f64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix("/h").unwrap_or(text).parse::<f64>().ok();
        let number = number.filter(|number| *number > 0.0 && number.is_finite());
        number
            .map(Self)
            .ok_or_else(|| "give false accepts an hour, as 0.1/h".into())
    }
}

/// What the recordings say of one label.
struct Found<'m> {
    label: &'m str,
    number: usize,
    curve: Curve,
    /// Chosen for the rate; the present one without a rate.
    threshold_q15: u16,
    extrapolated: bool,
}

impl Tune {
    pub fn run(&self) -> CommandResult {
        if self.threshold.is_empty() && self.negative.is_none() {
            let reason = "give thresholds, or recordings with --negative and --rate";
            return Err(FlagError::new("--threshold", reason).into());
        }
        let file = ModelFile::load(&self.model)?;
        let model = file.model();
        // Without another name the model's own file is the one to be replaced.
        let target = self.output.as_ref().unwrap_or(&self.model);
        super::check_output(target, self.output.iter().map(|_| &self.model))?;
        if let Some(plot) = &self.plot {
            super::check_output(plot, [&self.model])?;
        }
        let labels: Vec<&str> = model.labels().collect();
        let present: Vec<u16> = thresholds::of(model).map(|(_, value)| value).collect();
        let mut chosen =
            changed(&self.threshold, &labels, &present).map_err(FlagError::of("--threshold"))?;
        let writes = !self.threshold.is_empty() || self.rate.is_some();
        if writes {
            // What cannot be changed is refused before hours of recordings are heard.
            with_thresholds(&file, &chosen)?;
        }
        let found = match &self.negative {
            Some(negative) => self.listen(model, &chosen, negative)?,
            None => Vec::new(),
        };
        for found in &found {
            chosen[found.number] = found.threshold_q15;
        }
        if let Some(plot) = &self.plot {
            let curves = found
                .iter()
                .map(|found| (found.label, &found.curve, found.threshold_q15));
            plot::misses(plot, &curves.collect::<Vec<_>>())?;
        }
        if writes {
            let tuned = with_thresholds(&file, &chosen)?;
            files::write_bytes(target, tuned.bytes())?;
        }
        if self.json {
            say!("{:#}", self.to_json(&labels, &present, &chosen, &found));
        } else {
            self.print(&labels, &present, &chosen, &found);
        }
        Ok(())
    }

    /// Plays all recordings to the spotter with these thresholds.
    fn listen<'m>(
        &self,
        model: Model<'m>,
        thresholds_q15: &[u16],
        negative: &Path,
    ) -> Result<Vec<Found<'m>>, Box<dyn std::error::Error>> {
        let mut arena = AlignedBytes::zeroed(model.arena_len());
        let mut spotter = KeywordSpotter::new(model, arena.as_mut_slice())?;
        for (label, &threshold) in thresholds_q15.iter().enumerate() {
            spotter.set_threshold(label, threshold)?;
        }
        let labels = model.labels().enumerate().zip(thresholds_q15);
        let reported = labels.filter(|(_, threshold)| is_reported(**threshold));
        let mut found: Vec<Found> = reported
            .map(|((number, label), &threshold_q15)| Found {
                label,
                number,
                curve: Curve::default(),
                threshold_q15,
                extrapolated: false,
            })
            .collect();
        let refractory = model
            .spotter()
            .map_or(0, |(rule, _)| rule.refractory_hops as usize);
        if let Some(positive) = &self.positive {
            add_positives(&mut spotter, &mut found, positive)?;
        }
        add_negatives(&mut spotter, &mut found, negative, refractory)?;
        if let Some(Rate(rate)) = self.rate {
            for found in &mut found {
                (found.threshold_q15, found.extrapolated) = found.curve.threshold_for(rate);
            }
        }
        Ok(found)
    }

    fn print(&self, labels: &[&str], present: &[u16], chosen: &[u16], found: &[Found]) {
        for found in found {
            say!("\n{}", found.heading());
            let mut table = table(&["threshold", "false accepts an hour", "missed"]);
            for point in found.points() {
                table.add_row(found.row(&point));
            }
            say!("{table}");
        }
        let mut table = table(&["label", "threshold", "before"]);
        for ((label, &new), &old) in labels.iter().zip(chosen).zip(present) {
            let before = if new == old {
                String::new()
            } else {
                shown(old)
            };
            table.add_row([label.to_string(), shown(new), before]);
        }
        say!("\n{table}");
        if found.iter().any(|found| found.extrapolated) {
            eprintln!(
                "note: thresholds marked * are extrapolated: the recordings are too short to count what they would falsely report"
            );
        }
    }

    fn to_json(&self, labels: &[&str], present: &[u16], chosen: &[u16], found: &[Found]) -> Value {
        let all = labels.iter().zip(chosen).zip(present);
        let all = all.map(|((label, &new), &old)| {
            json!({"label": label, "threshold": thresholds::number(new), "before": thresholds::number(old)})
        });
        let curves = found.iter().map(|found| {
            let points = found.points();
            let points = points.iter().map(|point| found.point_json(point));
            json!({
                "label": found.label, "hours": found.curve.hours(), "recordings": found.curve.positives(),
                "extrapolated": found.extrapolated, "chosen": found.point_json(&found.chosen()),
                "points": points.collect::<Vec<_>>(),
            })
        });
        json!({"thresholds": all.collect::<Vec<_>>(), "curves": curves.collect::<Vec<_>>()})
    }
}

impl Found<'_> {
    fn chosen(&self) -> Point {
        self.curve.at(self.threshold_q15)
    }

    /// Points for a table: about doubling counts of false accepts, and the chosen threshold among them.
    fn points(&self) -> Vec<Point> {
        let all = self.curve.points(1 << 14);
        let mut points = vec![self.chosen()];
        let mut next = 0;
        for point in all {
            if point.false_accepts >= next {
                next = (point.false_accepts * 2).max(point.false_accepts + 1);
                points.push(point);
            }
        }
        points.sort_by_key(|point| std::cmp::Reverse(point.threshold_q15));
        points.dedup();
        points
    }

    fn heading(&self) -> String {
        let (hours, recordings) = (self.curve.hours(), self.curve.positives());
        match recordings {
            0 => format!("{}: {hours:.2} hours without it", self.label),
            _ => format!(
                "{}: {hours:.2} hours without it, {recordings} recordings of it",
                self.label
            ),
        }
    }

    fn row(&self, point: &Point) -> [String; 3] {
        let mark = match (point.threshold_q15 == self.threshold_q15, self.extrapolated) {
            (true, true) => " *",
            (true, false) => " <",
            _ => "",
        };
        let (hours, (low, high)) = (self.curve.hours(), poisson(point.false_accepts));
        let all = self.curve.positives();
        let missed = match all {
            0 => String::new(),
            _ => {
                let (low, high) = binomial(point.missed, all);
                let share = 100.0 * point.missed as f64 / all as f64;
                format!("{share:.1} % ({:.0} to {:.0})", 100.0 * low, 100.0 * high)
            }
        };
        [
            format!("{}{mark}", shown(point.threshold_q15)),
            format!(
                "{:.2} ({:.2} to {:.2})",
                point.false_accepts as f64 / hours,
                low / hours,
                high / hours
            ),
            missed,
        ]
    }

    fn point_json(&self, point: &Point) -> Value {
        let (hours, (low, high)) = (self.curve.hours(), poisson(point.false_accepts));
        json!({
            "threshold": thresholds::number(point.threshold_q15), "false_accepts": point.false_accepts,
            "an_hour": point.false_accepts as f64 / hours, "interval": [low / hours, high / hours], "missed": point.missed,
        })
    }
}

/// Plays FOLDER/LABEL/* for every label. Between silence: a recording may end with the word.
fn add_positives(
    spotter: &mut KeywordSpotter,
    found: &mut [Found],
    folder: &Path,
) -> CommandResult {
    let mut any = false;
    for found in found {
        let own = folder.join(found.label);
        let files = if own.is_dir() {
            attn_recordings::files(&own)?
        } else {
            Vec::new()
        };
        let bar = bar(found.label.to_owned(), files.len());
        for path in files {
            any = true;
            let silence = vec![0; SAMPLE_RATE as usize];
            let pcm = [&silence[..], &attn_recordings::read(&path)?, &silence[..]].concat();
            found
                .curve
                .add_positive(found.number, &hear(spotter, &pcm)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    match any {
        true => Ok(()),
        false => {
            let reason = format!(
                "{}: no recordings in a folder with the name of a label",
                folder.display()
            );
            Err(FlagError::new("--positive", reason).into())
        }
    }
}

fn add_negatives(
    spotter: &mut KeywordSpotter,
    found: &mut [Found],
    folder: &Path,
    refractory: usize,
) -> CommandResult {
    let files = attn_recordings::files(folder)?;
    if files.is_empty() {
        let reason = format!("{}: no .wav or .flac files", folder.display());
        return Err(FlagError::new("--negative", reason).into());
    }
    let bar = bar("negatives", files.len());
    for path in files {
        let pcm = attn_recordings::read(&path)?;
        let leads = hear(spotter, &pcm)?;
        let hours = pcm.len() as f64 / f64::from(SAMPLE_RATE) / 3600.0;
        for found in found.iter_mut() {
            found
                .curve
                .add_negative(found.number, &leads, refractory, hours);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}
