//! Sequences of tokens: greedy decoding and beam search over a model that reads an input with one entry point and makes
//! one token at a time with another.
//!
//! Here are the order of decoding and the choice of tokens, all of it on integers, in memory that the caller gives. What
//! the model needs to say for that is in [`crate::format::DecodeMeta`]; ranking a row of logits is in
//! [`crate::kernels::int::top_k`]. Every decode ends: at the end token, or at the model's limit on tokens.
//!
//! Attention weights are there after each [`Greedy::step`]. To see them along a sequence that a [`Beam`] found, let
//! [`Greedy::follow`] lead the model through it: that costs one more pass and no memory.

mod beam;
mod error;
mod greedy;
mod memory;
mod sampling;
mod stepper;
mod vocabulary;

pub use beam::{Beam, Hypothesis};
pub use error::DecodeError;
pub use greedy::Greedy;
pub use sampling::{Candidate, Sampling};
pub use vocabulary::{Spelling, Text, text};
