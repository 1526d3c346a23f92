//! What the commands write: JSON, arrays, links, pipes; and outputs that must not be written.

use crate::{attn, converting, done, refused_in};
use attn_test_support::folder::{self, CALIBRATION, Folder, ONNX, TINY};

#[test]
fn results_come_as_json_and_as_arrays() {
    let folder = Folder::new();
    let (model, outputs) = (folder.path("model.attn"), folder.path("outputs.npz"));
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&done(&[arguments, &["--json"]].concat())).unwrap()
    };
    let convert = converting(&model);
    let converted = json(&convert);
    assert_eq!(converted["bytes"], std::fs::metadata(&model).unwrap().len());
    assert_eq!(json(&["inspect", &model])["arena"], converted["arena"]);
    let compared = json(&["compare", ONNX, &model, "--data", CALIBRATION]);
    assert!(compared["outputs_sqnr_db"].as_f64().unwrap() > 25.0);
    for (form, shape) in [(None, [160, 1, 20]), (Some("--stream"), [160, 50, 20])] {
        done(&[&convert[..], form.as_slice()].concat());
        done(&["run", &model, CALIBRATION, "-o", &outputs]);
        let logits: ndarray::Array3<f32> =
            attn_converter::files::read_array(outputs.as_ref(), "logits").unwrap();
        assert_eq!(logits.shape(), shape);
    }
}

#[test]
fn an_output_folder_that_is_not_there() {
    let folder = Folder::new();
    let output = folder.path("none/out.attn");
    refused_in(
        &folder,
        &["convert", ONNX, "--calibrate", CALIBRATION, "-o", &output],
        &["none"],
    );
}

#[test]
fn an_output_never_replaces_an_input() {
    let folder = Folder::new();
    let onnx = folder.write("model.onnx", &std::fs::read(ONNX).unwrap());
    let data = folder.write("data.npz", &std::fs::read(CALIBRATION).unwrap());
    let attn = folder.write("model.attn", &std::fs::read(TINY).unwrap());
    let refused_with = |arguments: &[&str]| {
        refused_in(
            &folder,
            arguments,
            &["would replace an input", "another name"],
        )
    };
    refused_with(&["convert", &onnx, "--calibrate", &data, "-o", &onnx]);
    refused_with(&["convert", &onnx, "--calibrate", &data, "-o", &data]);
    refused_with(&["run", &attn, &data, "-o", &attn]);
    refused_with(&["run", &attn, &data, "-o", &data]);
    refused_with(&["features", &data, "-o", &data]);
    assert_eq!(std::fs::read(&onnx).unwrap(), std::fs::read(ONNX).unwrap());
    assert_eq!(std::fs::read(&attn).unwrap(), std::fs::read(TINY).unwrap());
}

#[test]
fn a_bundle_replaces_none_of_its_files() {
    let folder = Folder::new();
    let name = "seq2seq/plain_gru_dynamo";
    for end in ["encode.onnx", "step.onnx", "bundle.toml"] {
        let bytes = std::fs::read(folder::fixture(&format!("{name}.{end}"))).unwrap();
        folder.write(&format!("plain_gru_dynamo.{end}"), &bytes);
    }
    let data = std::fs::read(folder::fixture("seq2seq/plain_gru.npz")).unwrap();
    folder.write("plain_gru.npz", &data);
    let manifest = folder.path("plain_gru_dynamo.bundle.toml");
    for name in folder.names() {
        let arguments = ["convert", &manifest, "-o", &folder.path(&name)];
        refused_in(&folder, &arguments, &[&name, "would replace an input"]);
    }
}

#[cfg(unix)]
#[test]
fn an_output_that_is_no_regular_file_is_refused_in() {
    let folder = Folder::new();
    for output in ["/dev/null", &folder.path(".")] {
        let arguments = ["convert", ONNX, "--calibrate", CALIBRATION, "-o", output];
        refused_in(&folder, &arguments, &[output, "not a regular file"]);
    }
    std::os::unix::fs::symlink("target.npz", folder.path("link.npz")).unwrap();
    let link = folder.path("link.npz");
    let silence = folder.wav("silence.wav", folder::spec(16_000, 1, 16), 16_000);
    let result = attn(&["features", &silence, "-o", &link]);
    assert!(result.status.success());
    let said = String::from_utf8(result.stderr).unwrap();
    assert!(
        said.contains("is a link; writing") && said.contains("target.npz"),
        "{said}"
    );
    assert_eq!(folder.names(), ["link.npz", "silence.wav", "target.npz"]);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    use std::process::{Command, Stdio};
    let folder = Folder::new();
    let model = folder.path("kws.attn");
    done(&converting(&model));
    for arguments in [
        &["inspect", "--tensors", &model][..],
        &["inspect", "--json", &model],
        &["operators"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_attn"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Nothing is read: the pipe is closed before the command has written all.
        drop(child.stdout.take());
        let result = child.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8(result.stderr).unwrap(),
            "",
            "{arguments:?}"
        );
    }
}

#[test]
fn a_model_is_signed_and_verified() {
    use crate::refused;
    let folder = Folder::new();
    let [key, public, signed] = ["k.key", "k.pub", "s.attn"].map(|name| folder.path(name));
    done(&["keygen", "-o", &key]);
    assert_eq!(folder.names(), ["k.key", "k.pub"]);
    refused(&["keygen", "-o", &key], &["k.key", "keys are not replaced"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
    let sign = [
        "sign",
        TINY,
        "--key",
        &key,
        "--name",
        "kws",
        "--release",
        "3",
    ];
    done(&[&sign[..], &["-o", &signed]].concat());
    let verify = ["verify", &signed, "--key", &public, "--name", "kws"];
    let said = done(&verify);
    assert!(said.contains("version 3"), "{said}");
    refused(
        &[&verify[..], &["--oldest", "4"]].concat(),
        &["version 3", "4"],
    );
    let other = ["verify", &signed, "--key", &public, "--name", "other"];
    refused(&other, &["another model", "kws"]);
    refused(
        &["verify", TINY, "--key", &public, "--name", "kws"],
        &["not signed"],
    );
    let wrong = ["verify", &signed, "--key", &key, "--name", "kws"];
    refused(&wrong, &["does not fit"]);
    refused(
        &["verify", &signed, "--key", TINY, "--name", "kws"],
        &["a key has 32"],
    );
    let long = [
        "sign",
        TINY,
        "--key",
        &key,
        "--name",
        "seventeen letters",
        "--release",
        "3",
    ];
    refused(
        &[&long[..], &["-o", &signed]].concat(),
        &["seventeen letters", "16 bytes"],
    );
}

/// Names of any length and a long list of labels stay within the width that a page has.
#[test]
fn inspect_is_no_wider_than_80_columns() {
    let folder = Folder::new();
    let model = folder.path("kws.attn");
    done(&converting(&model));
    let text = done(&["inspect", "--tensors", &model]);
    let widest = text
        .lines()
        .max_by_key(|line| line.chars().count())
        .unwrap();
    assert!(widest.chars().count() <= 80, "{widest}");
    for part in ["links: Attention, ", "(real = n x ", "scale"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}
