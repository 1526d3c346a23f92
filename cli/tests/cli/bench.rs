//! `attn bench`: the figures of the emulator, what stands in their place where it cannot run, and every mistake.

use crate::{attn, converting, done, refused, refused_in};
use attn_test_support::folder::{CALIBRATION, Folder, ONNX, TINY};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../");

/// A committed model.
fn shipped(name: &str) -> String {
    format!("{ROOT}models/{name}")
}

fn figures(arguments: &[&str]) -> Value {
    serde_json::from_str(&done(&[&["bench"], arguments, &["--json"]].concat())).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

fn sum(list: &Value, key: &str) -> u64 {
    let list = list.as_array().unwrap().iter();
    list.map(|item| number(&item[key])).sum()
}

#[test]
fn every_operator_of_a_file_is_counted() {
    let path = shipped("kws.attn");
    let found = figures(&[&path, "--by", "function"]);
    let inspected: Value = serde_json::from_str(&done(&["inspect", &path, "--json"])).unwrap();
    let entry = &found["entries"][0];
    let kinds = |list: &Value, key: &str| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|op| op[key].as_str().unwrap().into()).collect()
    };
    assert_eq!(
        kinds(&entry["operators"], "operator"),
        kinds(&inspected["entries"][0]["operators"], "kind")
    );
    // A run is its operators, and little else.
    for key in ["instructions", "cycles"] {
        let (whole, parts) = (number(&entry[key]), sum(&entry["operators"], key));
        assert!(whole.abs_diff(parts) * 50 < whole, "{key}: {whole} {parts}");
        let functions = sum(&entry["functions"], key);
        assert!(
            whole.abs_diff(functions) * 100 < whole,
            "{whole} {functions}"
        );
    }
    assert_eq!(entry["macs"], sum(&entry["operators"], "macs"));
    let gru = |op: &&Value| op["operator"] == "Gru";
    let gru = entry["operators"].as_array().unwrap().iter().find(gru);
    let rate = gru.unwrap()["macs_per_cycle"].as_f64().unwrap();
    assert!((0.1..1.5).contains(&rate), "{rate}");
    assert_eq!(found["ram"]["arena"], inspected["arena"]);
    let code = number(&found["flash"]["code"]);
    assert!((20_000..60_000).contains(&code), "{code}");
    assert!(number(&entry["arena_in_use"]) <= number(&found["ram"]["arena"]));
}

