//! On every emulated core, the DSP body of the inner loop gives the same bits as the portable one; and on the M4 the
//! kernels take fewer cycles than the same shapes in CMSIS-NN.

use attn_lab::emulator::{Core, Emulator, Run};
use attn_lab::images::Image;

/// Estimated cycles of CMSIS-NN (July 2026, GCC 12.2 -O3, DSP path), counted by the same rules on the same emulated core
/// (`m4cycles/README.md`): the fastest of its kernels for each shape; attention is scores, softmax and context.
const PEERS: [(&str, u64); 9] = [
    ("linear 98x64->64", 975_395),
    ("linear 98x64->192", 2_925_859),
    ("linear 98x64->256", 3_901_091),
    ("linear 98x256->64", 3_031_331),
    ("linear 1x256->768", 515_923),
    ("convolution 3, 40->64, 98 rows", 1_881_371),
    ("depthwise 9, 64 channels, 98 rows", 887_948),
    ("depthwise 3x3, 64 channels, 25x5", 695_594),
    (
        "attention 98x64, one head",
        2_044_248 + 5_525_116 + 1_901_420,
    ),
];

fn run(core: Core, emulator: Emulator) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::KernelCheck(core).build();
    let image = image.unwrap_or_else(|error| panic!("{error}"));
    let run = emulator.run(&image, &[], folder.path());
    run.unwrap_or_else(|error| panic!("{core:?}: {error}"))
}

#[test]
fn dsp_and_portable_kernels_agree_on_every_core() {
    for core in Core::ALL {
        let output = run(core, Emulator::new(core)).output;
        let agree = output.contains("16000 cases: the DSP body equals");
        assert!(agree, "{core:?}: {output}");
    }
}

#[test]
fn kernels_take_fewer_cycles_than_cmsis_nn() {
    let run = run(Core::M4, Emulator::new(Core::M4).counting());
    assert_eq!(run.regions.len(), PEERS.len());
    println!("kernel                              instructions    est. cycles       CMSIS-NN");
    for (region, (name, peer)) in run.regions.iter().zip(PEERS) {
        println!(
            "{name:34} {:13} {:14} {peer:14}",
            region.instructions, region.cycles
        );
        assert_eq!(region.name, name);
        assert!(
            region.cycles < peer,
            "{name}: {} cycles, CMSIS-NN takes {peer}",
            region.cycles
        );
    }
}
