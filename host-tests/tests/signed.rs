//! Signed models: the right one is taken, and nothing else.

use attn_converter::runner::AlignedBytes;
use attn_converter::sign::{model_name, new_keys, sign};
use attn_lab::emulator::Region;
use attn_lab::parsing::{measure, measure_signed};
use attn_lab::workspace;
use attn_runtime::format::{Encoding, checksum};
use attn_runtime::{Limits, Model, Operators, SignedError, Trust};
use attn_test_support::folder::Folder;
use attn_test_support::tiny_model::tiny_model;

const NAME: &str = "tiny";
const VERSION: u32 = 7;

/// The tiny model, signed, and the public key.
struct Signed {
    folder: Folder,
    file: Vec<u8>,
    key: [u8; 32],
}

impl Signed {
    fn new() -> Self {
        let folder = Folder::new();
        let [secret, key] = new_keys().unwrap();
        folder.write("key", &secret);
        folder.write("model.attn", &tiny_model(Encoding::Int8));
        let file = again(&folder, "model.attn", VERSION);
        Self { folder, file, key }
    }

    fn parse(&self, file: &[u8], name: &str, oldest: u32) -> Result<(), SignedError> {
        let file = AlignedBytes::new(file);
        let trust = Trust {
            key: &self.key,
            model: model_name(name).unwrap(),
            oldest,
        };
        let limits = Limits::default();
        Model::parse_signed(file.as_slice(), &trust, Operators::all(), &limits).map(drop)
    }
}

/// A file of the folder, signed with the key in it.
fn again(folder: &Folder, name: &str, version: u32) -> Vec<u8> {
    let [model, key] = [name, "key"].map(|name| folder.path(name));
    sign(model.as_ref(), key.as_ref(), NAME, version).unwrap()
}

/// The file with a checksum that fits.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&file);
    file[12..16].copy_from_slice(&sum.to_le_bytes());
    file
}

#[test]
fn the_signed_model_is_taken_from_its_version_on() {
    let signed = Signed::new();
    for oldest in [0, VERSION - 1, VERSION] {
        assert_eq!(signed.parse(&signed.file, NAME, oldest), Ok(()));
    }
    let (found, oldest) = (VERSION, VERSION + 1);
    let older = Err(SignedError::Older { found, oldest });
    assert_eq!(signed.parse(&signed.file, NAME, oldest), older);
    let other = Err(SignedError::OtherModel {
        found: model_name(NAME).unwrap(),
    });
    assert_eq!(signed.parse(&signed.file, "other", 0), other);
    // It is still a model for those who do not ask.
    let file = AlignedBytes::new(&signed.file);
    let model = Model::parse(file.as_slice()).unwrap();
    assert_eq!(model.signature().unwrap().version, VERSION);
    assert_eq!(model.ops().len(), tiny_ops());
}

fn tiny_ops() -> usize {
    let file = AlignedBytes::new(&tiny_model(Encoding::Int8));
    Model::parse(file.as_slice()).unwrap().ops().len()
}

#[test]
fn an_unsigned_model_is_refused() {
    let signed = Signed::new();
    let unsigned = signed.parse(&tiny_model(Encoding::Int8), NAME, 0);
    assert_eq!(unsigned, Err(SignedError::Unsigned));
}

#[test]
fn no_bit_can_be_turned() {
    let signed = Signed::new();
    let mut refused = 0;
    for bit in (8 * 16..8 * signed.file.len()).step_by(37) {
        let mut file = signed.file.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        let error = signed.parse(&sealed(file), NAME, 0).expect_err("tampered");
        refused += usize::from(error == SignedError::BadSignature);
    }
    assert!(refused > 100, "{refused} by the signature");
    let mut other = Signed::new();
    other.key = signed.key;
    let foreign = other.parse(&other.file, NAME, 0);
    assert_eq!(foreign, Err(SignedError::BadSignature));
}

#[test]
fn a_file_is_signed_again_in_place() {
    let signed = Signed::new();
    signed.folder.write("signed.attn", &signed.file);
    let newer = again(&signed.folder, "signed.attn", VERSION + 1);
    assert_eq!(newer.len(), signed.file.len());
    assert_eq!(signed.parse(&newer, NAME, VERSION + 1), Ok(()));
}

#[test]
fn the_chip_takes_the_signed_model_alone() {
    let signed = Signed::new();
    let run = |file: &[u8], oldest| measure_signed(file, &signed.key, oldest).unwrap();
    let (region, said) = run(&signed.file, VERSION);
    assert!(said.contains("parsed"), "{said}");
    let more = |file: &[u8], signed: Region| {
        let more = signed.cycles - measure(file).unwrap().cycles;
        println!("{} bytes: {more} cycles for the signature", file.len());
        // Half a second at 64 MHz.
        assert!(more < 32_000_000, "{more} cycles");
    };
    more(&signed.file, region);
    let shipped = std::fs::read(workspace::root().join("models/kws.attn")).unwrap();
    signed.folder.write("kws.attn", &shipped);
    let kws = again(&signed.folder, "kws.attn", VERSION);
    let (region, said) = run(&kws, VERSION);
    assert!(said.contains("parsed"), "{said}");
    more(&kws, region);
    let mut tampered = signed.file.clone();
    let last = tampered.len() - 100;
    tampered[last] ^= 1;
    for (file, oldest, word) in [
        (tiny_model(Encoding::Int8), VERSION, "not signed"),
        (sealed(tampered), VERSION, "signature does not fit"),
        (signed.file.clone(), VERSION + 1, "version 7"),
    ] {
        let (_, said) = run(&file, oldest);
        assert!(said.contains("refused") && said.contains(word), "{said}");
    }
}
