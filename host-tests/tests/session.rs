//! A session that is used in the wrong order: each mistake is an error, never a wrong result.

use attn_runtime::format::Encoding;
use attn_runtime::{Progress, Session, SessionError};
use attn_test_support::running::with_file;
use attn_test_support::tiny_model::{C, tiny_model};

/// The tiny model's stream and its entry point for words.
fn with_tiny(check: impl FnOnce(&mut Session, usize, usize)) {
    with_file(&tiny_model(Encoding::Int8), |session| {
        let model = session.model();
        let [stream, words] = ["step", "words"].map(|name| model.entry(name));
        check(session, stream.unwrap_or(0), words.expect("an entry point"));
    });
}

/// The state and the outputs after a run of entry point `entry` with inputs of this value.
fn run(session: &mut Session, entry: usize, value: i8) -> Vec<u8> {
    session.input::<i8>(entry, 0).unwrap().fill(value);
    session.run(entry).unwrap();
    let model = session.model();
    let ids = model.entries()[entry].outputs();
    ids.flat_map(|id| session.tensor_bytes(id).unwrap().to_vec())
        .collect()
}

#[test]
fn a_run_that_is_not_finished_is_finished_or_given_up() {
    with_tiny(|session, stream, words| {
        let fresh = run(session, stream, 3);
        session.reset();
        session.input::<i8>(stream, 0).unwrap().fill(3);
        session.start(stream).unwrap();
        assert_eq!(session.run_ops(2), Ok(Progress::More));
        let unfinished = SessionError::Unfinished;
        assert_eq!(session.input::<i8>(stream, 0), Err(unfinished));
        assert_eq!(session.input::<i32>(words, 0), Err(unfinished));
        assert_eq!(session.output::<i16>(words, 0), Err(unfinished));
        assert_eq!(session.set_length(1), Err(unfinished));
        assert_eq!(session.start(stream), Err(unfinished));
        assert_eq!(session.run(words), Err(unfinished));
        while session.run_ops(1).unwrap() == Progress::More {}
        assert_eq!(session.run_ops(1), Err(SessionError::NotStarted));
        // Given up, the state is that of a new session.
        session.reset();
        session.input::<i8>(stream, 0).unwrap().fill(77);
        session.start(stream).unwrap();
        session.run_ops(4).unwrap();
        session.reset();
        assert_eq!(session.run_ops(1), Err(SessionError::NotStarted));
        assert_eq!(run(session, stream, 3), fresh);
    });
}

#[test]
fn outputs_are_read_behind_their_run() {
    with_tiny(|session, stream, words| {
        let void = Err(SessionError::NotRun { entry: words });
        assert_eq!(session.output::<i16>(words, 0), void);
        let rows = |session: &mut Session, length: usize| {
            session.set_length(length).unwrap();
            session.input::<i32>(words, 0).unwrap().fill(1);
            session.run(words).unwrap();
            session.output::<i16>(words, 0).map(<[i16]>::len)
        };
        assert_eq!(rows(session, 2), Ok(2 * C));
        // Its rows would be others.
        session.set_length(4).unwrap();
        assert_eq!(session.output::<i16>(words, 0), void);
        rows(session, 4).unwrap();
        session.reset();
        assert_eq!(session.output::<i16>(words, 0), void);
        rows(session, 4).unwrap();
        run(session, stream, 3);
        assert_eq!(session.output::<i16>(words, 0), void);
    });
}

#[test]
fn an_input_in_the_place_of_an_output_makes_it_void() {
    use attn_runtime::format::{DType, OpKind, Storage};
    use attn_test_support::tiny_model::{Builder, Int};
    for shared in [false, true] {
        let mut b = Builder::new();
        let x = b.tensor(Storage::Arena, DType::I16, 1, C);
        let y = b.tensor(Storage::Arena, DType::I16, 1, C);
        let z = b.tensor(Storage::Arena, DType::I16, 1, C);
        b.op(OpKind::Softmax, &[x], &[y], 0, &[Int(1)]);
        b.op(OpKind::Softmax, &[y], &[z], 0, &[Int(1)]);
        if shared {
            b.tensors[usize::from(z)].offset = b.tensors[usize::from(x)].offset;
        }
        b.entry("run", 0, &[x], &[z]);
        with_file(&b.file(), |session| {
            session.input::<i16>(0, 0).unwrap().fill(5);
            session.run(0).unwrap();
            assert!(session.output::<i16>(0, 0).is_ok());
            session.input::<i16>(0, 0).unwrap().fill(6);
            assert_eq!(session.output::<i16>(0, 0).is_ok(), !shared);
        });
    }
}
