//! Greedy decoding and beam search against a search that keeps nothing: every hypothesis is made anew from the start,
//! every candidate is looked at.

use attn_lab::aligned::AlignedBytes;
use attn_runtime::format::beam_len;
use attn_runtime::kernels::int::softmax::score_multiplier;
use attn_runtime::kernels::int::top_k::top_k;
use attn_runtime::seq2seq::{Beam, DecodeError, Greedy, text};
use attn_runtime::{Progress, Session, SessionError};
use attn_test_support::decoder_model::{
    CANDIDATES, END, MAX_LENGTH, MAX_TOKENS, Output, TOKENS, Variant, decoder_file,
};
use attn_test_support::running::with_file;
use attn_test_support::tiny_model::Builder;
use proptest::prelude::*;
use std::task::Poll;

/// What a decode gives: tokens, log-probability, whether it came to its end.
type Sequence = (Vec<u16>, i32, bool);

/// Calls `f` with a fresh session of the model.
fn with_session<R>(variant: Variant, f: impl FnOnce(&mut Session) -> R) -> R {
    with_file(&decoder_file(variant), f)
}

/// Tokens up to the end.
fn rest(decoder: &mut Greedy) -> Vec<u16> {
    std::iter::from_fn(|| decoder.step().unwrap()).collect()
}

fn unknown_text(character: char, at: usize) -> DecodeError {
    DecodeError::UnknownText { character, at }
}

/// More symbols than the model takes.
fn too_long() -> DecodeError {
    let (length, max) = (MAX_LENGTH + 1, MAX_LENGTH);
    DecodeError::InputTooLong { length, max }
}

fn greedy(session: &mut Session, symbols: &[u16]) -> Sequence {
    let mut decoder = Greedy::new(session).unwrap();
    decoder.encode_symbols(symbols).unwrap();
    let tokens = rest(&mut decoder);
    assert_eq!(decoder.step().unwrap(), None);
    (tokens, decoder.score(), decoder.ended())
}

fn beam(session: &mut Session, symbols: &[u16], width: usize) -> Vec<Sequence> {
    let len = Beam::<16>::memory_len(&session.model(), width).unwrap();
    let mut memory = AlignedBytes::zeroed(len);
    let mut beam = Beam::<16>::with_width(session, memory.as_mut_slice(), width).unwrap();
    beam.encode_symbols(symbols).unwrap();
    beam.decode().unwrap();
    assert_eq!(beam.step().unwrap(), Progress::Done);
    beam.hypotheses()
        .map(|found| (found.tokens.to_vec(), found.score, found.ended))
        .collect()
}

/// Log-probabilities of all tokens behind `past`.
fn log_probabilities(session: &mut Session, symbols: &[u16], past: &[u16]) -> Vec<i32> {
    let mut decoder = Greedy::new(session).unwrap();
    decoder.encode_symbols(symbols).unwrap();
    for &token in past {
        assert!(decoder.follow(token).unwrap());
    }
    assert!(decoder.follow(2).unwrap());
    let logits = decoder.session().output_record(1, 1).unwrap();
    let row = decoder.session().output::<i16>(1, 1).unwrap();
    let (mut tokens, mut scores) = ([0; TOKENS], [0; TOKENS]);
    top_k(
        row,
        score_multiplier(logits.scale),
        &mut tokens,
        &mut scores,
    );
    let mut by_token = vec![0; TOKENS];
    for (token, score) in tokens.into_iter().zip(scores) {
        by_token[token as usize] = score;
    }
    by_token
}

