//! `attn inspect --board`: models that fit and models that do not.

use crate::{attn, done, refused};
use attn_test_support::folder::{Folder, fixture};
use serde_json::Value;

const KWS: &str = "../models/kws.attn";
const G2P: &str = "../models/g2p.attn";

#[test]
fn a_model_that_fits_says_what_is_left() {
    let said = done(&["inspect", KWS, "--board", "nano33ble"]);
    for line in ["flash: model 57133 of 983040 bytes", "RAM: arena "] {
        assert!(said.contains(line), "{said}");
    }
    let said = done(&["inspect", KWS, "--json", "--flash", "100K", "--ram", "16K"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["fit"]["fits"], true, "{}", said["fit"]);
    assert_eq!(said["fit"]["flash"]["bytes"], 100 << 10);
    // Only what was asked.
    let said = done(&["inspect", G2P, "--ram", "64K"]);
    assert!(
        said.contains("RAM: ") && !said.contains("flash: "),
        "{said}"
    );
}

#[test]
fn a_model_that_does_not_fit_says_what_is_too_large_and_what_helps() {
    refused(
        &["inspect", G2P, "--board", "stm32f411"],
        &[
            "g2p.attn does not fit stm32f411",
            "bytes of flash",
            "weights are",
            "fewer channels",
        ],
    );
    refused(
        &["inspect", G2P, "--flash", "1M", "--ram", "32K"],
        &[
            "bytes of RAM, there are 32768",
            "in use at",
            "a smaller --max-length",
        ],
    );
    // The model alone has room, the program around it not.
    refused(
        &["inspect", KWS, "--flash", "60K"],
        &["model and code need at least", "there are 61440"],
    );
    let output = attn(&["inspect", G2P, "--ram", "1K", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["fit"]["ram"]["fits"], false);
}

#[test]
fn half_precision_needs_a_floating_point_unit() {
    let folder = Folder::new();
    let file = folder.path("half.attn");
    let [onnx, data] =
        ["_dynamo.onnx", ".npz"].map(|end| fixture(&format!("attention/multi_head_bare{end}")));
    done(&[
        "convert",
        &onnx,
        "--calibrate",
        &data,
        "--dtype",
        "fp16",
        "-o",
        &file,
    ]);
    done(&["inspect", &file, "--board", "rp2350"]);
    refused(
        &["inspect", &file, "--board", "rp2040"],
        &["half precision needs a floating-point unit", "--dtype int8"],
    );
}

#[test]
fn flags_that_make_no_sense() {
    refused(
        &["inspect", KWS, "--board", "toaster"],
        &["nano33ble", "rp2040"],
    );
    refused(&["inspect", KWS, "--ram", "0"], &["--ram", "960K or 1M"]);
    refused(
        &["inspect", KWS, "--board", "rp2040", "--ram", "1K"],
        &["cannot be used with"],
    );
}
