//! Signatures over `.attn` files, so that a device knows who made a model; see [`attn_runtime::Model::parse_signed`].

use crate::error::ConvertError;
use crate::files::FileError;
use crate::runner::ModelFile;
use attn_runtime::format::{
    FILE_ALIGN, HEADER_LEN, Header, MetaKey, MetaRecord, Section, SignatureMeta, checksum,
};
use attn_runtime::signed_parts;
use ed25519_compact::{KeyPair, Seed};
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of a key, public or secret.
pub const KEY_LEN: usize = 32;
/// Bytes of a model's name.
pub const NAME_LEN: usize = 16;

/// Why a file cannot be signed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not a model.
    #[error(transparent)]
    Model(#[from] ConvertError),
    /// A key of another length.
    #[error("{path}: {found} bytes; a key has {KEY_LEN}")]
    BadKey {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: usize,
    },
    /// A secret key that consists of zeros.
    #[error("{path}: a key of zeros is none")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The operating system has no random numbers.
    #[error("the operating system gives no random numbers: try again")]
    NoRandomness,
    /// A name that is empty or too long.
    #[error("model name `{name}`: it must have 1 to {NAME_LEN} bytes")]
    BadName {
        /// The name.
        name: String,
    },
    /// The file would be too long.
    #[error("the signed file would be longer than 4 GiB")]
    TooLong,
}

/// A model's name as the signature has it: UTF-8, zeros behind it.
///
/// # Errors
/// [`SignError::BadName`].
pub fn model_name(name: &str) -> Result<[u8; NAME_LEN], SignError> {
    let bytes = name.as_bytes();
    let mut padded = [0; NAME_LEN];
    match padded
        .get_mut(..bytes.len())
        .filter(|part| !part.is_empty())
    {
        Some(part) => part.copy_from_slice(bytes),
        None => return Err(SignError::BadName { name: name.into() }),
    }
    Ok(padded)
}

/// A new pair of keys: the secret one and the public one.
///
/// # Errors
/// [`SignError::NoRandomness`].
pub fn new_keys() -> Result<[[u8; KEY_LEN]; 2], SignError> {
    let mut seed = [0; KEY_LEN];
    getrandom::fill(&mut seed).map_err(|_| SignError::NoRandomness)?;
    let pair = KeyPair::try_from_seed(Seed::new(seed)).map_err(|_| SignError::NoRandomness)?;
    Ok([seed, *pair.pk])
}

/// A key from a file.
///
/// # Errors
/// [`SignError::File`], [`SignError::BadKey`].
pub fn read_key(path: &Path) -> Result<[u8; KEY_LEN], SignError> {
    let bytes = crate::files::read_bytes(path)?;
    bytes
        .try_into()
        .map_err(|bytes: Vec<u8>| SignError::BadKey {
            path: path.into(),
            found: bytes.len(),
        })
}

/// The model in `path` as `version` of the model `name`, signed with the secret key in `key`. A signature that it has is replaced.
///
/// # Errors
/// [`SignError`].
pub fn sign(path: &Path, key: &Path, name: &str, version: u32) -> Result<Vec<u8>, SignError> {
    let model = model_name(name)?;
    let seed = read_key(key)?;
    let pair = KeyPair::try_from_seed(Seed::new(seed))
        .map_err(|_| SignError::NoKey { path: key.into() })?;
    let file = ModelFile::load(path)?;
    let signature = SignatureMeta {
        model,
        version,
        signature: [0; 64],
    };
    let (mut signed, at) = with_record(file.bytes(), &signature).ok_or(SignError::TooLong)?;
    let place = at + offset_of!(SignatureMeta, signature);
    // In one piece: the form of this crate that takes pieces needs fresh randomness for each signature.
    let signature = pair.sk.sign(signed_parts(&signed, place).concat(), None);
    signed[place..place + 64].copy_from_slice(signature.as_ref());
    seal(&mut signed);
    Ok(signed)
}

/// The file with this record, and where its payload is.
fn with_record(file: &[u8], signature: &SignatureMeta) -> Option<(Vec<u8>, usize)> {
    let (mut header, _) = Header::read_from_prefix(file).ok()?;
    let part = |section: Section, each: usize| {
        let start = section.offset as usize;
        file.get(start..start + section.count as usize * each)
    };
    let meta = part(header.meta, size_of::<MetaRecord>())?;
    let mut records = <[MetaRecord]>::ref_from_bytes(meta).ok()?.to_vec();
    let mut params = part(header.params, 1)?.to_vec();
    let mut out = file.to_vec();
    let old = records.iter().find(|r| r.key == MetaKey::Signature as u16);
    if let Some(record) = old {
        let at = header.params.offset as usize + record.offset as usize;
        out.get_mut(at..at + size_of::<SignatureMeta>())?
            .copy_from_slice(signature.as_bytes());
        return Some((out, at));
    }
    params.resize(params.len().next_multiple_of(4), 0);
    let offset = params.len() as u32;
    params.extend(signature.as_bytes());
    records.push(MetaRecord {
        key: MetaKey::Signature as u16,
        count: 1,
        offset,
        len: size_of::<SignatureMeta>() as u32,
    });
    // The old places of both become a gap of zeros.
    for (section, each) in [(header.meta, size_of::<MetaRecord>()), (header.params, 1)] {
        let start = section.offset as usize;
        out[start..start + section.count as usize * each].fill(0);
    }
    header.meta = append(&mut out, records.as_bytes(), records.len())?;
    header.params = append(&mut out, &params, params.len())?;
    header.file_len = u32::try_from(out.len()).ok()?;
    out[..HEADER_LEN].copy_from_slice(header.as_bytes());
    Some((out, header.params.offset as usize + offset as usize))
}

fn append(out: &mut Vec<u8>, bytes: &[u8], count: usize) -> Option<Section> {
    out.resize(out.len().next_multiple_of(FILE_ALIGN), 0);
    let offset = u32::try_from(out.len()).ok()?;
    out.extend_from_slice(bytes);
    let count = u32::try_from(count).ok()?;
    Some(Section { offset, count })
}

fn seal(file: &mut [u8]) {
    let at = offset_of!(Header, checksum);
    let sum = checksum(file);
    file[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}