/// The beam search that `Beam` documents.
fn search(session: &mut Session, symbols: &[u16], width: usize) -> Vec<Sequence> {
    let mut live: Vec<(Vec<u16>, i32)> = vec![(vec![], 0)];
    let mut found: Vec<(i32, Sequence)> = Vec::new();
    for length in 1..=MAX_TOKENS {
        let mut candidates = Vec::new();
        for (parent, (past, score)) in live.iter().enumerate() {
            let rated = log_probabilities(session, symbols, past);
            let mut order: Vec<usize> = (0..TOKENS).collect();
            order.sort_by_key(|&token| (-rated[token], token));
            for &token in &order[..width] {
                candidates.push((score + rated[token], parent, token as u16));
            }
        }
        // Of equals, those that go on come first.
        candidates.sort_by_key(|&(score, _, token)| (-score, token == END));
        let mut next = Vec::new();
        for (score, parent, token) in candidates {
            if next.len() == width {
                break;
            }
            let past = live[parent].0.clone();
            if token == END {
                found.push((score / length as i32, (past, score, true)));
            } else {
                next.push(([past, vec![token]].concat(), score));
            }
        }
        found.sort_by_key(|&(normalized, _)| -normalized);
        found.truncate(width);
        live = next;
        if found.len() == width || live.is_empty() {
            live.clear();
            break;
        }
    }
    found.extend(
        live.into_iter()
            .map(|(tokens, score)| (0, (tokens, score, false))),
    );
    found.truncate(width);
    found.into_iter().map(|(_, sequence)| sequence).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_beam_finds_what_a_search_without_memory_finds(
        seed in any::<u64>(), symbols in proptest::collection::vec(0u16..5, 1..MAX_LENGTH), width in 1..=TOKENS,
        end_bias in -8000..4000,
    ) {
        let variant = Variant::with(|v| (v.seed, v.end_bias) = (seed, end_bias));
        with_session(variant, |session| {
            let found = beam(session, &symbols, width);
            prop_assert_eq!(&found, &search(session, &symbols, width));
            prop_assert!(!found.is_empty());
            prop_assert_eq!(beam(session, &symbols, 1), [greedy(session, &symbols)]);
            Ok(())
        })?;
    }

    #[test]
    fn fused_top_k_decodes_to_the_same_sequences_and_scores(
        seed in any::<u64>(), symbols in proptest::collection::vec(0u16..5, 1..MAX_LENGTH), width in 1..=CANDIDATES,
        end_bias in -8000..4000,
    ) {
        let logits = Variant::with(|v| (v.seed, v.end_bias) = (seed, end_bias));
        let fused = Variant { output: Output::TopK, ..logits };
        let decode = |session: &mut Session| (greedy(session, &symbols), beam(session, &symbols, width));
        prop_assert_eq!(with_session(logits, decode), with_session(fused, decode));
    }
}

/// Greedy decoding in slices of some operators; also the number of slices.
fn greedy_in_slices(session: &mut Session, symbols: &[u16], operators: usize) -> (Sequence, usize) {
    let mut decoder = Greedy::new(session).unwrap();
    decoder.load_symbols(symbols).unwrap();
    let (mut tokens, mut slices) = (vec![], 0);
    loop {
        slices += 1;
        match decoder.poll(operators).unwrap() {
            Poll::Pending => {}
            Poll::Ready(Some(token)) => tokens.push(token),
            Poll::Ready(None) => break,
        }
    }
    ((tokens, decoder.score(), decoder.ended()), slices)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn slices_change_no_token_and_no_score(
        seed in any::<u64>(), symbols in proptest::collection::vec(0u16..5, 1..MAX_LENGTH), width in 1..=TOKENS,
        operators in 0usize..5,
    ) {
        let variant = Variant::with(|v| v.seed = seed);
        with_session(variant, |session| {
            let whole = greedy(session, &symbols);
            let (sliced, slices) = greedy_in_slices(session, &symbols, operators);
            prop_assert_eq!(&sliced, &whole);
            prop_assert!(slices > whole.0.len() + 1, "{} slices", slices);
            let (_, fewer) = greedy_in_slices(session, &symbols, usize::MAX);
            prop_assert!(fewer <= slices);

            let whole = beam(session, &symbols, width);
            let len = Beam::<16>::memory_len(&session.model(), width).unwrap();
            let mut memory = AlignedBytes::zeroed(len);
            let mut beam = Beam::<16>::with_width(session, memory.as_mut_slice(), width).unwrap();
            // One that is given up half-way leaves nothing behind.
            beam.load_symbols(&symbols).unwrap();
            for _ in 0..slices / 2 {
                beam.poll(operators).unwrap();
            }
            beam.load_symbols(&symbols).unwrap();
            while beam.poll(operators).unwrap() == Progress::More {}
            let sliced: Vec<Sequence> = beam.hypotheses()
                .map(|found| (found.tokens.to_vec(), found.score, found.ended))
                .collect();
            prop_assert_eq!(sliced, whole);
            Ok(())
        })?;
    }
}

#[test]
fn a_step_takes_over_what_slices_began() {
    with_session(Variant::default(), |session| {
        let whole = greedy(session, &[3, 4]);
        for slices in 1..12 {
            let mut decoder = Greedy::new(session).unwrap();
            assert_eq!(decoder.poll(1), Err(DecodeError::NotEncoded));
            decoder.load_symbols(&[3, 4]).unwrap();
            let mut tokens = vec![];
            for _ in 0..slices {
                if let Poll::Ready(Some(token)) = decoder.poll(1).unwrap() {
                    tokens.push(token);
                }
            }
            tokens.extend(rest(&mut decoder));
            assert_eq!((tokens, decoder.score(), decoder.ended()), whole);
        }
    });
}

