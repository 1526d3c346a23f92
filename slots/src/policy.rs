//! Which files are accepted as models.

use attn_runtime::{Limits, Model, ModelError, Operators};
#[cfg(feature = "signed")]
use attn_runtime::{SignedError, Trust};
use core::fmt;

/// Decides which files are accepted. [`Unsigned`] and `Signed` (feature `signed`) are those that a product needs.
pub trait Policy {
    /// Why a file is not accepted.
    type Refusal: fmt::Debug + fmt::Display;

    /// Checks a whole file. `oldest` is the oldest version that may still come; 0 for a file that was accepted before.
    ///
    /// # Errors
    /// Why it is refused.
    fn check<'f>(&self, file: &'f [u8], oldest: u32) -> Result<Model<'f>, Self::Refusal>;

    /// The version of a model that was accepted: older ones are refused from then on. 0 where no version is proved.
    fn version(&self, model: &Model<'_>) -> u32;
}

/// Accepts any model, whoever made it: the checksum finds accidents of the transport, not attackers.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned {
    /// The operators that a model may use.
    pub operators: &'static Operators,
    /// The work that a run may take.
    pub limits: Limits,
}

impl Policy for Unsigned {
    type Refusal = ModelError;

    fn check<'f>(&self, file: &'f [u8], _oldest: u32) -> Result<Model<'f>, ModelError> {
        Model::parse_with(file, self.operators, &self.limits)
    }

    fn version(&self, _model: &Model<'_>) -> u32 {
        0
    }
}

/// Accepts models that were signed with the right key, for this product, and are no older than any that was accepted before.
#[cfg(feature = "signed")]
#[derive(Clone, Copy, Debug)]
pub struct Signed<'k> {
    /// The key, the model's name, and the oldest version that may come, whatever the slots hold: that of the model which is compiled in,
    /// or 0.
    pub trust: Trust<'k>,
    /// The operators that a model may use.
    pub operators: &'static Operators,
    /// The work that a run may take.
    pub limits: Limits,
}

#[cfg(feature = "signed")]
impl Policy for Signed<'_> {
    type Refusal = SignedError;

    fn check<'f>(&self, file: &'f [u8], oldest: u32) -> Result<Model<'f>, SignedError> {
        let mut trust = self.trust;
        trust.oldest = trust.oldest.max(oldest);
        Model::parse_signed(file, &trust, self.operators, &self.limits)
    }

    fn version(&self, model: &Model<'_>) -> u32 {
        model.signature().map_or(0, |signed| signed.version)
    }
}
