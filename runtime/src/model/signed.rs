//! Signed files: who made a model, which one it is, and that it is no older than the last.

use super::{Limits, Model, ModelError};
use crate::format::{CHECKSUM_AT, MetaKey, SignatureMeta};
use crate::ops::Operators;
use core::fmt;
use core::mem::offset_of;
use ed25519_compact::{PublicKey, Signature};

/// Whose models are accepted, which, and from which version on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Trust<'k> {
    /// Public Ed25519 key, 32 bytes: `include_bytes!` of the file that was made with the secret one.
    pub key: &'k [u8; 32],
    /// The model that it must be; see [`SignatureMeta::model`].
    pub model: [u8; 16],
    /// The oldest version that is accepted: keep that of the last model, so that nobody brings an old one back.
    pub oldest: u32,
}

/// Why a signed model is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SignedError {
    /// Not a model.
    Model(ModelError),
    /// The file has no signature.
    Unsigned,
    /// The signature was not made over these bytes with the secret key that belongs to the public one.
    BadSignature,
    /// A model of another name.
    OtherModel {
        /// Its name.
        found: [u8; 16],
    },
    /// An older version.
    Older {
        /// Its version.
        found: u32,
        /// The oldest that is accepted.
        oldest: u32,
    },
}

impl fmt::Display for SignedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(error) => error.fmt(f),
            Self::Unsigned => f.write_str("the model is not signed: sign it with the secret key"),
            Self::BadSignature => f.write_str(
                "the signature does not fit: the file was changed after it was signed, or signed with another key",
            ),
            Self::OtherModel { found } => {
                f.write_str("it is another model: ")?;
                let text = found.iter().take_while(|byte| **byte != 0);
                text.into_iter().try_for_each(|byte| byte.escape_ascii().fmt(f))
            }
            Self::Older { found, oldest } => write!(
                f,
                "version {found}; {oldest} is the oldest that is accepted: sign it with a greater version"
            ),
        }
    }
}

impl core::error::Error for SignedError {}

impl From<ModelError> for SignedError {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

impl<'a> Model<'a> {
    /// [`Model::parse_with`], then checks who signed the file, for which model and as which version.
    ///
    /// The signature is Ed25519 (RFC 8032) over all bytes of the file but the checksum and the signature itself.
    ///
    /// # Errors
    /// [`SignedError`].
    pub fn parse_signed(
        file: &'a [u8],
        trust: &Trust,
        operators: &'static Operators,
        limits: &Limits,
    ) -> Result<Self, SignedError> {
        let model = Self::parse_with(file, operators, limits)?;
        let signed = model.signature().ok_or(SignedError::Unsigned)?;
        model.verify(file, signed, trust.key)?;
        if signed.model != trust.model {
            return Err(SignedError::OtherModel {
                found: signed.model,
            });
        }
        let (found, oldest) = (signed.version, trust.oldest);
        if found < oldest {
            return Err(SignedError::Older { found, oldest });
        }
        Ok(model)
    }

    fn verify(
        &self,
        file: &[u8],
        signed: &SignatureMeta,
        key: &[u8; 32],
    ) -> Result<(), SignedError> {
        let bad = |_| SignedError::BadSignature;
        let mut state = PublicKey::new(*key)
            .verify_incremental(&Signature::new(signed.signature))
            .map_err(bad)?;
        let at = self.signature_at().ok_or(SignedError::Unsigned)?;
        for part in signed_parts(file, at) {
            state.absorb(part);
        }
        state.verify().map_err(bad)
    }

    /// Where the bytes of the signature are in the file.
    fn signature_at(&self) -> Option<usize> {
        let record = self
            .meta
            .iter()
            .find(|r| r.key == MetaKey::Signature as u16)?;
        let payload = (self.header.params.offset as usize).checked_add(record.offset as usize)?;
        payload.checked_add(offset_of!(SignatureMeta, signature))
    }
}

/// The bytes that are signed: all but the checksum and the signature, which is at byte `at`.
pub fn signed_parts(file: &[u8], at: usize) -> [&[u8]; 3] {
    let end = CHECKSUM_AT + size_of::<u32>();
    let behind = at.saturating_add(size_of::<Signature>());
    [0..CHECKSUM_AT, end..at, behind..file.len()].map(|range| file.get(range).unwrap_or(&[]))
}