#[test]
fn a_wider_beam_finds_more_likely_sequences_somewhere() {
    let better = (0..40).filter(|&seed| {
        let variant = Variant::with(|v| v.seed = seed);
        with_session(variant, |session| {
            let (greedy, wide) = (greedy(session, &[0, 1, 2]), beam(session, &[0, 1, 2], 6));
            assert!(wide.len() > 1);
            wide.iter()
                .any(|found| found.0 != greedy.0 && found.1 > greedy.1)
        })
    });
    assert!(better.count() > 3);
}

#[test]
fn a_model_that_never_ends_is_cut_off() {
    let variant = Variant::with(|v| v.end_bias = -(1 << 22));
    with_session(variant, |session| {
        let (tokens, _, ended) = greedy(session, &[3, 4]);
        assert_eq!((tokens.len(), ended), (MAX_TOKENS, false));
        for (tokens, _, ended) in beam(session, &[3, 4], 3) {
            assert_eq!((tokens.len(), ended), (MAX_TOKENS, false));
        }
    });
}

#[test]
fn a_model_that_ends_at_once_gives_an_empty_sequence() {
    let variant = Variant::with(|v| v.end_bias = 1 << 22);
    with_session(variant, |session| {
        let (tokens, _, ended) = greedy(session, &[3, 4]);
        assert_eq!((tokens, ended), (vec![], true));
        let best = beam(session, &[3, 4], 3).remove(0);
        assert_eq!((best.0, best.2), (vec![], true));
    });
}

#[test]
fn text_is_spelled_in_the_longest_symbols_and_ended() {
    with_session(Variant::default(), |session| {
        let by_number = greedy(session, &[2, 0, 3, 4]);
        let mut decoder = Greedy::new(session).unwrap();
        decoder.encode_text("abaéc").unwrap();
        let tokens = rest(&mut decoder);
        assert_eq!((&tokens, decoder.score()), (&by_number.0, by_number.1));
        assert_eq!(decoder.session().length(), 5);
        assert_eq!(text(decoder.model(), &[3, 6, 9]).to_string(), "T3 T6 9");
    });
}

#[test]
fn following_a_sequence_gives_the_weights_of_its_decode() {
    with_session(Variant::default(), |session| {
        let mut decoder = Greedy::new(session).unwrap();
        decoder.encode_symbols(&[1, 2]).unwrap();
        let mut steps = Vec::new();
        while let Some(token) = decoder.step().unwrap() {
            steps.push((token, decoder.weights::<i16>().unwrap().to_vec()));
        }
        decoder.encode_symbols(&[1, 2]).unwrap();
        for (token, weights) in steps {
            assert!(decoder.follow(token).unwrap());
            assert_eq!(decoder.weights::<i16>().unwrap(), weights);
        }
        assert!(matches!(
            decoder.weights::<i8>(),
            Err(DecodeError::Session(SessionError::WrongType { .. }))
        ));
    });
}

#[test]
fn a_language_model_starts_without_input() {
    let variant = Variant::with(|v| v.encoder = false);
    with_session(variant, |session| {
        let mut decoder = Greedy::new(session).unwrap();
        assert_eq!(decoder.encode_symbols(&[1]), Err(DecodeError::NoEncoder));
        decoder.restart().unwrap();
        let first = decoder.step().unwrap();
        decoder.restart().unwrap();
        assert_eq!(decoder.step().unwrap(), first);
    });
    with_session(Variant::default(), |session| {
        let mut decoder = Greedy::new(session).unwrap();
        assert_eq!(decoder.restart(), Err(DecodeError::InputNeeded));
    });
}

#[test]
fn what_comes_behind_a_prompt_continues_it() {
    for encoder in [true, false] {
        let variant = Variant::with(|v| (v.encoder, v.end_bias) = (encoder, -4000));
        with_session(variant, |session| {
            let start = |decoder: &mut Greedy| match encoder {
                true => decoder.encode_symbols(&[1, 2]).unwrap(),
                false => decoder.restart().unwrap(),
            };
            let mut decoder = Greedy::new(session).unwrap();
            start(&mut decoder);
            let whole: Vec<u16> = rest(&mut decoder);
            assert!(whole.len() > 4, "{whole:?}");
            start(&mut decoder);
            decoder.prompt(&whole[..2]).unwrap();
            let third = format!("T{}", whole[2]);
            decoder.prompt_text(&third).unwrap();
            assert_eq!(decoder.score(), 0);
            let rest: Vec<u16> = rest(&mut decoder);
            assert_eq!(rest, whole[3..]);
            // Ended by its last token.
            start(&mut decoder);
            decoder.prompt(&[END]).unwrap();
            assert!(decoder.ended());
            assert_eq!(decoder.step().unwrap(), None);
        });
    }
}

