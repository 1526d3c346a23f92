//! Thresholds of a keyword spotter: set in a finished file, or found from recordings for a rate of false accepts.
//!
//! [`hear`] plays a recording to the spotter as the chip hears it and notes in each hop the keyword that leads. [`Curve`] counts over recordings
//! what each threshold would have missed and falsely reported. `training/attn_training/words/judge.py` has the same rules.

mod curve;

pub use curve::{Curve, HIGHEST, LEAST, Point, binomial, poisson};

use crate::runner::ModelFile;
use attn_runtime::format::{Header, MetaKey, MetaRecord, SpotterMeta, checksum};
use attn_runtime::kws::{KeywordSpotter, NEVER};
use attn_runtime::{ModelError, SessionError};
use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes};

/// Why thresholds cannot be written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TuneError {
    /// The file has no decision rule.
    #[error("the model is no keyword spotter: it does not say how posteriors become events")]
    NoSpotter,
    /// Another number of thresholds than labels.
    #[error("{given} thresholds for {needed} labels")]
    WrongCount {
        /// Labels of the file.
        needed: usize,
        /// Thresholds that were given.
        given: usize,
    },
    /// The file is signed.
    #[error(
        "the file is signed, and other thresholds would void its signature: tune the file that was signed, and sign it again"
    )]
    Signed,
    /// What came out is no model.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// The same file with other thresholds, Q15, one for each label; [`NEVER`] for a label that is not reported. Everything else keeps its bytes.
///
/// # Errors
/// [`TuneError`].
pub fn with_thresholds(file: &ModelFile, thresholds_q15: &[u16]) -> Result<ModelFile, TuneError> {
    let (_, present) = file.model().spotter().ok_or(TuneError::NoSpotter)?;
    if present.len() != thresholds_q15.len() {
        return Err(TuneError::WrongCount {
            needed: present.len(),
            given: thresholds_q15.len(),
        });
    }
    if file.model().signature().is_some() {
        return Err(TuneError::Signed);
    }
    let mut bytes = file.bytes().to_vec();
    let at = thresholds_at(&bytes).ok_or(TuneError::NoSpotter)?;
    let slot = bytes.get_mut(at..at + size_of_val(thresholds_q15));
    slot.ok_or(TuneError::NoSpotter)?
        .copy_from_slice(thresholds_q15.as_bytes());
    let sum = checksum(&bytes);
    let (header, _) = Header::mut_from_prefix(&mut bytes).map_err(|_| TuneError::NoSpotter)?;
    header.checksum = sum;
    Ok(ModelFile::new(&bytes)?)
}

/// Where in a parsed file the thresholds start.
fn thresholds_at(bytes: &[u8]) -> Option<usize> {
    let (header, _) = Header::ref_from_prefix(bytes).ok()?;
    let records = bytes.get(header.meta.offset as usize..)?;
    let (records, _) =
        <[MetaRecord]>::ref_from_prefix_with_elems(records, header.meta.count as usize).ok()?;
    let record = records
        .iter()
        .find(|record| record.key == MetaKey::Spotter as u16)?;
    Some(header.params.offset as usize + record.offset as usize + size_of::<SpotterMeta>())
}

/// The keyword that leads in a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Number of the label.
    pub label: usize,
    /// Its averaged posterior, Q15: it is reported from this threshold down.
    pub score_q15: u16,
}

/// Plays samples (16 kHz) to a spotter from a reset on; in each hop that completes, the label that leads among those that can be reported.
///
/// # Errors
/// [`SessionError`]; never for a parsed model.
pub fn hear(spotter: &mut KeywordSpotter, pcm: &[i16]) -> Result<Vec<Option<Lead>>, SessionError> {
    spotter.reset();
    let mut leads = Vec::new();
    for piece in pcm.chunks(spotter.hop()) {
        // No longer than a hop, a piece completes one at most.
        spotter.push(piece, |_| {})?;
        leads.push(lead(spotter));
    }
    Ok(leads)
}

/// The label that leads by now, by the rule of the chip: of equal ones the first.
fn lead(spotter: &KeywordSpotter) -> Option<Lead> {
    let decoder = spotter.decoder();
    let scores = decoder
        .averages_q15()
        .zip(decoder.thresholds_q15())
        .enumerate();
    scores
        .filter(|(_, (_, threshold))| **threshold <= HIGHEST_Q15)
        .map(|(label, (score_q15, _))| Lead { label, score_q15 })
        .reduce(|best, next| {
            if next.score_q15 > best.score_q15 {
                next
            } else {
                best
            }
        })
}

/// Highest score and threshold that is no [`NEVER`].
const HIGHEST_Q15: u16 = 32767;

const _: () = assert!(NEVER > HIGHEST_Q15);
