//! Every attention system as PyTorch exports it, from both exporters and in every precision, against PyTorch's own outputs.

use attn_converter::lower::Form;
use attn_test_support::systems::{EXPORTERS, PRECISIONS, SYSTEMS, fixtures, operators};

#[test]
fn every_system_converts_from_both_exporters_and_stays_close_to_pytorch() {
    let mut below = Vec::new();
    for system in &SYSTEMS {
        for precision in PRECISIONS {
            let name = system.name;
            let files = EXPORTERS.map(|exporter| {
                let file = system.convert(exporter, precision, Form::Window);
                file.unwrap_or_else(|error| panic!("{name} from {exporter}: {error}"))
            });
            let db = files.each_ref().map(|file| system.against_pytorch(file));
            println!(
                "{name} {precision:?}: {:.1} and {:.1} dB, arena {} bytes",
                db[0],
                db[1],
                files[0].file.model().arena_len()
            );
            let floor = system.floor(precision);
            if !db.iter().all(|&db| db >= floor) {
                below.push(format!("{name} {precision:?}: {db:?} dB, floor {floor}"));
            }
            let [dynamo, torchscript] = files.each_ref().map(operators);
            assert_eq!(dynamo, torchscript, "{name}");
        }
    }
    assert!(below.is_empty(), "{below:#?}");
}

/// A fixture that no table names would go unnoticed.
#[test]
fn every_recorded_system_is_listed() {
    let mut recorded = 0;
    for folder in ["attention", "vision"] {
        for file in std::fs::read_dir(fixtures(folder)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "npz") {
                let known = SYSTEMS.iter().any(|system| system.recorded() == path);
                assert!(known, "{} is not listed", path.display());
                recorded += 1;
            }
        }
    }
    assert_eq!(recorded, SYSTEMS.len());
}
