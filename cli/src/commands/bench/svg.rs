//! Plots as SVG inside a page. Colours are classes of the page's style, so that they follow the reader's light or dark.

use std::fmt::Write;
use std::ops::Range;

/// Height of a bar with its gap.
const BAR: f64 = 20.0;
/// Width of a plot, and what its labels take of it.
const WIDTH: f64 = 960.0;
const LABELS: f64 = 330.0;
const VALUES: f64 = 150.0;
/// Characters of a label.
const LONGEST: usize = 46;
/// Height of a map.
const MAP: f64 = 320.0;

/// Text that is safe inside an element or a quoted attribute.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in crate::shown::shown(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A horizontal bar.
pub struct Bar {
    /// What it is of.
    pub label: String,
    /// Its length; not below 0.
    pub value: f64,
    /// The value in words.
    pub shown: String,
    /// Class of its colour.
    pub class: &'static str,
}

/// Bars from 0 to the greatest value, one below the other.
pub fn bars(title: &str, bars: &[Bar]) -> String {
    let values = bars
        .iter()
        .map(|bar| bar.value)
        .filter(|value| value.is_finite());
    let most = values.fold(f64::MIN_POSITIVE, f64::max);
    let height = BAR * bars.len() as f64 + 4.0;
    let mut svg = start(title, height);
    for (number, bar) in bars.iter().enumerate() {
        let y = BAR * number as f64;
        let value = if bar.value.is_finite() {
            bar.value.max(0.0)
        } else {
            most
        };
        let width = (WIDTH - LABELS - VALUES) * value / most;
        let (label, shown) = (escaped(&shortened(&bar.label)), escaped(&bar.shown));
        let (middle, class, before) = (y + 14.0, bar.class, LABELS - 8.0);
        let _ = write!(
            svg,
            "<g><title>{}: {shown}</title>\
             <text class=\"label\" x=\"{before}\" y=\"{middle:.0}\">{label}</text>\
             <rect class=\"{class}\" x=\"{LABELS}\" y=\"{:.0}\" width=\"{width:.1}\" height=\"14\"/>\
             <text class=\"value\" x=\"{:.1}\" y=\"{middle:.0}\">{shown}</text></g>",
            escaped(&bar.label),
            y + 3.0,
            LABELS + width + 6.0,
        );
    }
    svg.push_str("</svg>");
    svg
}

/// A part of memory in use for a while.
pub struct Block {
    /// What it holds.
    pub label: String,
    /// Its addresses.
    pub bytes: Range<u64>,
    /// First and last step.
    pub steps: [usize; 2],
    /// Class of its colour.
    pub class: &'static str,
}

/// Memory over time: addresses upwards, steps to the right, and a line for how much is in use.
pub fn map(title: &str, size: u64, live: &[u64], blocks: &[Block]) -> String {
    let left = 70.0;
    let step = (WIDTH - left - 10.0) / live.len().max(1) as f64;
    let scale = (MAP - 20.0) / size.max(1) as f64;
    let y = |bytes: u64| MAP - 4.0 - bytes as f64 * scale;
    let x = |at: usize| left + at as f64 * step;
    let mut svg = start(title, MAP + 24.0);
    for block in blocks.iter().filter(|block| !block.bytes.is_empty()) {
        let Range { start, end } = block.bytes;
        let [first, last] = block.steps;
        let _ = write!(
            svg,
            "<rect class=\"{}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
             <title>{}, bytes {start} to {end}</title></rect>",
            block.class,
            x(first),
            y(end),
            x(last + 1) - x(first),
            y(start) - y(end),
            escaped(&block.label),
        );
    }
    let mut line = String::new();
    for (at, &bytes) in live.iter().enumerate() {
        let _ = write!(
            line,
            "{:.1},{:.1} {:.1},{:.1} ",
            x(at),
            y(bytes),
            x(at + 1),
            y(bytes)
        );
    }
    let _ = write!(
        svg,
        "<polyline class=\"line\" points=\"{}\"/>",
        line.trim_end()
    );
    for bytes in [0, size / 2, size] {
        let _ = write!(
            svg,
            "<text class=\"label\" x=\"{}\" y=\"{:.1}\">{bytes}</text>",
            left - 8.0,
            y(bytes) + 4.0
        );
    }
    let _ = write!(
        svg,
        "<text class=\"value\" x=\"{left}\" y=\"{}\">first operator</text>\
         <text class=\"label\" x=\"{}\" y=\"{}\">last operator</text></svg>",
        MAP + 18.0,
        WIDTH - 10.0,
        MAP + 18.0
    );
    svg
}

fn start(title: &str, height: f64) -> String {
    let title = escaped(title);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\" xmlns=\"http://www.w3.org/2000/svg\">"
    )
}

/// A label that fits: its start and its end.
fn shortened(label: &str) -> String {
    let length = label.chars().count();
    if length <= LONGEST {
        return label.to_owned();
    }
    let half = LONGEST / 2;
    let start: String = label.chars().take(half - 1).collect();
    let end: String = label.chars().skip(length - half).collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        let name = "</text><script>alert('1')</script>\u{1b}\"&";
        let bar = Bar {
            label: name.into(),
            value: 1.0,
            shown: "1".into(),
            class: "a",
        };
        let block = Block {
            label: name.into(),
            bytes: 0..4,
            steps: [0, 0],
            class: "a",
        };
        for svg in [bars(name, &[bar]), map(name, 8, &[4], &[block])] {
            assert!(!svg.contains("<script") && !svg.contains('\u{1b}'), "{svg}");
            assert!(svg.contains("&lt;script&gt;"), "{svg}");
        }
    }

    #[test]
    fn a_long_label_keeps_both_ends() {
        let label = format!("start{}end", "-".repeat(100));
        let short = shortened(&label);
        assert_eq!(short.chars().count(), LONGEST);
        assert!(short.starts_with("start") && short.ends_with("end"));
    }

    #[test]
    fn values_without_end_are_drawn() {
        let bar = |value| Bar {
            label: "a".into(),
            value,
            shown: String::new(),
            class: "a",
        };
        let svg = bars("t", &[bar(f64::INFINITY), bar(0.0), bar(-1.0)]);
        assert!(!svg.contains("inf") && !svg.contains("NaN"), "{svg}");
    }
}
