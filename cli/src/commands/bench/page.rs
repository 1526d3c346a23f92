//! The figures as one HTML page: tables, plots, style, and nothing that is fetched from anywhere.

use super::Subject;
use super::figures::{Entry, Figures, Row};
use super::svg::{Bar, Block, bars, escaped, map};
use super::text::{HEADING, cells, function_cells};
use attn_converter::compare::Comparison;
use attn_converter::pipeline::Conversion;
use attn_lab::cost::group;
use std::fmt::Write;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c1c1e;--back:#fff;--quiet:#6b6b70;--rule:#d9d9de;--a:#2f6db5;--b:#c2671a;--c:#3d8a4f;--d:#8a4fa3;--e:#b9bcc4}\
@media(prefers-color-scheme:dark){:root{--ink:#e8e8ea;--back:#17181b;--quiet:#9a9aa2;--rule:#3a3b40;--a:#6ea4e0;--b:#e39a55;--c:#74bd86;--d:#bd8ad4;--e:#565962}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:62rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.2rem;border-top:1px solid var(--rule);padding-top:1rem}h3{font-size:1rem;margin-top:1.6rem}\
table{border-collapse:collapse;width:100%;font-size:.85rem;margin-bottom:1.2rem}th,td{text-align:right;padding:.15rem .5rem;border-bottom:1px solid var(--rule)}\
th:first-child,td:first-child,.two th:nth-child(2),.two td:nth-child(2){text-align:left;overflow-wrap:anywhere}\
.scroll{overflow-x:auto}p.note{color:var(--quiet)}svg{width:100%;height:auto;display:block}\
svg text{font-size:12px;fill:var(--ink)}svg .label{text-anchor:end}svg rect{stroke:var(--back);stroke-width:.5}\
.int8{fill:var(--a)}.int16{fill:var(--b)}.float16{fill:var(--c)}.int32{fill:var(--d)}.state{fill:var(--e)}\
.line{fill:none;stroke:var(--ink);stroke-width:1.5}.key span{display:inline-block;width:.8rem;height:.8rem;margin:0 .3rem 0 1rem}\
.key .int8{background:var(--a)}.key .int16{background:var(--b)}.key .float16{background:var(--c)}.key .int32{background:var(--d)}.key .state{background:var(--e)}";

/// The page.
pub fn page(subject: &Subject, figures: &Figures) -> String {
    let name = escaped(&subject.name);
    let core = figures.setting.core.name();
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{name} on a {core}</title><style>{STYLE}</style></head><body>\n<h1>{name} on a {core}</h1>\n"
    );
    page.push_str(&summary(figures));
    for entry in &figures.entries {
        page.push_str(&of_entry(figures, entry));
    }
    if let Some(comparison) = &subject.comparison {
        page.push_str(&quality(comparison));
    }
    if let Some(conversion) = &subject.conversion {
        page.push_str(&precision(conversion));
    }
    page.push_str("</body></html>\n");
    page
}

fn summary(figures: &Figures) -> String {
    let memory = &figures.memory;
    let mut rows = vec![
        ["flash: model".to_owned(), group(memory.model)],
        ["of which weights".into(), group(memory.weights)],
    ];
    if let Some([code, tables]) = memory.code {
        rows.push(["flash: code of the smallest program".into(), group(code)]);
        rows.push(["flash: its tables".into(), group(tables)]);
    }
    rows.push(["RAM: arena".into(), group(memory.arena)]);
    rows.push(["of which state".into(), group(memory.state)]);
    if let Some(stack) = memory.stack {
        rows.push(["RAM: stack".into(), group(stack)]);
    }
    let runs = figures.entries.iter().map(|entry| {
        let [least, most] = figures
            .spread(entry.cycles)
            .map(|c| figures.milliseconds(c));
        [
            entry.name.clone(),
            group(entry.macs()),
            entry.instructions.map_or_else(String::new, group),
            group(entry.cycles),
            format!("{:.2}", figures.milliseconds(entry.cycles)),
            format!("{least:.2} to {most:.2}"),
        ]
    });
    let clock = format!("ms at {} MHz", figures.setting.clock / 1e6);
    let heading = [
        "entry point",
        "MACs",
        "instructions",
        "cycles",
        &clock,
        "ms, silicon",
    ];
    format!(
        "{}{}<p class=\"note\">{} Silicon takes {:.1} to {:.1} times as many.</p>\n",
        table("one", &["memory", "bytes"], rows),
        table("one", &heading, runs),
        escaped(&figures.source()),
        figures.spread(1000)[0] as f64 / 1000.0,
        figures.spread(1000)[1] as f64 / 1000.0,
    )
}

fn of_entry(figures: &Figures, entry: &Entry) -> String {
    let name = escaped(&entry.name);
    let mut part = format!("<h2>{name}</h2>\n<h3>Cycles of each operator</h3>\n");
    part.push_str(&types(&entry.rows));
    let bar = |row: &Row| Bar {
        label: format!("{} {}", row.operator.kind, row.operator.name),
        value: row.cycles as f64,
        shown: format!("{} ({:.1} %)", group(row.cycles), 100.0 * entry.share(row)),
        class: class(row.dtype),
    };
    let cycles: Vec<Bar> = entry.rows.iter().map(bar).collect();
    part.push_str(&bars("Cycles of each operator", &cycles));
    part.push_str("<h3>Memory over time</h3>\n");
    let _ = writeln!(
        part,
        "<p class=\"note\">The arena of {} bytes: what it holds at each operator, by address. The line is how many bytes are in use, at most {}. \
         <span class=\"key\"><span class=\"state\"></span>state, <span class=\"int8\"></span>tensors of a run</span></p>",
        group(figures.memory.arena),
        group(entry.peak()),
    );
    let blocks = entry.spans.iter().map(|span| Block {
        label: match span.tensor.is_empty() {
            true => "state".into(),
            false => span.tensor.clone(),
        },
        bytes: span.bytes.clone(),
        steps: span.operators,
        class: if span.tensor.is_empty() {
            "state"
        } else {
            "int8"
        },
    });
    let blocks: Vec<Block> = blocks.collect();
    let live: Vec<u64> = entry.rows.iter().map(|row| row.operator.live).collect();
    part.push_str(&map(
        "Memory over time",
        figures.memory.arena,
        &live,
        &blocks,
    ));
    part.push_str("<h3>Operators</h3>\n");
    let rows = entry.rows.iter().map(|row| cells(entry, row));
    part.push_str(&table("two", &HEADING, rows));
    if !entry.functions.is_empty() {
        part.push_str("<h3>Functions</h3>\n");
        let heading = ["function", "instructions", "cycles", "share"];
        part.push_str(&table("one", &heading, function_cells(entry)));
    }
    part
}

/// What the colours of bars mean: types of the operators' results.
fn types(rows: &[Row]) -> String {
    let mut there: Vec<&str> = rows.iter().map(|row| row.dtype).collect();
    there.sort_unstable();
    there.dedup();
    let keys = there
        .iter()
        .map(|name| format!("<span class=\"{}\"></span>{name}", class(name)));
    format!(
        "<p class=\"note key\">Result in {}</p>\n",
        keys.collect::<String>()
    )
}

fn class(dtype: &str) -> &'static str {
    match dtype {
        "int8" => "int8",
        "int16" => "int16",
        "float16" => "float16",
        _ => "int32",
    }
}

