//! The Zephyr module's CMake code, with Zephyr's functions replaced: no Zephyr is at hand here.

use crate::build::{folder, run};
use std::process::Command;

#[test]
fn the_module_picks_the_target_of_the_chip() {
    let work = tempfile::tempdir().unwrap();
    let lists = folder().join("tests/programs/zephyr.cmake");
    std::fs::copy(lists, work.path().join("CMakeLists.txt")).unwrap();
    for (options, target) in [
        (&["CPU_CORTEX_M0PLUS"][..], "thumbv6m-none-eabi"),
        (&["CPU_CORTEX_M4"], "thumbv7em-none-eabi"),
        (&["CPU_CORTEX_M4", "FP_HARDABI"], "thumbv7em-none-eabihf"),
        (
            &["CPU_CORTEX_M33", "FP_HARDABI"],
            "thumbv8m.main-none-eabihf",
        ),
    ] {
        let mut configure = Command::new("cmake");
        configure
            .arg("-S")
            .arg(work.path())
            .arg("-B")
            .arg(work.path().join(options.join("-")))
            .arg(format!("-DFOLDER={}", folder().display()))
            .args(["-DCMAKE_C_COMPILER=arm-none-eabi-gcc"])
            .args(["-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY"])
            .args(["-DCMAKE_SYSTEM_NAME=Generic", "-DCONFIG_ATTN=y"])
            .args(options.iter().map(|option| format!("-DCONFIG_{option}=y")));
        let said = run(&mut configure);
        let library = format!("/{target}/firmware/libattn.a");
        for part in ["links attn::attn", &library, "models/kws.attn"] {
            assert!(said.contains(part), "no {part} for {options:?}:\n{said}");
        }
    }
}
