//! The packages of `cargo xtask pack`, apart from the repository: what is in them, and the keyword program from one of them on the emulated Cortex-M4.

use crate::build::{file, folder, run};
use attn_lab::demo;
use attn_lab::emulator::{Core, Emulator};
use attn_lab::workspace;
use std::path::Path;
use std::process::Command;

/// Configures and builds a project, and returns what CMake said.
fn built(source: &Path, build: &Path, extra: &[String]) -> String {
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(source).arg("-B").arg(build);
    let said = run(configure.args(extra));
    run(Command::new("cmake").arg("--build").arg(build));
    said
}

/// That a library has the functions of the header.
fn has_functions(library: &Path) {
    let symbols = run(Command::new("arm-none-eabi-nm").arg(library));
    for function in ["attn_spotter_push", "attn_session_run", "attn_greedy_step"] {
        let defined = format!(" T {function}\n");
        assert!(symbols.contains(&defined), "{function} in {library:?}");
    }
}

#[test]
#[ignore = "takes long: builds the library for six targets"]
fn the_packages_are_whole_and_the_keyword_program_of_one_hears_the_demo() {
    let work = tempfile::tempdir().unwrap();
    let packages = work.path().join("packages");
    let mut pack = Command::new(env!("CARGO"));
    pack.current_dir(workspace::root())
        .args(["xtask", "pack", "models/kws.attn", "--folder"])
        .arg(&packages);
    run(&mut pack);
    let [cmake, arduino] = ["attn-c", "attn-arduino"].map(|name| packages.join(name));

    // A folder that is there is not written over.
    let again = pack.output().unwrap();
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(
        !again.status.success() && said.contains("is there: remove it"),
        "{said}"
    );

    let example = cmake.join("examples/keywords");
    let toolchain = example.join("mps2-an386/toolchain.cmake");
    let build = work.path().join("build");
    let said = built(
        &example,
        &build,
        &[format!("--toolchain={}", toolchain.display())],
    );
    assert!(
        !build.join("attn").join("firmware").exists(),
        "cargo was called: {said}"
    );
    let pcm = attn_recordings::read(&workspace::demo_recording()).unwrap();
    let emulator = Emulator::new(Core::M4);
    let played = demo::play(&emulator, &build.join("keywords"), &pcm).unwrap();
    let said = demo::truth(&workspace::demo_truth()).unwrap();
    let comparison = demo::Comparison::new(&said, &played.heard);
    let counts = (comparison.missed(), comparison.falsely_heard());
    assert_eq!(counts, (0, 0), "{}", comparison.table());

    // The Zephyr module takes the library of the package.
    let lists = folder().join("tests/programs/zephyr.cmake");
    let module = work.path().join("module");
    std::fs::create_dir(&module).unwrap();
    std::fs::copy(lists, module.join("CMakeLists.txt")).unwrap();
    let mut configure = Command::new("cmake");
    configure
        .arg("-S")
        .arg(&module)
        .arg("-B")
        .arg(module.join("build"))
        .arg(format!("-DFOLDER={}", cmake.display()))
        .args([
            "-DCMAKE_C_COMPILER=arm-none-eabi-gcc",
            "-DCMAKE_SYSTEM_NAME=Generic",
        ])
        .args([
            "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY",
            "-DCONFIG_ATTN=y",
        ])
        .args(["-DCONFIG_CPU_CORTEX_M4=y", "-DCONFIG_FP_HARDABI=y"]);
    let said = run(&mut configure);
    let library = cmake.join("lib/thumbv7em-none-eabihf/libattn.a");
    assert!(said.contains(&library.display().to_string()), "{said}");

    for target in std::fs::read_dir(cmake.join("lib")).unwrap() {
        has_functions(&target.unwrap().path().join("libattn.a"));
    }
    // The folders in which the Arduino builder looks.
    for core in [
        "cortex-m0plus",
        "cortex-m3",
        "cortex-m4/fpv4-sp-d16-hard",
        "cortex-m33",
    ] {
        has_functions(&arduino.join("src").join(core).join("libattn.a"));
    }
    let properties = std::fs::read_to_string(arduino.join("library.properties")).unwrap();
    for line in [
        "name=attn",
        "version=",
        "precompiled=true",
        "includes=attn.hpp",
    ] {
        assert!(properties.contains(line), "{properties}");
    }
    for part in [
        "src/attn.h",
        "src/attn.hpp",
        "examples/Keyword/Keyword.ino",
        "examples/Keyword/kws.c",
    ] {
        assert!(arduino.join(part).exists(), "{part}");
    }
    let model = std::fs::read(file("models/kws.attn")).unwrap();
    assert_eq!(std::fs::read(example.join("kws.attn")).unwrap(), model);
}
