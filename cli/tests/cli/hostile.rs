//! Files that somebody made to do harm: each ends in one line that says what is wrong, soon, and with no word of a library.

use crate::attn;
use attn_converter::files::write_npz;
use attn_test_support::folder::{Folder, fixture};
use attn_test_support::pb;
use ndarray::ArrayD;
use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

/// A file may keep the command busy for so long before it says what it is about.
const LONGEST: Duration = Duration::from_secs(10);
/// Words of libraries and panics that no message may have.
const INSIDE: [&str; 7] = [
    "tract",
    "panicked",
    "Impossible to unify",
    "Infering",
    "unwrap",
    "RUST_BACKTRACE",
    "\u{1b}",
];

fn hostile(name: &str) -> String {
    format!("{}/tests/data/hostile/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What a command says that must fail in good order.
fn refusal(arguments: &[&str], parts: &[&str]) {
    let start = Instant::now();
    let result = attn(arguments);
    assert!(start.elapsed() < LONGEST, "{arguments:?}");
    let message = String::from_utf8(result.stderr).unwrap();
    assert_eq!(result.status.code(), Some(1), "{arguments:?}: {message}");
    assert!(message.starts_with("error: "), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    for word in INSIDE {
        assert!(!message.contains(word), "`{word}` in: {message}");
    }
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn onnx_files_that_do_harm_are_refused_in_a_line() {
    let folder = Folder::new();
    let (data, output) = (fixture("cases/ok.npz"), folder.path("out.attn"));
    let cases: [(&str, &[&str]); 7] = [
        ("conv_padhuge", &["node `cv`", "pads", "1048576"]),
        ("div0", &["node `nn`", "0"]),
        ("double28", &["double28.onnx", "elements"]),
        ("dupout", &["node `n`", "`y` is computed twice"]),
        ("ln_eps", &["node `nn`", "`epsilon`"]),
        ("transpose_bad", &["node `nn`", "perm [0, 0]"]),
        ("unknownop", &["node `nn`", "not supported"]),
    ];
    for (name, parts) in cases {
        let onnx = hostile(&format!("{name}.onnx"));
        refusal(
            &["convert", &onnx, "--calibrate", &data, "-o", &output],
            parts,
        );
    }
    assert!(folder.names().is_empty());
}

#[test]
fn names_do_not_drive_the_terminal() {
    let folder = Folder::new();
    let output = folder.path("out.attn");
    let (onnx, data) = (hostile("ansi.onnx"), fixture("cases/ok.npz"));
    for arguments in [
        &["convert", &onnx, "--calibrate", &data, "-o", &output][..],
        &["inspect", &output],
        &["compare", &onnx, &output, "--data", &data],
    ] {
        let result = attn(arguments);
        let said = [result.stdout, result.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(result.status.success(), "{said:?}");
        let drives = |text: &String| text.chars().any(|c| c.is_control() && c != '\n');
        assert!(!said.iter().any(drives), "{arguments:?}: {said:?}");
    }
}

/// Ten thousand operators in a row take their time, but no more than that.
#[test]
fn a_long_chain_is_converted_in_bounded_time() {
    let folder = Folder::new();
    let [data, output] = ["data.npz", "out.attn"].map(|name| folder.path(name));
    let mut input = String::new();
    let onnx = folder.onnx_of(fixture("cases/ok.onnx"), "long.onnx", |graph| {
        input.clone_from(&graph.input[0].name);
        let last = graph.output[0].name.clone();
        let name = |at: usize| match at {
            0 => input.clone(),
            10_000 => last.clone(),
            at => format!("t{at}"),
        };
        let node = |at| pb::NodeProto {
            op_type: "Sigmoid".into(),
            input: vec![name(at)],
            output: vec![name(at + 1)],
            ..Default::default()
        };
        graph.initializer.clear();
        graph.node = (0..10_000).map(node).collect();
    });
    let x = ArrayD::<f32>::ones(vec![8, 4]);
    write_npz(data.as_ref(), |npz| npz.add_array(input.as_str(), &x)).unwrap();
    let start = Instant::now();
    let result = attn(&["convert", &onnx, "--calibrate", &data, "-o", &output]);
    let message = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "{message}");
    assert!(start.elapsed() < 6 * LONGEST, "{:?}", start.elapsed());
}

#[test]
fn an_array_that_unpacks_to_gigabytes_is_refused_before_it_does() {
    let folder = Folder::new();
    let output = folder.path("out.attn");
    let packed = fs::read(hostile("n_bomb.npz.gz")).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_end(&mut bytes)
        .unwrap();
    let data = folder.write("bomb.npz", &bytes);
    let onnx = fixture("cases/ok.onnx");
    let words = ["convert", &onnx, "--calibrate", &data, "-o", &output];
    refusal(&words, &["array `x`", "bytes", "fewer samples"]);
}

#[test]
fn a_manifest_reads_nothing_outside_its_folder_unless_allowed() {
    let folder = Folder::new();
    let inner = folder.path("inner");
    fs::create_dir(&inner).unwrap();
    let [onnx, data] = ["cases/ok.onnx", "cases/ok.npz"].map(|name| fs::read(fixture(name)));
    folder.write("data.npz", &data.unwrap());
    folder.write("inner/model.onnx", &onnx.unwrap());
    let (manifest, output) = (folder.path("inner/bundle.toml"), folder.path("out.attn"));
    let absolute = folder.path("data.npz");
    let link = folder.path("inner/link.npz");
    let mut names = vec!["../data.npz", &absolute, "../inner/../data.npz"];
    if cfg!(unix) {
        #[cfg(unix)]
        std::os::unix::fs::symlink("../data.npz", &link).unwrap();
        names.push("link.npz");
    }
    for name in names {
        let text =
            format!("name = \"m\"\ncalibrate = \"{name}\"\n[entries]\nrun = \"model.onnx\"\n");
        fs::write(&manifest, text).unwrap();
        let words = ["convert", &manifest, "-o", &output];
        refusal(&words, &["--outside", name, "outside its folder"]);
        let result = attn(&["convert", &manifest, "--outside", "-o", &output]);
        let said = String::from_utf8_lossy(&result.stderr);
        assert!(result.status.success(), "{said}");
    }
}

#[test]
fn a_model_reads_no_data_outside_its_folder() {
    let folder = Folder::new();
    let data = fixture("cases/ok.npz");
    for location in ["../secret", "/etc/hostname"] {
        let onnx = folder.onnx_of(fixture("cases/ok.onnx"), "out.onnx", |graph| {
            let tensor = &mut graph.initializer[0];
            tensor.raw_data.clear();
            tensor.float_data.clear();
            tensor.data_location = Some(pb::tensor_proto::DataLocation::External as i32);
            tensor.external_data = vec![pb::StringStringEntryProto {
                key: "location".into(),
                value: location.into(),
            }];
        });
        let words = [
            "convert",
            &onnx,
            "--calibrate",
            &data,
            "-o",
            &folder.path("o.attn"),
        ];
        refusal(
            &words,
            &["out.onnx", location, "outside the model's folder"],
        );
    }
}

#[test]
fn memory_and_patience_have_an_end() {
    let folder = Folder::new();
    let (onnx, data) = (fixture("cases/ok.onnx"), fixture("cases/ok.npz"));
    let output = folder.path("out.attn");
    let convert = ["convert", &onnx, "--calibrate", &data, "-o", &output];
    // No program of this size runs in 1 MiB, and none reads a model in no time.
    for limit in [["--memory", "1"], ["--patience", "0"]] {
        let result = attn(&[&convert[..], &limit].concat());
        let said = String::from_utf8(result.stderr).unwrap();
        assert_eq!(result.status.code(), Some(1), "{said}");
        assert!(
            said.contains(limit[0]) && said.lines().count() == 1,
            "{said}"
        );
        assert!(folder.names().is_empty());
    }
    let result = attn(&[&convert[..], &["--memory", "4096", "--patience", "600"]].concat());
    assert!(result.status.success());
}

/// A command that is interrupted ends with the status that shells expect, and leaves nothing half-written.
#[cfg(unix)]
#[test]
fn an_interrupted_command_leaves_nothing_behind() {
    use std::process::{Command, Stdio};
    let folder = Folder::new();
    // Its conversion takes seconds.
    let model = |name: &str| format!("{}/../models/{name}", env!("CARGO_MANIFEST_DIR"));
    let (onnx, data, output) = (
        model("kwt.onnx"),
        model("kwt_calibration.npz"),
        folder.path("out.attn"),
    );
    let convert = ["convert", &onnx, "--calibrate", &data, "-o", &output];
    for (signal, arguments) in [
        ("-INT", &convert[..]),
        ("-TERM", &convert),
        ("-INT", &["bench", &onnx]),
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_attn"))
            .args(arguments)
            .env("TMPDIR", folder.path("."))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let killed = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(folder.names().is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_header_that_is_no_header_is_refused() {
    let folder = Folder::new();
    let output = folder.path("out.attn");
    let (onnx, data) = (fixture("cases/ok.onnx"), hostile("evil_header.npz"));
    let words = ["convert", &onnx, "--calibrate", &data, "-o", &output];
    refusal(&words, &["evil_header.npz", "array"]);
}

/// Headers and lists of names of any length end in an error that can be read.
#[test]
fn errors_stay_short() {
    let folder = Folder::new();
    let output = folder.path("out.attn");
    let header = format!(
        "{{'descr': {}'<f4'{}, 'fortran_order': False, 'shape': (4,), }}\n",
        "(".repeat(20_000),
        ")".repeat(20_000)
    );
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    let zipped = |names: &mut dyn Iterator<Item = String>| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for name in names {
            let options = zip::write::SimpleFileOptions::default();
            zip.start_file(name, options).unwrap();
            std::io::Write::write_all(&mut zip, &npy).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let deep = folder.write("deep.npz", &zipped(&mut ["x.npy".to_owned()].into_iter()));
    let many = folder.write(
        "many.npz",
        &zipped(&mut (0..3000).map(|at| format!("y{at}.npy"))),
    );
    let onnx = fixture("cases/ok.onnx");
    for (data, part) in [(&deep, "is damaged"), (&many, "characters more")] {
        let words = ["convert", &onnx, "--calibrate", data, "-o", &output];
        refusal(&words, &[part]);
        assert!(attn(&words).stderr.len() < 4000);
    }
}

/// A full disk behind standard output is an error, not a bug.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let result = std::process::Command::new(env!("CARGO_BIN_EXE_attn"))
        .arg("operators")
        .stdout(full.unwrap())
        .output()
        .unwrap();
    assert_eq!(result.status.code(), Some(1));
    let message = String::from_utf8(result.stderr).unwrap();
    assert!(message.starts_with("error: standard output: "), "{message}");
}
