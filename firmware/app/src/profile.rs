//! What each operator of an entry point takes by the board's own counter: the columns of `attn bench`, on silicon. A board gives the
//! counter and shows the lines.

use attn_runtime::{Progress, Session, SessionError};

/// What an operator took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Operator<'m> {
    /// Its kind, as `attn bench` calls it.
    pub operator: &'static str,
    /// Its name in the model.
    pub name: &'m str,
    /// Ticks of the counter.
    pub cycles: u32,
}

/// Runs an entry point whose inputs are filled. `counter` reads a counter that goes up and around (the `CYCCNT` of a Cortex-M's DWT);
/// `each` gets every operator after it has run.
///
/// # Errors
/// [`SessionError::Unfinished`] in a run, [`SessionError::NoSuchEntry`].
pub fn run<'m>(
    session: &mut Session<'m, '_>,
    entry: usize,
    mut counter: impl FnMut() -> u32,
    mut each: impl FnMut(Operator<'m>),
) -> Result<(), SessionError> {
    let model = session.model();
    session.start(entry)?;
    let ids = model.entries().get(entry).map_or(0..0, |entry| entry.ops());
    for record in model.ops().get(ids).unwrap_or_default() {
        let before = counter();
        let progress = session.run_ops(1)?;
        let cycles = counter().wrapping_sub(before);
        each(Operator {
            operator: record.kind().map_or("?", |kind| kind.name()),
            name: model.name(record.name),
            cycles,
        });
        if progress == Progress::Done {
            break;
        }
    }
    Ok(())
}

/// The model of the environment variable ATTN_MODEL, and its session.
#[cfg(feature = "profile")]
pub mod embedded {
    use attn_runtime::{Arena, ModelError, Session, SessionError};
    use static_cell::ConstStaticCell;

    attn_runtime::include_model!(
        /// The model of the environment variable ATTN_MODEL.
        pub mod model = concat!(env!("OUT_DIR"), "/model.attn")
    );

    static ARENA: ConstStaticCell<Arena<{ model::ARENA_LEN }>> =
        ConstStaticCell::new(model::arena());

    /// Errors at the start.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[cfg_attr(feature = "defmt", derive(defmt::Format))]
    pub enum StartError {
        /// The embedded file is not a model.
        Model(ModelError),
        /// The session cannot be created.
        Session(SessionError),
        /// [`start`] was called twice; there is only one arena.
        Twice,
    }

    /// The session of the embedded model.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start() -> Result<Session<'static, 'static>, StartError> {
        let model = model::model().map_err(StartError::Model)?;
        let arena = ARENA.try_take().ok_or(StartError::Twice)?;
        Session::new(model, arena.as_mut_slice()).map_err(StartError::Session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    attn_runtime::include_model!(mod tiny = "../../../runtime/tests/tiny.attn");

    #[test]
    fn every_operator_is_reported_with_what_it_took() {
        let mut arena = tiny::arena::<{ tiny::ARENA_LEN }>();
        let mut session = Session::new(tiny::model().unwrap(), arena.as_mut_slice()).unwrap();
        // A counter that runs over within the first operator.
        let mut ticks = u32::MAX - 1;
        let counter = || {
            ticks = ticks.wrapping_add(5);
            ticks
        };
        let mut found = Vec::new();
        run(&mut session, 0, counter, |operator| found.push(operator)).unwrap();
        let operator = |operator, name| Operator {
            operator,
            name,
            cycles: 5,
        };
        assert_eq!(found, [operator("Linear", "fc"), operator("Lut", "tanh")]);
        let error = run(&mut session, 9, || 0, |_| {});
        assert_eq!(error, Err(SessionError::NoSuchEntry { entry: 9 }));
    }
}