#[test]
fn prompts_that_cannot_be_followed_are_named() {
    let variant = Variant::with(|v| v.encoder = false);
    with_session(variant, |session| {
        let mut decoder = Greedy::new(session).unwrap();
        assert_eq!(decoder.prompt(&[2]), Err(DecodeError::NotEncoded));
        decoder.restart().unwrap();
        let unknown = DecodeError::UnknownSymbol {
            symbol: TOKENS as u16,
            at: 1,
            symbols: TOKENS,
        };
        assert_eq!(decoder.prompt(&[2, TOKENS as u16]), Err(unknown));
        assert_eq!(decoder.step(), Err(DecodeError::NotEncoded));
        decoder.restart().unwrap();
        let unknown = unknown_text('x', 4);
        assert_eq!(decoder.prompt_text("T2T3x"), Err(unknown));
        let long = DecodeError::PromptTooLong {
            max: MAX_TOKENS - 1,
        };
        decoder.restart().unwrap();
        assert_eq!(decoder.prompt(&[2; MAX_TOKENS]), Err(long));
        decoder.restart().unwrap();
        decoder.prompt(&[2; MAX_TOKENS - 1]).unwrap();
        assert!(decoder.follow(2).unwrap());
        assert_eq!(decoder.step().unwrap(), None);
    });
    let unnamed = Variant {
        vocabulary: false,
        ..variant
    };
    with_session(unnamed, |session| {
        let mut decoder = Greedy::new(session).unwrap();
        decoder.restart().unwrap();
        assert_eq!(decoder.prompt_text("a"), Err(DecodeError::NoTokenNames));
    });
}

#[test]
fn a_step_takes_the_candidate_that_is_chosen() {
    for output in [Output::Logits, Output::TopK] {
        let variant = Variant::with(|v| (v.output, v.end_bias) = (output, -4000));
        let logits = Variant {
            output: Output::Logits,
            ..variant
        };
        let expected = with_session(logits, |session| log_probabilities(session, &[1, 2], &[]));
        with_session(variant, |session| {
            let mut decoder = Greedy::new(session).unwrap();
            for chosen in 0..CANDIDATES + 2 {
                decoder.encode_symbols(&[1, 2]).unwrap();
                let mut best = Vec::new();
                let token = decoder.step_by::<CANDIDATES>(|candidates| {
                    best = candidates.to_vec();
                    chosen
                });
                let taken = best[chosen.min(CANDIDATES - 1)];
                assert_eq!(token.unwrap(), (taken.token != END).then_some(taken.token));
                assert_eq!(decoder.score(), expected[usize::from(taken.token)]);
                assert!(best.is_sorted_by(|a, b| a.score >= b.score));
            }
            // More than a step returns.
            decoder.encode_symbols(&[1, 2]).unwrap();
            let mut count = 0;
            let _ = decoder.step_by::<16>(|candidates| {
                count = candidates.len();
                0
            });
            let there = if output == Output::TopK {
                CANDIDATES
            } else {
                TOKENS
            };
            assert_eq!(count, there);
        });
    }
}

#[test]
fn inputs_that_cannot_be_read_are_named() {
    with_session(Variant::default(), |session| {
        let mut decoder = Greedy::new(session).unwrap();
        assert_eq!(decoder.step(), Err(DecodeError::NotEncoded));
        assert_eq!(decoder.follow(0), Err(DecodeError::NotEncoded));
        let unknown = unknown_text('x', 3);
        assert_eq!(decoder.encode_text("aébx"), Err(unknown));
        assert!(unknown.to_string().contains("'x' (character 3)"));
        let unknown = DecodeError::UnknownSymbol {
            symbol: 6,
            at: 1,
            symbols: 6,
        };
        assert_eq!(decoder.encode_symbols(&[0, 6]), Err(unknown));
        assert_eq!(decoder.encode_symbols(&[]), Err(DecodeError::EmptyInput));
        assert_eq!(decoder.encode_text(""), Err(DecodeError::EmptyInput));
        assert_eq!(decoder.encode::<i32>(&[]), Err(DecodeError::EmptyInput));
        assert_eq!(decoder.encode_symbols(&[0; MAX_LENGTH]), Err(too_long()));
        assert!(matches!(
            decoder.encode(&[1i8, 2]),
            Err(DecodeError::Session(SessionError::WrongType { .. }))
        ));
        // What failed to be read has not been started.
        assert_eq!(decoder.step(), Err(DecodeError::NotEncoded));
        decoder.encode(&[0, 1, 5]).unwrap();
        decoder.step().unwrap();
    });
    let fixed = Variant::with(|v| v.variable = false);
    with_session(fixed, |session| {
        let mut decoder = Greedy::new(session).unwrap();
        let wrong = DecodeError::WrongLength {
            length: 3,
            needed: MAX_LENGTH,
        };
        assert_eq!(decoder.encode_symbols(&[0, 1]), Err(wrong));
        decoder.encode_symbols(&[0; MAX_LENGTH - 1]).unwrap();
    });
    let nameless = Variant::with(|v| v.vocabulary = false);
    with_session(nameless, |session| {
        let mut decoder = Greedy::new(session).unwrap();
        assert_eq!(decoder.encode_text("a"), Err(DecodeError::NoSymbols));
        decoder.encode_symbols(&[0, 1]).unwrap();
    });
}

