//! `attn keygen`, `attn sign`, `attn verify`: who made a model.

use super::{CommandResult, check_output};
use crate::shown::say;
use attn_converter::runner::AlignedBytes;
use attn_converter::{files, sign};
use attn_runtime::{Limits, Model, Operators, Trust};
use clap::Args;
use std::path::PathBuf;

/// Makes a pair of keys: the secret one to sign models with, and the public one for the device.
#[derive(Args)]
pub struct Keygen {
    /// Where to write the secret key, 32 bytes. The public one is written beside it, with the ending .pub.
    #[arg(short, long)]
    output: PathBuf,
}

impl Keygen {
    pub fn run(&self) -> CommandResult {
        let public = self.output.with_extension("pub");
        for path in [&self.output, &public] {
            if path.exists() {
                let reason = format!(
                    "{}: is there already; keys are not replaced",
                    path.display()
                );
                return Err(reason.into());
            }
            check_output(path, [&self.output; 0])?;
        }
        let [secret, key] = sign::new_keys()?;
        files::write_secret(&self.output, &secret)?;
        files::write_bytes(&public, &key)?;
        say!(
            "{}: keep it secret; {}: for the device (include_bytes!)",
            self.output.display(),
            public.display()
        );
        Ok(())
    }
}

/// Signs a model: its name and its version belong to the signature.
#[derive(Args)]
pub struct Sign {
    /// The .attn file.
    model: PathBuf,
    /// The secret key.
    #[arg(long)]
    key: PathBuf,
    /// The model's name, up to 16 bytes: a device takes only models of the name that it expects.
    #[arg(long)]
    name: String,
    /// The model's version: a device takes none that is older than the last.
    #[arg(long = "release", value_name = "NUMBER")]
    version: u32,
    /// Where to write the signed .attn file.
    #[arg(short, long)]
    output: PathBuf,
}

impl Sign {
    pub fn run(&self) -> CommandResult {
        check_output(&self.output, [&self.model, &self.key])?;
        let signed = sign::sign(&self.model, &self.key, &self.name, self.version)?;
        files::write_bytes(&self.output, &signed)?;
        say!(
            "{}: {} as version {}, {} bytes",
            self.output.display(),
            self.name,
            self.version,
            signed.len()
        );
        Ok(())
    }
}

/// Checks a signed model as a device does.
#[derive(Args)]
pub struct Verify {
    /// The .attn file.
    model: PathBuf,
    /// The public key.
    #[arg(long)]
    key: PathBuf,
    /// The name that the model must have.
    #[arg(long)]
    name: String,
    /// The oldest version that is accepted.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    oldest: u32,
}

impl Verify {
    pub fn run(&self) -> CommandResult {
        let key = sign::read_key(&self.key)?;
        let file = AlignedBytes::new(&files::read_bytes(&self.model)?);
        let trust = Trust {
            key: &key,
            model: sign::model_name(&self.name)?,
            oldest: self.oldest,
        };
        let parsed = Model::parse_signed(
            file.as_slice(),
            &trust,
            Operators::all(),
            &Limits::default(),
        );
        let model = parsed.map_err(|error| format!("{}: {error}", self.model.display()))?;
        let version = model.signature().map_or(0, |signed| signed.version);
        say!(
            "{}: {}, version {version}, signed with this key",
            self.model.display(),
            self.name
        );
        Ok(())
    }
}