/// SQNR of each value.
fn quality(comparison: &Comparison) -> String {
    let bar = |layer: &attn_converter::compare::Layer| Bar {
        label: format!("{} {}", layer.op, layer.name),
        value: layer.sqnr.db(),
        shown: format!("{:.1} dB", layer.sqnr.db()),
        class: class(layer.dtype.name()),
    };
    let layers: Vec<Bar> = comparison.layers.iter().map(bar).collect();
    format!(
        "<h2>Precision</h2>\n<h3>SQNR of each value against float</h3>\n\
         <p class=\"note\">Over {} samples of the calibration data. 40 dB is a difference of 1 %, 25 dB of 6 %. Outputs: {:.1} dB.</p>\n{}",
        comparison.samples,
        comparison.outputs.db(),
        bars("SQNR of each value", &layers),
    )
}

/// Where precision went.
fn precision(conversion: &Conversion) -> String {
    let chosen = [
        ("int16", &conversion.widened),
        ("weights of 16 bits, in two parts", &conversion.two_parts),
    ];
    let rows = chosen.iter().flat_map(|(what, parts)| {
        let parts = parts.iter().zip(&conversion.graphs);
        parts.flat_map(move |(values, graph)| {
            values.iter().map(move |value| {
                let name = graph.values[value.value.0].name.clone();
                [name, (*what).into(), format!("{:+.1}", value.gain_db)]
            })
        })
    });
    let rows: Vec<_> = rows.collect();
    let heading = "<h3>Where precision went</h3>\n";
    if rows.is_empty() {
        return format!("{heading}<p>No value has more bits than the others by measurement.</p>\n");
    }
    format!(
        "{heading}{}",
        table(
            "one",
            &["value", "held in", "gain at the outputs, dB"],
            rows
        )
    )
}

fn table<const N: usize>(
    class: &str,
    heading: &[&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = format!("<div class=\"scroll\"><table class=\"{class}\"><tr>");
    for name in heading {
        let _ = write!(table, "<th>{}</th>", escaped(name));
    }
    table.push_str("</tr>\n");
    for row in rows {
        table.push_str("<tr>");
        for cell in row {
            let _ = write!(table, "<td>{}</td>", escaped(&cell));
        }
        table.push_str("</tr>\n");
    }
    table.push_str("</table></div>\n");
    table
}
