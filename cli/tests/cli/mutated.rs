//! A few hundred mutated files of every kind that the command reads; `cargo xtask fuzz` tries more.

use attn_fuzz::desktop::{Desktop, Kind};
use attn_fuzz::random::Random;

#[test]
fn no_mutated_file_makes_the_command_crash() {
    let mut random = Random(2);
    for (kind, files) in [
        (Kind::Onnx, 150),
        (Kind::Npz, 60),
        (Kind::Wav, 60),
        (Kind::Manifest, 30),
    ] {
        let target = Desktop::new(env!("CARGO_BIN_EXE_attn").as_ref(), kind).unwrap();
        for _ in 0..files {
            if let Some((what, file)) = target.once(&mut random).unwrap() {
                let kept = std::env::temp_dir().join("attn-find");
                std::fs::write(&kept, file).unwrap();
                panic!("{kind:?} {}: {what}", kept.display());
            }
        }
    }
}
