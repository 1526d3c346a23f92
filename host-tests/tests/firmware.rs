//! Firmware images as they are flashed: what is in them and what is not, and whether the demo is heard.

use attn_lab::elf::Image as Elf;
use attn_lab::images::Image;
use attn_lab::{checks, demo, model, recording, workspace};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

fn kws() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| model::convert().unwrap().path)
}

fn boards() -> [(&'static str, PathBuf); 2] {
    [
        ("qemu_m4", Image::QemuM4(kws()).build().unwrap()),
        ("nano33ble", Image::Nano33Ble(kws()).build().unwrap()),
    ]
}

#[test]
fn every_keyword_of_the_demo_is_heard_and_lights_the_lamp_and_nothing_else_is() {
    let image = Image::QemuM4(kws()).build().unwrap();
    let pcm = recording::read(&workspace::demo_recording()).unwrap();
    let said = demo::truth(&workspace::demo_truth()).unwrap();
    let played = demo::play(&image, &pcm, false).unwrap();
    let comparison = demo::Comparison::new(&said, &played.heard);
    let counts = (comparison.missed(), comparison.falsely_heard());
    assert_eq!(counts, (0, 0), "\n{}", comparison.table());
    assert_eq!(played.lit, said.len(), "the lamp lights for each");
}

#[test]
fn no_board_links_an_allocator() {
    for (board, path) in boards() {
        let image = Elf::read(&path).unwrap();
        assert!(
            image.symbols.len() > 50,
            "{board} has no symbols to look at"
        );
        assert_eq!(checks::allocators(&image), [""; 0], "{board}");
    }
}

#[test]
fn the_dsp_kernels_are_in_every_board() {
    for (board, path) in boards() {
        let count = checks::count_smlad(&Elf::read(&path).unwrap().code);
        assert!(count >= 8, "{board} has {count} SMLAD");
    }
}

#[test]
fn the_nano_33_ble_sense_has_room() {
    let path = Image::Nano33Ble(kws()).build().unwrap();
    let sizes = Elf::read(&path).unwrap().sizes;
    let flash = sizes.code + sizes.constants;
    assert!(flash <= checks::NANO33BLE_FLASH, "{flash} bytes of flash");
    // Half of the RAM is left to the stack and to whatever else the application will do.
    assert!(
        sizes.variables <= checks::NANO33BLE_RAM / 2,
        "{} bytes of RAM",
        sizes.variables
    );
}

#[test]
fn the_runtime_links_without_a_panic() {
    let path = Image::Panics(kws()).build().unwrap();
    let image = Elf::read(&path).unwrap();
    assert!(
        image
            .symbols
            .iter()
            .any(|s| s.name.contains("attn_runtime"))
    );
    assert_eq!(image.panics(), [""; 0]);
}
