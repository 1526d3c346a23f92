//! Firmware images as they are flashed: what is in them and what is not, and whether the demo is heard.

use attn_lab::boards::{App, BOARDS, Board};
use attn_lab::elf::Image as Elf;
use attn_lab::emulator::{Core, Emulator};
use attn_lab::images::Image;
use attn_lab::model::Shipped;
use attn_lab::{checks, demo, stack, workspace};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Deepest stack of the keyword image on the emulated M4, bytes, exceptions not counted.
const STACK: u64 = 14_644;
/// Samples that are played to measure it: two seconds.
const PLAYED: usize = 32_000;

fn kws() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| Shipped::Keywords.path())
}

/// The keyword image of every board.
fn boards() -> [(Board, Elf); BOARDS.len()] {
    BOARDS.map(|board| {
        let path = Image::App(board, App::Keyword, kws()).build().unwrap();
        (board, Elf::read(&path).unwrap())
    })
}

#[test]
fn every_keyword_of_the_demo_is_heard_and_lights_the_led_and_nothing_else_is() {
    let pcm = attn_recordings::read(&workspace::demo_recording()).unwrap();
    let said = demo::truth(&workspace::demo_truth()).unwrap();
    for core in [Core::M4, Core::M33] {
        let image = Image::App(core.board().unwrap(), App::Keyword, kws())
            .build()
            .unwrap();
        let played = demo::play(&Emulator::new(core), &image, &pcm).unwrap();
        let comparison = demo::Comparison::new(&said, &played.heard);
        let counts = (comparison.missed(), comparison.falsely_heard());
        assert_eq!(counts, (0, 0), "{core:?}\n{}", comparison.table());
        assert_eq!(played.lit, said.len(), "{core:?}: the LED lights for each");
    }
}

#[test]
fn no_board_links_an_allocator() {
    for (board, image) in boards() {
        assert!(
            image.symbols.len() > 50,
            "{board:?} has no symbols to look at"
        );
        assert_eq!(checks::allocators(&image), [""; 0], "{board:?}");
    }
}

#[test]
fn the_dsp_kernels_are_in_every_board() {
    for (board, image) in boards() {
        let count = checks::count_smlad(&image.code);
        assert!(count >= 8, "{board:?} has {count} SMLAD");
    }
}

#[test]
fn every_board_has_room() {
    for (board, image) in boards() {
        let [flash, ram] = board.memory().lengths().unwrap();
        let used = image.sizes.code + image.sizes.constants;
        assert!(used <= flash, "{board:?}: {used} bytes of flash");
        // Half of the RAM is left to the stack and to what else the application will do.
        let used = image.sizes.variables;
        assert!(used <= ram / 2, "{board:?}: {used} bytes of RAM");
    }
}

#[test]
fn the_runtime_links_without_a_panic() {
    let path = Image::Panics.build().unwrap();
    let image = Elf::read(&path).unwrap();
    assert!(
        image
            .symbols
            .iter()
            .any(|s| s.name.contains("attn_runtime"))
    );
    assert_eq!(image.panics(), [""; 0]);
}

/// The bound holds for every sound; the high-water mark shows that it is no idle one.
#[test]
fn the_stack_is_bounded_and_does_not_grow() {
    let image = Image::keyword(kws()).build_bounded().unwrap();
    let bound = stack::bound(&image, "Reset").unwrap();
    let pcm = attn_recordings::read(&workspace::demo_recording()).unwrap();
    let pcm = &pcm[..PLAYED];
    let played = demo::play(&Emulator::new(Core::M4), &image, pcm).unwrap();
    println!("{} bytes, {} of them used", bound.bytes, played.stack);
    assert!(
        played.stack <= bound.bytes,
        "{} used, {bound:#?}",
        played.stack
    );
    assert!(
        bound.bytes < played.stack + played.stack / 10,
        "{} used",
        played.stack
    );
    assert!(bound.bytes < STACK + STACK / 10, "{bound:#?}");
}
