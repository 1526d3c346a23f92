//! Progress of long work, told step by step to whoever asked for the work. How it is shown is theirs to say.

/// Work that takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The float model runs on the calibration data.
    Calibrate,
    /// Values are tried in int8, one group after the other.
    Sensitivity,
    /// Float and integers run on the same data.
    Compare,
}

impl Phase {
    /// The phase's name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calibrate => "calibrate",
            Self::Sensitivity => "sensitivity",
            Self::Compare => "compare",
        }
    }
}

/// A step that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is going on.
    pub phase: Phase,
    /// Steps done, 1 to `total`.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
}

/// Is told of every step.
pub type Progress<'p> = &'p dyn Fn(Step);

/// Ignores every step.
pub fn silent(_: Step) {}
