//! On every emulated core, the DSP body of the inner loop gives the same bits as the portable one.

use attn_host_tests::emulator::{Core, Emulator};
use attn_host_tests::images::Image;

#[test]
fn dsp_and_portable_kernels_agree_on_every_core() {
    let folder = tempfile::tempdir().unwrap();
    for core in Core::ALL {
        let image = Image::KernelCheck(core)
            .build()
            .unwrap_or_else(|error| panic!("{error}"));
        let run = Emulator::new(core)
            .run(&image, &[], folder.path())
            .unwrap_or_else(|error| panic!("{core:?}: {error}"));
        assert!(
            run.output.contains("6000 cases: the DSP body equals"),
            "{core:?}: {}",
            run.output
        );
    }
}