fn four_steps(decoder: &mut Greedy) -> [Option<u16>; 4] {
    [(); 4].map(|_| decoder.step().unwrap())
}

#[test]
fn the_rest_of_a_fixed_input_is_padding() {
    let pad = 3;
    let padded = Variant::with(|v| v.pad = Some(pad));
    let fixed = Variant::with(|v| v.variable = false);
    let last = 5; // the end symbol
    for length in [1, 2, MAX_LENGTH - 1] {
        let symbols: Vec<u16> = (0..length as u16).map(|i| i % 3).collect();
        let mut whole: Vec<i32> = symbols.iter().map(|&s| s.into()).collect();
        whole.push(last);
        let given = whole.clone();
        whole.resize(MAX_LENGTH, pad.into());
        let expected = with_session(fixed, |session| {
            let mut decoder = Greedy::new(session).unwrap();
            decoder.encode(&whole).unwrap();
            four_steps(&mut decoder)
        });
        with_session(padded, |session| {
            let mut decoder = Greedy::new(session).unwrap();
            // A longer input before it leaves nothing behind.
            decoder.encode_symbols(&[4; MAX_LENGTH - 1]).unwrap();
            decoder.encode_symbols(&symbols).unwrap();
            let got = four_steps(&mut decoder);
            assert_eq!(got, expected, "length {length}");
            decoder.encode(&[4; MAX_LENGTH]).unwrap();
            decoder.encode(&given).unwrap();
            let got = four_steps(&mut decoder);
            assert_eq!(got, expected, "length {length}");
        });
    }
    with_session(padded, |session| {
        let mut decoder = Greedy::new(session).unwrap();
        assert_eq!(decoder.encode_symbols(&[0; MAX_LENGTH]), Err(too_long()));
    });
}

#[test]
fn beams_that_cannot_be_are_refused() {
    let fused = Variant::with(|v| v.output = Output::TopK);
    with_session(fused, |session| {
        let mut memory = AlignedBytes::zeroed(10_000);
        let memory = memory.as_mut_slice();
        let refused = |session: &mut Session, memory: &mut [u8], width| {
            Beam::<6>::with_width(session, memory, width)
                .map(drop)
                .unwrap_err()
        };
        for width in [0, 7] {
            let bad = DecodeError::BadWidth { width, most: 6 };
            assert_eq!(refused(session, memory, width), bad);
        }
        let few = DecodeError::TooFewCandidates {
            width: 5,
            candidates: CANDIDATES,
        };
        assert_eq!(refused(session, memory, 5), few);
        let needed = Beam::<6>::memory_len(&session.model(), 4).unwrap();
        assert_eq!(needed, 4 * (16 + 6 * MAX_TOKENS));
        let small = DecodeError::MemoryTooSmall {
            needed,
            given: needed - 1,
        };
        assert_eq!(refused(session, &mut memory[..needed - 1], 4), small);
        assert_eq!(
            refused(session, &mut memory[1..], 4),
            DecodeError::MemoryMisaligned
        );
        let beam = Beam::<6>::with_width(session, &mut memory[..needed], 4).unwrap();
        assert_eq!(beam.hypotheses().len(), 0);
    });
    assert_eq!(beam_len(&decoder_file(fused), 4), 4 * (16 + 6 * MAX_TOKENS));
    let file = Builder::new().file();
    assert_eq!(beam_len(&file, 4), 0);
    with_file(&file, |session| {
        let none = DecodeError::NoDecode;
        assert_eq!(Beam::<2>::memory_len(&session.model(), 2), Err(none));
        assert_eq!(Greedy::new(session).map(drop).unwrap_err(), none);
    });
}