#[test]
fn every_entry_point_is_shown_with_its_time() {
    let text = done(&["bench", &shipped("g2p.attn"), "--clock", "120MHz"]);
    for part in [
        "entry point encode",
        "entry point step",
        "AdditiveAttention",
        "MAC/cycle",
        "ms at 120 MHz (silicon",
        "the smallest program around it",
        "costs of a Cortex-M4, memory that never waits",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[test]
fn wait_states_take_cycles_and_no_instructions() {
    let model = shipped("kws.attn");
    let [none, wide, narrow] = [
        figures(&[&model]),
        figures(&[&model, "--wait-states", "4"]),
        figures(&[&model, "--wait-states", "4", "--flash-width", "32"]),
    ]
    .map(|found| {
        let entry = &found["entries"][0];
        [number(&entry["instructions"]), number(&entry["cycles"])]
    });
    assert!(none[0] == wide[0] && none[0] == narrow[0]);
    assert!(none[1] * 3 < wide[1] * 2, "{none:?} {wide:?}");
    assert!(wide[1] * 3 < narrow[1] * 2, "{wide:?} {narrow:?}");
}

#[test]
fn cores_without_dsp_instructions_take_more_of_them() {
    // Rows long enough for kernels to count.
    let model = shipped("kws.attn");
    let instructions = |core| {
        let found = figures(&[&model, "--core", core]);
        number(&found["entries"][0]["instructions"])
    };
    let [m0, m3, m4, m7, m33] = ["m0", "m3", "m4", "m7", "m33"].map(instructions);
    assert_eq!(m4, m7);
    assert!(m0 > m3 && m3 > m4, "{m0} {m3} {m4}");
    assert!(m33.abs_diff(m4) * 10 < m4, "{m33} {m4}");
}

#[test]
fn an_onnx_model_is_converted_for_the_moment() {
    let folder = Folder::new();
    let output = folder.path("out.attn");
    done(&converting(&output));
    let onnx = &[ONNX, "--calibrate", CALIBRATION, "--no-mixed"][..];
    let [converted, file] = [figures(onnx), figures(&[&output])];
    assert_eq!(converted, file);
    let noisy = attn(&["bench", ONNX, "--no-mixed", "--json"]);
    assert!(noisy.status.success());
    let said = String::from_utf8_lossy(&noisy.stderr).into_owned();
    assert!(said.contains("calibrated with noise"), "{said}");
    let noisy: Value = serde_json::from_slice(&noisy.stdout).unwrap();
    assert_eq!(noisy["entries"][0]["macs"], file["entries"][0]["macs"]);
}

/// The figures that need no emulator.
#[test]
fn without_the_emulator_cycles_are_estimated_and_what_is_missing_is_said() {
    let empty = Folder::new();
    let run = |arguments: &[&str]| {
        let mut attn = Command::new(env!("CARGO_BIN_EXE_attn"));
        attn.arg("bench")
            .args(arguments)
            .env("PATH", empty.path(""));
        attn.env_remove("CARGO").output().unwrap()
    };
    let model = shipped("kws.attn");
    let output = run(&[&model]);
    let [text, said] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("cargo does not run: install Rust"), "{said}");
    assert!(text.contains("Cycles are estimated from shapes"), "{text}");
    assert!(
        text.contains("silicon") && !text.contains("instructions,"),
        "{text}"
    );
    let output = run(&[&model, "--by", "function"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("--by: needs the emulator"),
        "{said}"
    );
}

#[test]
fn what_a_core_cannot_do_is_said_before_anything_is_built() {
    let folder = Folder::new();
    let half = folder.path("half.attn");
    done(&[
        "convert",
        ONNX,
        "--calibrate",
        CALIBRATION,
        "--dtype",
        "fp16",
        "-o",
        &half,
    ]);
    for core in ["m0", "m3"] {
        let parts = [
            "half.attn",
            "no floating-point unit",
            "--dtype int8",
            "--core",
        ];
        refused(&["bench", &half, "--core", core], &parts);
    }
    // 512 KB of memory for code and model.
    let parts = ["g2p.attn", "Cortex-M55", "524288 bytes of flash", "--core"];
    refused(&["bench", &shipped("g2p.attn"), "--core", "m55"], &parts);
    let mut file = std::fs::read(TINY).unwrap();
    file[16..20].copy_from_slice(&(8u32 << 20).to_le_bytes());
    let sum = attn_runtime::format::checksum(&file);
    file[12..16].copy_from_slice(&sum.to_le_bytes());
    let wide = folder.write("wide.attn", &file);
    let parts = ["wide.attn", "4194304 bytes of RAM", "the model needs 84"];
    refused(&["bench", &wide], &parts);
}

#[test]
fn mistakes_are_named() {
    let folder = Folder::new();
    let cases: [(&[&str], &[&str]); 8] = [
        (&[TINY, "--core", "m99"], &["m99", "m4", "m33"]),
        (&[TINY, "--clock", "fast"], &["--clock", "1kHz"]),
        (&[TINY, "--wait-states", "1000"], &["--wait-states", "64"]),
        (&[TINY, "--stream"], &["--stream", "converted already"]),
        (
            &[TINY, "--dtype", "fp16"],
            &["--dtype", "converted already"],
        ),
        (
            &[ONNX, "--max-length", "9"],
            &["--max-length", "--calibrate"],
        ),
        (&["missing.attn"], &["missing.attn"]),
        (&["missing.onnx"], &["missing.onnx"]),
    ];
    for (arguments, parts) in cases {
        refused(&[&["bench"], arguments].concat(), parts);
    }
    let text = folder.write("model.attn", b"not a model");
    refused_in(&folder, &["bench", &text], &["model.attn"]);
    let page = folder.path("none/page.html");
    refused_in(
        &folder,
        &["bench", TINY, "--report", &page],
        &["page.html", "no such folder"],
    );
    let same = folder.write("tiny.attn", &std::fs::read(TINY).unwrap());
    refused_in(
        &folder,
        &["bench", &same, "--report", &same],
        &["replace an input"],
    );
}

/// A page on the keyword spotter with names that would leave their place.
pub fn hostile_page(folder: &Folder) -> String {
    let name = "</text><script>document.title='caught'</script>\u{1b}[31m\"&";
    let onnx = folder.onnx("<b>bold.onnx", |graph| {
        for (number, node) in graph.node.iter_mut().enumerate() {
            node.name = format!("{name}{number}");
        }
        let output = graph.output[0].name.clone();
        graph.output[0].name = format!("{name}{output}");
        for node in &mut graph.node {
            for written in node.output.iter_mut().filter(|written| **written == output) {
                *written = format!("{name}{output}");
            }
        }
    });
    let page = folder.path("page.html");
    let data = ["--calibrate", CALIBRATION, "--report", &page];
    done(&[&["bench", &onnx], &data[..]].concat());
    std::fs::read_to_string(page).unwrap()
}

#[test]
fn the_page_is_whole_and_names_are_text_in_it() {
    let folder = Folder::new();
    let page = hostile_page(&folder);
    assert!(!page.contains("<script") && !page.contains('\u{1b}') && !page.contains("<b>"));
    for part in [
        "&lt;script&gt;",
        "Memory over time",
        "SQNR of each value",
        "Where precision went",
        "prefers-color-scheme:dark",
    ] {
        assert!(page.contains(part), "`{part}` is not in the page");
    }
    let elsewhere = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for reference in ["http:", "https:", "url(", "@import", "src=", "href="] {
        assert!(!elsewhere.contains(reference), "{reference}");
    }
    assert!(!Path::new(&folder.path("out.attn")).exists());
}
