//! The Arduino sketch, compiled as C++ against a stand-in for an Arduino core: no board's core is at hand here.

use crate::build::{folder, keyword_library, model_source, run};
use attn_lab::{demo, workspace};
use std::process::Command;

#[test]
fn the_sketch_hears_the_demo() {
    let work = tempfile::tempdir().unwrap();
    model_source("models/kws.attn", "kws", work.path());
    let core = folder().join("tests/programs/arduino");
    let sketch = work.path().join("sketch");
    let mut compile = Command::new("g++");
    compile
        .args(["-std=gnu++17", "-Wall", "-Wextra", "-Werror", "-O1"])
        .arg("-I")
        .arg(&core)
        .arg("-I")
        .arg(folder().join("include"))
        .arg("-I")
        .arg(work.path())
        // As the Arduino builder does.
        .args(["-include", "Arduino.h", "-x", "c++"])
        .arg(folder().join("arduino/examples/Keyword/Keyword.ino"))
        .arg(work.path().join("kws.c"))
        .arg(core.join("main.cpp"))
        .args(["-x", "none"])
        .arg(keyword_library())
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&sketch);
    run(&mut compile);
    let printed = run(Command::new(sketch).arg(workspace::demo_recording()));
    let said = demo::truth(&workspace::demo_truth()).unwrap();
    let said: Vec<&str> = said.iter().map(|word| word.label.as_str()).collect();
    let heard: Vec<&str> = printed
        .lines()
        .filter_map(|line| Some(line.split_once(" ms: ")?.1))
        .collect();
    assert_eq!(heard, said, "{printed}");
}
