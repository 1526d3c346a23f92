//! The floating-point unit's half-precision kernels give the same bits as the portable ones, on every emulated core, and
//! cost little more than their products. Whole models are compared with this computer in `attention.rs`.

use attn_lab::emulator::{Core, Emulator};
use attn_lab::images::Image;

#[test]
fn the_floating_point_unit_and_portable_kernels_agree_on_every_core() {
    for core in Core::ALL {
        let folder = tempfile::tempdir().unwrap();
        let image = Image::HalfCheck(core).build().unwrap();
        let run = Emulator::new(core).run(&image, &[], folder.path());
        let output = run
            .unwrap_or_else(|error| panic!("{core:?}: {error}"))
            .output;
        assert!(output.contains("both bodies agree"), "{core:?}: {output}");
    }
}

/// Instructions on the M4; a product with its sum takes 13/4 of them: 4 conversions, 4 products, 4 sums and a share of
/// the loads for every input and four outputs.
const LIMITS: [(&str, u64); 2] = [
    ("linear 98x64->64", 98 * 64 * 64 * 15 / 4),
    (
        "attention 98x64, one head",
        98 * 98 * (2 * 64 * 15 / 4 + 60),
    ),
];

#[test]
fn kernels_stay_close_to_what_their_products_cost() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::HalfCheck(Core::M4).build().unwrap();
    let run = Emulator::new(Core::M4)
        .counting()
        .run(&image, &[], folder.path())
        .unwrap();
    assert_eq!(run.regions.len(), LIMITS.len());
    for (region, (name, limit)) in run.regions.iter().zip(LIMITS) {
        println!(
            "{name}: {} instructions, {} cycles (estimate)",
            region.instructions, region.cycles
        );
        assert_eq!(region.name, name);
        assert!(
            region.instructions < limit,
            "{name}: {} instructions, limit {limit}",
            region.instructions
        );
    }
}
