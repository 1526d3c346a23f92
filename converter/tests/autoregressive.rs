//! Decoders that attend to their own past, exported over a whole sequence of tokens and run one token at a time: against PyTorch's
//! own logits, against themselves without the past kept, and in a beam.

use attn_converter::lower::Form;
use attn_converter::pipeline::Options;
use attn_converter::quantize::Precision;
use attn_converter::runner::{self, AlignedBytes, ModelFile};
use attn_runtime::seq2seq::{Beam, Greedy};
use attn_test_support::running::with_session;
use attn_test_support::sequences::{Recorded, SEQUENCES, Sequence, convert_bundle};
use attn_test_support::systems::{PRECISIONS, options};

fn systems() -> impl Iterator<Item = &'static Sequence> {
    SEQUENCES.iter().filter(|sequence| sequence.transformer)
}

/// Logits of every sample and token: one run of the step for each token, or one for all.
fn logits(file: &ModelFile, recorded: &Recorded, at_once: bool) -> Vec<f32> {
    let model = file.model();
    let step = model.entry("step").unwrap();
    with_session(model, |session| {
        let mut all = Vec::new();
        for (sample, tokens) in recorded.tokens.outer_iter().enumerate() {
            recorded.encode(session, sample);
            let tokens = tokens.to_vec();
            for run in tokens.chunks(if at_once { tokens.len() } else { 1 }) {
                let input = session.input::<i32>(step, 0).unwrap();
                assert_eq!(input.len(), run.len());
                let slots = input.iter_mut().zip(run);
                slots.for_each(|(slot, &token)| *slot = token as i32);
                session.run(step).unwrap();
                all.extend(runner::output(session, step, 0).unwrap());
            }
        }
        all
    })
}

#[test]
fn every_system_keeps_its_accuracy_in_every_precision() {
    for system in systems() {
        let recorded = system.recorded();
        for exporter in system.exporters() {
            for (precision, floor) in PRECISIONS.into_iter().zip([40.0, 45.0, 55.0]) {
                let file = system.convert(exporter, precision).unwrap();
                let db = recorded.compared(&file).0.db();
                let name = format!("{}, {exporter}, {precision:?}", system.name);
                println!("{name}: {db:.1} dB");
                assert!(db > floor, "{name}: {db} dB");
            }
        }
    }
}

/// One token costs one token, and gives what a run over the whole sequence gives.
#[test]
fn keeping_the_past_gives_the_bits_of_full_recomputation() {
    for system in systems() {
        let recorded = system.recorded();
        for exporter in system.exporters() {
            for precision in PRECISIONS {
                let options = Options {
                    forget_past: true,
                    ..options(precision, Form::Window)
                };
                let manifest = system.manifest(exporter);
                let whole = convert_bundle(&manifest, &options);
                let kept = system.convert(exporter, precision).unwrap();
                assert_eq!(
                    logits(&kept, &recorded, false),
                    logits(&whole.unwrap(), &recorded, true),
                    "{}, {exporter}, {precision:?}",
                    system.name
                );
            }
        }
    }
}

/// Hypotheses carry their keys and values along: followed one by one, each has the score that the beam gave it.
#[test]
fn a_beam_keeps_the_past_of_every_hypothesis() {
    for system in systems().filter(|system| system.name != "speech") {
        let recorded = system.recorded();
        let file = system.convert("dynamo", Precision::Int8).unwrap();
        let model = file.model();
        let len = Beam::<4>::memory_len(&model, 4).unwrap();
        let mut memory = AlignedBytes::zeroed(len);
        with_session(model, |session| {
            for sample in 0..recorded.tokens.nrows() {
                let symbols = recorded.elements(&file, sample);
                let mut beam = Beam::<4>::new(session, memory.as_mut_slice()).unwrap();
                match symbols[..] {
                    [] => beam.restart().unwrap(),
                    _ => beam.encode_symbols(&symbols).unwrap(),
                }
                beam.decode().unwrap();
                let found: Vec<_> = beam
                    .hypotheses()
                    .map(|found| (found.tokens.to_vec(), found.score, found.ended))
                    .collect();
                assert_eq!(found.len(), 4);
                for (mut tokens, score, ended) in found {
                    tokens.extend(ended.then(|| model.decode().unwrap().end as u16));
                    let mut greedy = Greedy::new(session).unwrap();
                    match symbols[..] {
                        [] => greedy.restart().unwrap(),
                        _ => greedy.encode_symbols(&symbols).unwrap(),
                    }
                    for &token in &tokens {
                        let chosen = greedy.step_by::<16>(|best| {
                            best.iter().position(|c| c.token == token).unwrap()
                        });
                        chosen.unwrap();
                    }
                    assert_eq!(greedy.score(), score, "{}: {tokens:?}", system.name);
                    assert_eq!(greedy.ended(), ended);
                }
            }
        });
    }
}
