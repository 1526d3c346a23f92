//! Progress of long work: a callback for each step. The caller decides how to show it.

/// Phases that take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The float model runs on the calibration data.
    Calibrate,
    /// Values are tried in int8, one group after the other.
    Sensitivity,
    /// Ways to round the weights of each layer are compared.
    Round,
    /// Float and integers run on the same data.
    Compare,
    /// The finished file runs on calibration data, and what could be better is tried.
    Quality,
    /// A file runs on the samples of an npz file.
    Run,
}

impl Phase {
    /// The phase's name, to be shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calibrate => "calibrate",
            Self::Sensitivity => "sensitivity",
            Self::Round => "round",
            Self::Compare => "compare",
            Self::Quality => "quality",
            Self::Run => "run",
        }
    }
}

/// A finished step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The phase.
    pub phase: Phase,
    /// Steps done, 1 to `total`.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
}

impl Step {
    /// `done` of `total` steps of a phase.
    pub fn of(phase: Phase, done: usize, total: usize) -> Self {
        Self { phase, done, total }
    }
}

/// Callback for every step. One that unwinds ends the work, which leaves nothing half-written.
pub type Progress<'p> = &'p dyn Fn(Step);

/// Ignores every step.
pub fn silent(_: Step) {}
