//! The snippets of `docs/guide/c.md`: each compiles, and the project of its first two runs, with a library that is already built.

use crate::build::{file, folder, library, model_source, run};
use attn_lab::aligned::AlignedBytes;
use attn_lab::workspace;
use attn_runtime::Model;
use attn_runtime::seq2seq::Beam;
use std::process::Command;

/// The code blocks of a language.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let start = format!("```{language}\n");
    let behind = page.split(&start).skip(1);
    behind
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

fn page() -> String {
    std::fs::read_to_string(file("docs/guide/c.md")).unwrap()
}

#[test]
fn every_snippet_compiles() {
    let work = tempfile::tempdir().unwrap();
    model_source("models/kws.attn", "tiny", work.path());
    let page = page();
    let mut compiled = 0;
    for (language, compiler, standard) in [("c", "gcc", "-std=c99"), ("cpp", "g++", "-std=c++17")] {
        for block in blocks(&page, language) {
            let source = work.path().join(format!("block.{language}"));
            std::fs::write(&source, block).unwrap();
            let mut command = Command::new(compiler);
            command
                .arg(standard)
                .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"])
                .arg("-I")
                .arg(folder().join("include"))
                .arg("-I")
                .arg(work.path())
                .arg(&source);
            run(&mut command);
            compiled += 1;
        }
    }
    assert_eq!(compiled, 4, "snippets");
}

#[test]
fn the_project_of_the_guide_builds_with_a_prebuilt_library_and_runs() {
    let work = tempfile::tempdir().unwrap();
    let page = page();
    std::fs::write(
        work.path().join("CMakeLists.txt"),
        blocks(&page, "cmake")[0],
    )
    .unwrap();
    std::fs::write(work.path().join("motion.c"), blocks(&page, "c")[0]).unwrap();
    let build = work.path().join("build");
    let mut configure = Command::new("cmake");
    configure
        .arg("-S")
        .arg(work.path())
        .arg("-B")
        .arg(&build)
        .arg(format!("-DATTN={}", workspace::root().display()))
        .arg(format!(
            "-DMODEL={}",
            file("runtime/tests/tiny.attn").display()
        ))
        .arg(format!("-DATTN_LIBRARY={}", library().display()));
    run(&mut configure);
    run(Command::new("cmake").arg("--build").arg(&build));
    let printed = run(&mut Command::new(build.join("motion")));
    let logits: Vec<f32> = printed.lines().map(|line| line.parse().unwrap()).collect();
    assert!(!logits.is_empty());
    assert!(logits.iter().any(|x| *x != 0.0), "{logits:?}");
}

#[test]
fn the_constants_of_a_model_are_what_the_runtime_says() {
    let work = tempfile::tempdir().unwrap();
    let path = "models/g2p.attn";
    model_source(path, "g2p", work.path());
    let source = work.path().join("sizes.c");
    let text = "#include \"g2p.h\"\n#include <stdio.h>\nint main(void) {\n    \
        printf(\"%u %u %u\", G2P_LEN, G2P_ARENA_LEN, G2P_BEAM_LEN(3u));\n    return 0;\n}\n";
    std::fs::write(&source, text).unwrap();
    let program = work.path().join("sizes");
    let mut compile = Command::new("gcc");
    compile
        .args(["-Wall", "-Wextra", "-Werror", "-I"])
        .arg(folder().join("include"))
        .arg(&source)
        .arg("-o")
        .arg(&program);
    run(&mut compile);
    let bytes = AlignedBytes::read(&file(path)).unwrap();
    let model = Model::parse(bytes.as_slice()).unwrap();
    let beam = Beam::<3>::memory_len(&model, 3).unwrap();
    let expected = format!("{} {} {beam}", bytes.as_slice().len(), model.arena_len());
    assert_eq!(run(&mut Command::new(program)), expected);
}
