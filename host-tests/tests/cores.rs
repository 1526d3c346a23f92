//! The same bytes everywhere: what the emulated cores compute equals what this computer computes.

use attn_lab::emulator::{Core, Emulator};
use attn_lab::images::Image;
use attn_lab::model::Shipped;
use attn_lab::{identity, workspace};
use attn_runtime::audio::{FrontEnd, MEL_BANDS};
use std::path::Path;
use std::sync::OnceLock;
use zerocopy::IntoBytes;

const HOP: usize = 320;
/// Hops that are traced on the Cortex-M4, from the demo recording.
const HOPS: usize = 300;
/// Hops that are traced on the other cores.
const HOPS_ELSEWHERE: usize = 60;
/// Hop at which tracing begins: just before the first word.
const FIRST_HOP: usize = 120;

/// Features of the hops that are traced, as this computer computes them.
fn features() -> &'static [u8] {
    static FEATURES: OnceLock<Vec<u8>> = OnceLock::new();
    FEATURES.get_or_init(|| features_of(&pcm()))
}

fn features_of(pcm: &[i16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut front_end = FrontEnd::new(HOP).unwrap();
    front_end.push(pcm, |features| bytes.extend_from_slice(features.as_bytes()));
    bytes
}

fn pcm() -> Vec<i16> {
    let whole = attn_recordings::read(&workspace::demo_recording()).unwrap();
    whole[FIRST_HOP * HOP..(FIRST_HOP + HOPS + 1) * HOP].to_vec()
}

fn on_core(core: Core, folder: &Path, arguments: &[&str]) {
    let image = Image::Runner(core).build().unwrap();
    Emulator::new(core).run(&image, arguments, folder).unwrap();
}

/// Runs `hops` hops on `core` and finds the same bytes at every operator's output and in the state.
fn same_trace(core: Core, hops: usize) {
    let model = Shipped::Keywords.path();
    identity::check(core, &model, &features()[..hops * MEL_BANDS]).unwrap();
}

/// The front end's features of these samples are the same bytes on `core`.
fn same_features(core: Core, samples: &[i16]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("samples"), samples.as_bytes()).unwrap();
    on_core(
        core,
        folder.path(),
        &["features", "320", "samples", "features"],
    );
    let found = std::fs::read(folder.path().join("features")).unwrap();
    assert!(found == features_of(samples), "{core:?}");
}

/// Loud, quiet, silent, clipped.
fn all_levels() -> Vec<i16> {
    let mut samples = pcm();
    samples[32_000..40_000].fill(0);
    samples[40_000..50_000]
        .iter_mut()
        .for_each(|x| *x = x.saturating_mul(50));
    samples[50_000..60_000].iter_mut().for_each(|x| *x /= 100);
    samples
}

#[test]
fn the_front_end_is_the_same_on_every_core() {
    let samples = all_levels();
    Core::ALL
        .into_iter()
        .for_each(|core| same_features(core, &samples));
}

#[test]
fn every_layer_of_300_inputs_is_the_same_on_the_m4() {
    same_trace(Core::M4, HOPS);
}

#[test]
fn every_layer_is_the_same_on_the_m7() {
    same_trace(Core::M7, HOPS_ELSEWHERE);
}

#[test]
fn every_layer_is_the_same_on_the_m33() {
    same_trace(Core::M33, HOPS_ELSEWHERE);
}

/// One recording of every wake word from the test split of the training data.
fn recordings() -> Vec<i16> {
    let folder = workspace::speech();
    let manifest = std::fs::read_to_string(folder.join("manifest.csv")).unwrap();
    let mut samples = Vec::new();
    for word in [
        "alexa",
        "computer",
        "jarvis",
        "smart_mirror",
        "snowboy",
        "view_glass",
    ] {
        let mut rows = manifest
            .lines()
            .map(|line| line.split(',').collect::<Vec<_>>());
        let row = rows
            .find(|row| row[1] == word && row[4] == "test")
            .unwrap_or_else(|| panic!("no recording of {word} in {}", folder.display()));
        samples.extend(attn_recordings::read(&folder.join(row[0])).unwrap());
    }
    samples
}

#[test]
#[ignore = "needs recordings that are not ours to commit: ATTN_SPEECH names their folder (training/README.md)"]
fn real_recordings_give_the_same_bytes_on_the_m4() {
    let samples = recordings();
    same_features(Core::M4, &samples);
    let (model, inputs) = (Shipped::Keywords.path(), features_of(&samples));
    assert!(inputs.len() >= 200 * MEL_BANDS);
    identity::check(Core::M4, &model, &inputs).unwrap();
}

#[test]
fn an_image_that_fails_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::Runner(Core::M4).build().unwrap();
    let run = |arguments: &[&str]| {
        let result = Emulator::new(Core::M4).run(&image, arguments, folder.path());
        result.unwrap_err().to_string()
    };
    std::fs::write(folder.path().join("model.attn"), [b'x'; 100]).unwrap();
    std::fs::write(folder.path().join("inputs"), [0; 40]).unwrap();
    let error = run(&["run", "model.attn", "inputs", "outputs"]);
    assert!(error.contains("does not start with ATTN"), "{error}");
    let error = run(&["features", "320", "missing", "outputs"]);
    assert!(error.contains("missing"), "{error}");
}
