//! Updates on the emulated chip: signed models are received into two slots; which are taken, what runs after each, and what it costs.

use attn_converter::runner::AlignedBytes;
use attn_converter::sign::{new_keys, sign};
use attn_lab::elf::Image as Elf;
use attn_lab::emulator::{Core, Emulator, Run};
use attn_lab::images::Image;
use attn_lab::workspace;
use attn_runtime::format::checksum;
use attn_runtime::{Arena, DType, Model, Session};
use attn_test_support::folder::Folder;

const NAME: &str = "demo";
/// Most bytes of flash that receiving and switching may take, without parsing and signatures.
const CODE: u64 = 3200;

/// A folder with signed files, and their public key.
fn folder() -> Folder {
    let folder = Folder::new();
    let [secret, public] = new_keys().unwrap();
    folder.write("secret", &secret);
    folder.write("key", &public);
    let models = workspace::root();
    let keywords = std::fs::read(models.join("models/kws.attn")).unwrap();
    let motion = std::fs::read(models.join("examples/motion/model/motion.attn")).unwrap();
    folder.write("unsigned", &keywords);
    folder.write("keywords", &keywords);
    folder.write("motion", &motion);
    signed(&folder, "keywords", 7, "keywords.7");
    signed(&folder, "motion", 8, "motion.8");
    signed(&folder, "keywords", 9, "keywords.9");
    let mut tampered = std::fs::read(folder.path("motion.8")).unwrap();
    let at = tampered.len() - 2000;
    tampered[at] ^= 1;
    folder.write("damaged", &tampered);
    let sum = checksum(&tampered);
    tampered[12..16].copy_from_slice(&sum.to_le_bytes());
    folder.write("tampered", &tampered);
    folder
}

fn signed(folder: &Folder, model: &str, version: u32, name: &str) {
    let [model, key] = [model, "secret"].map(|name| folder.path(name));
    let file = sign(model.as_ref(), key.as_ref(), NAME, version).unwrap();
    folder.write(name, &file);
}

fn update(emulator: &Emulator, folder: &Folder, files: &[&str]) -> Run {
    let image = Image::Update(Core::M4).build().unwrap();
    let arguments = [&["key", NAME], files].concat();
    let path = folder.path("");
    emulator.run(&image, &arguments, path.as_ref()).unwrap()
}

/// What the image says, without the names of regions.
fn said(run: &Run) -> Vec<&str> {
    let lines = run.output.lines();
    lines.filter(|line| !line.starts_with('@')).collect()
}

/// What the image's runs of a model give on this computer.
fn outputs(folder: &Folder, name: &str) -> Vec<u8> {
    let file = AlignedBytes::new(&std::fs::read(folder.path(name)).unwrap());
    let model = Model::parse(file.as_slice()).unwrap();
    let mut arena = Arena::<{ 16 << 10 }>::new();
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let mut outputs = Vec::new();
    for run in 1..=3u8 {
        // Every byte of an input, as on the chip.
        match session.input_record(0, 0).unwrap().dtype() {
            DType::I8 => session.input(0, 0).unwrap().fill(run as i8),
            DType::I16 => session
                .input(0, 0)
                .unwrap()
                .fill(i16::from_le_bytes([run; 2])),
            other => panic!("{other:?}"),
        }
        session.run(0).unwrap();
        for id in model.entries()[0].outputs() {
            outputs.extend(session.tensor_bytes(id).unwrap());
        }
    }
    outputs
}

#[test]
fn the_chip_switches_to_signed_newer_models_and_to_nothing_else() {
    let folder = folder();
    let files = [
        "unsigned",
        "keywords.7",
        "unsigned",
        "motion.8",
        "tampered",
        "damaged",
        "keywords.7",
        "keywords.9",
    ];
    let run = update(&Emulator::new(Core::M4), &folder, &files);
    let signature = "the signature does not fit: the file was changed after it was signed, or signed with another key";
    let unsigned = "unsigned: refused: the model is not signed: sign it with the secret key";
    let said = said(&run);
    let damaged = said[10];
    assert!(
        damaged.starts_with("damaged: refused: ") && damaged.contains("checksum"),
        "{damaged}"
    );
    let expected = [
        unsigned,
        "in use: none",
        "keywords.7: taken",
        "in use: slot 0, update 1, version 7",
        unsigned,
        "in use: slot 0, update 1, version 7",
        "motion.8: taken",
        "in use: slot 1, update 2, version 8",
        &format!("tampered: refused: {signature}"),
        "in use: slot 1, update 2, version 8",
        damaged,
        "in use: slot 1, update 2, version 8",
        "keywords.7: refused: version 7; 8 is the oldest that is accepted: sign it with a greater version",
        "in use: slot 1, update 2, version 8",
        "keywords.9: taken",
        "in use: slot 0, update 3, version 9",
    ];
    assert_eq!(said, expected);
    let [keywords, motion] = ["keywords", "motion"].map(|name| outputs(&folder, name));
    assert_ne!(keywords, motion);
    let ran = [&keywords; 2]
        .into_iter()
        .chain([&motion; 4])
        .chain([&keywords]);
    let ran: Vec<u8> = ran.flatten().copied().collect();
    assert_eq!(std::fs::read(folder.path("outputs")).unwrap(), ran);
}

#[test]
fn receiving_costs_little_beside_the_check() {
    let folder = folder();
    let emulator = Emulator::new(Core::M4).counting();
    let run = update(&emulator, &folder, &["keywords.7", "keywords.9"]);
    let len = std::fs::metadata(folder.path("keywords.9")).unwrap().len();
    // The second update, in the order in which the image counts.
    let second = run
        .regions
        .iter()
        .rposition(|region| region.name == "open")
        .unwrap();
    let of = |name: &str| -> u64 {
        let regions = run.regions[second..].iter();
        let regions = regions.filter(|region| region.name == name);
        regions.map(|region| region.cycles).sum()
    };
    for name in ["open", "begin", "push", "finish", "current"] {
        println!("{name}: {} cycles for {len} bytes", of(name));
    }
    assert!(of("open") < 100_000, "{}", of("open"));
    assert!(of("push") < 40 * len, "{}", of("push"));
    // One check each, and a little.
    let (finish, current) = (of("finish"), of("current"));
    assert!(
        finish > current && finish < current + current / 50,
        "{finish}, {current}"
    );
    let image = Elf::read(&Image::Update(Core::M4).build().unwrap()).unwrap();
    let slots = image.symbols.iter().filter(|symbol| {
        let name = &symbol.name;
        let slots = name.contains("attn_slots") || name == "update::receive";
        slots && !name.contains("Display") && !name.contains("Policy>::check")
    });
    let code: u64 = slots.map(|symbol| symbol.size).sum();
    println!("{code} bytes of code");
    assert!(code > 1000 && code < CODE, "{code}");
}
