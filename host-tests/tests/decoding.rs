//! Decoding on the emulated Cortex-M4: the same tokens, scores and attention weights as here, byte for byte, and the
//! application that prints them.

use attn_lab::boards::{App, BOARDS};
use attn_lab::checks;
use attn_lab::decoding::{Input, Search, check, decode};
use attn_lab::elf::Image as Elf;
use attn_lab::emulator::Core;
use attn_lab::images::Image;
use attn_test_support::decoder_model::{MAX_TOKENS, Output, Variant, decoder_file};
use std::path::PathBuf;

fn saved(folder: &tempfile::TempDir, variant: Variant) -> PathBuf {
    let path = folder.path().join("decoder.attn");
    std::fs::write(&path, decoder_file(variant)).unwrap();
    path
}

#[test]
fn a_decode_gives_the_same_bytes_on_the_emulated_m4() {
    let inputs: Vec<Vec<u16>> = (1..30u16)
        .map(|n| (0..1 + n % 7).map(|i| (n * 7 + i * 3) % 5).collect())
        .collect();
    for output in [Output::Logits, Output::TopK] {
        for seed in [3, 4] {
            let variant = Variant::with(|v| (v.seed, v.output, v.end_bias) = (seed, output, -2000));
            let folder = tempfile::tempdir().unwrap();
            let bytes = check(Core::M4, &saved(&folder, variant), &inputs).unwrap();
            assert!(bytes > inputs.len() * 40, "{bytes} bytes compared");
        }
    }
}

#[test]
fn the_application_prints_what_is_decoded_here() {
    use attn_converter::decode::{self, Decoder};
    use attn_converter::runner::ModelFile;

    let variant = Variant::with(|v| (v.seed, v.end_bias) = (7, -2000));
    let folder = tempfile::tempdir().unwrap();
    let image = Image::decode(&saved(&folder, variant)).build().unwrap();
    let file = ModelFile::new(&decoder_file(variant)).unwrap();
    let searches = [
        (Search::Greedy, decode::Search::Greedy),
        (
            Search::Beam,
            decode::Search::Beam {
                width: 4,
                alpha: 1.0,
            },
        ),
    ];
    for (there, here) in searches {
        let found = decode(&image, there, Input::Text("abcab")).unwrap();
        let mut decoder = Decoder::new(file.model());
        let expected = decoder.decode(&decode::Input::Text("abcab".into()), here);
        let expected = expected.unwrap().remove(0);
        let names: Vec<String> = expected.tokens.iter().map(|t| format!("T{t}")).collect();
        assert_eq!(found.tokens, names);
        assert_eq!(f64::from(found.score) / 65536.0, expected.score);
        assert_eq!(found.cut, !expected.ended);
        let steps = found.regions.iter().filter(|r| r.name == "step").count();
        assert!((1..=MAX_TOKENS + 1).contains(&steps), "{steps} steps");
        assert!(found.total("step") > 1000);
        assert!(found.total("encode") > 1000);
        assert!(found.stack < 16 << 10, "{} bytes of stack", found.stack);
    }
    let wrong = decode(&image, Search::Greedy, Input::Text("abx")).unwrap_err();
    assert!(
        wrong.to_string().contains("not in the vocabulary"),
        "{wrong}"
    );
    let long = "abcabcabcabcabcabc";
    let wrong = decode(&image, Search::Beam, Input::Text(long)).unwrap_err();
    assert!(
        wrong.to_string().contains("longer than the model takes"),
        "{wrong}"
    );
}

#[test]
fn the_application_continues_a_text_as_it_is_continued_here() {
    use attn_app::trace::{TEMPERATURE, TOP};
    use attn_converter::decode::{Chance, Decoder};
    use attn_converter::runner::ModelFile;

    let variant = Variant::with(|v| (v.seed, v.encoder, v.end_bias) = (5, false, -2000));
    let folder = tempfile::tempdir().unwrap();
    let image = Image::decode(&saved(&folder, variant)).build().unwrap();
    let file = ModelFile::new(&decoder_file(variant)).unwrap();
    let chance = |seed| Chance {
        temperature: TEMPERATURE,
        top: TOP,
        seed,
    };
    let ways = [
        (Search::Greedy, None),
        (Search::Chance(1), Some(chance(1))),
        (Search::Chance(9), Some(chance(9))),
    ];
    for (there, here) in ways {
        let found = decode(&image, there, Input::Prompt("T4T2")).unwrap();
        let expected = Decoder::new(file.model()).write("T4T2", here).unwrap();
        let names: Vec<String> = expected.tokens.iter().map(|t| format!("T{t}")).collect();
        assert_eq!(found.tokens, names);
        assert_eq!(f64::from(found.score) / 65536.0, expected.score);
    }
    let refused = |search, input: Input| decode(&image, search, input).unwrap_err().to_string();
    let message = refused(Search::Greedy, Input::Prompt("T4 T2"));
    assert!(message.contains("not in the vocabulary"), "{message}");
    let long = "T2".repeat(MAX_TOKENS);
    let message = refused(Search::Greedy, Input::Prompt(&long));
    assert!(message.contains("leaves no room"), "{message}");
    let message = refused(Search::Beam, Input::Prompt("T2"));
    assert!(message.contains("greedily, or by chance"), "{message}");
}

#[test]
fn every_board_links_the_decoder_without_an_allocator() {
    let folder = tempfile::tempdir().unwrap();
    let model = saved(&folder, Variant::default());
    for board in BOARDS {
        let path = Image::App(board, App::Decode, &model).build().unwrap();
        let image = Elf::read(&path).unwrap();
        assert!(image.symbols.len() > 50, "{board:?}");
        assert_eq!(checks::allocators(&image), [""; 0], "{board:?}");
        assert!(checks::count_smlad(&image.code) >= 8, "{board:?}");
    }
}
