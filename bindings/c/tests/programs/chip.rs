//! On the emulated Cortex-M4: the keyword program, built as a newcomer builds it.

use crate::build::{folder, run, target_folder};
use attn_lab::aligned::AlignedBytes;
use attn_lab::demo::{self, Comparison, Word};
use attn_lab::elf::Image as Elf;
use attn_lab::emulator::{Core, Emulator};
use attn_lab::images::Image;
use attn_lab::model::Shipped;
use attn_lab::{checks, workspace};
use attn_runtime::Model;
use attn_runtime::kws::KeywordSpotter;
use std::path::PathBuf;
use std::process::Command;

/// Bytes of flash that the program may have beside its model.
const MOST_FLASH: u64 = 70_000;

/// Builds the program with GCC for ARM and returns the image.
fn image() -> PathBuf {
    let example = folder().join("examples/keywords");
    let build = workspace::build_folder().unwrap().join("c-keywords");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(&example).arg("-B").arg(&build);
    configure
        .arg("--toolchain")
        .arg(example.join("mps2-an386/toolchain.cmake"))
        // What cargo has built already is not built again.
        .arg(format!("-DATTN_BUILD={}", target_folder().display()));
    run(&mut configure);
    run(Command::new("cmake").arg("--build").arg(&build));
    build.join("keywords")
}

/// What the runtime hears on this computer.
fn heard_here(pcm: &[i16]) -> Vec<Word> {
    let file = AlignedBytes::read(&Shipped::Keywords.path()).unwrap();
    let model = Model::parse(file.as_slice()).unwrap();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut spotter = KeywordSpotter::new(model, arena.as_mut_slice()).unwrap();
    let mut heard = Vec::new();
    let note = |event: attn_runtime::kws::Event| {
        heard.push(Word {
            time_ms: event.time_ms(),
            label: event.label.to_owned(),
            percent: u32::from(event.confidence_q15) * 100 / 32767,
        });
    };
    spotter.push(pcm, note).unwrap();
    heard
}

#[test]
fn the_c_program_hears_what_the_rust_firmware_and_this_computer_hear() {
    let pcm = attn_recordings::read(&workspace::demo_recording()).unwrap();
    let c = image();
    let rust = Image::keyword(&Shipped::Keywords.path()).build().unwrap();
    let [in_c, in_rust] =
        [&c, &rust].map(|image| demo::play(&Emulator::new(Core::M4), image, &pcm).unwrap());
    assert_eq!(in_c.heard, in_rust.heard);
    assert_eq!(in_c.heard, heard_here(&pcm));
    let said = demo::truth(&workspace::demo_truth()).unwrap();
    let comparison = Comparison::new(&said, &in_c.heard);
    let counts = (comparison.missed(), comparison.falsely_heard());
    assert_eq!(counts, (0, 0), "{}", comparison.table());

    // Not one function of the library, whether the program calls it or not.
    let library = target_folder()
        .join(Core::M4.target())
        .join("firmware/libattn.a");
    let symbols = run(Command::new("arm-none-eabi-nm").arg(library));
    assert!(symbols.contains("attn_beam_decode"), "{symbols}");
    assert!(!symbols.contains("panicking"), "{symbols}");

    let [c, rust] = [c, rust].map(|image| Elf::read(&image).unwrap());
    assert_eq!(c.panics(), [""; 0]);
    assert_eq!(checks::allocators(&c), [""; 0]);
    assert!(checks::count_smlad(&c.code) >= 8, "the DSP kernels");
    let model = std::fs::metadata(Shipped::Keywords.path()).unwrap().len();
    let [c, rust] = [c, rust].map(|image| {
        let sizes = image.sizes;
        [sizes.code, sizes.constants - model, sizes.variables]
    });
    println!("code, constants without the model, variables: {c:?} in C, {rust:?} in Rust");
    println!("stack: {} in C, {} in Rust", in_c.stack, in_rust.stack);
    assert!(c[0] + c[1] < MOST_FLASH, "{c:?}");
}
