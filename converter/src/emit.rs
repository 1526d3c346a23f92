//! Emission: a planned program becomes the bytes of an `.attn` file, written with the runtime's own record types.

use crate::error::{ConvertError, Result};
use crate::plan::Plan;
use crate::program::{Operator, Program, Tensor};
use attn_runtime::format::{
    AudioMeta, DecodeMeta, EntryRecord, FILE_ALIGN, HEADER_LEN, Header, LengthMeta, MAGIC,
    MAX_ENTRY_IO, MAX_NAME_LEN, MAX_RANK, MetaKey, MetaRecord, NO_TENSOR, OpRecord, Section,
    SpotterMeta, Storage, TensorRecord, VERSION, checksum,
};
use zerocopy::IntoBytes;

/// Metadata for the application around the network.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Class names in the order of the logits.
    pub labels: Vec<String>,
    /// The front end, if the input is audio.
    pub audio: Option<AudioMeta>,
    /// How posteriors become events, with one Q15 threshold per label.
    pub spotter: Option<(SpotterMeta, Vec<u16>)>,
    /// How the model decodes sequences of tokens; `separator` comes from [`Metadata::separator`].
    pub decode: Option<DecodeMeta>,
    /// Separator between two tokens in a text.
    pub separator: String,
    /// Names of the input symbols, by number.
    pub symbols: Vec<String>,
    /// Names of the output tokens, by number.
    pub tokens: Vec<String>,
}

/// The file.
///
/// # Errors
/// [`ConvertError::Limit`] when there are more tensors, or more dimensions, than the format can number.
pub fn emit(program: &Program, plan: &Plan, metadata: &Metadata) -> Result<Vec<u8>> {
    let mut sections = Sections::default();
    if program.tensors.len() >= usize::from(NO_TENSOR) {
        let reason = format!(
            "{} tensors; the format numbers up to 65534",
            program.tensors.len()
        );
        return Err(ConvertError::Limit {
            node: "model".into(),
            reason,
        });
    }
    let tensors = program.tensors.iter().zip(&plan.offsets);
    let tensors = tensors.map(|(tensor, &offset)| sections.tensor(tensor, offset, plan));
    let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
    let ops: Vec<OpRecord> = program.ops.iter().map(|op| sections.op(op)).collect();
    let entries: Vec<EntryRecord> = program
        .entries
        .iter()
        .map(|entry| EntryRecord {
            name: sections.name(&entry.name),
            first_op: entry.ops.start as u32,
            op_count: entry.ops.len() as u32,
            inputs: ids::<MAX_ENTRY_IO>(&entry.inputs),
            outputs: ids::<MAX_ENTRY_IO>(&entry.outputs),
            input_names: sections.names(&entry.input_names),
            output_names: sections.names(&entry.output_names),
        })
        .collect();
    let mut meta = sections.metadata(metadata);
    if program.max_length > 0 {
        let length = LengthMeta {
            max: program.max_length as u32,
        };
        let payload = [length.as_bytes(), program.row_rules.as_bytes()].concat();
        meta.push(sections.meta(MetaKey::Length, program.row_rules.len(), &payload));
    }
    let mut file = vec![0; HEADER_LEN];
    let header = Header {
        magic: MAGIC,
        version: VERSION,
        flags: 0,
        file_len: 0,
        checksum: 0,
        arena_len: plan.arena_len as u32,
        state_len: plan.state_len as u32,
        tensors: append(&mut file, tensors.as_bytes(), tensors.len()),
        ops: append(&mut file, ops.as_bytes(), ops.len()),
        entries: append(&mut file, entries.as_bytes(), entries.len()),
        meta: append(&mut file, meta.as_bytes(), meta.len()),
        params: append(&mut file, &sections.params, sections.params.len()),
        weights: append(&mut file, &program.weights, program.weights.len()),
        strings: append(&mut file, &sections.strings, sections.strings.len()),
    };
    Ok(sealed(file, header))
}

/// Fills in length and checksum.
fn sealed(mut file: Vec<u8>, mut header: Header) -> Vec<u8> {
    header.file_len = file.len() as u32;
    file[..HEADER_LEN].copy_from_slice(header.as_bytes());
    header.checksum = checksum(&file);
    file[..HEADER_LEN].copy_from_slice(header.as_bytes());
    file
}

fn append(file: &mut Vec<u8>, bytes: &[u8], count: usize) -> Section {
    file.resize(file.len().next_multiple_of(FILE_ALIGN), 0);
    let offset = file.len() as u32;
    file.extend_from_slice(bytes);
    Section {
        offset,
        count: count as u32,
    }
}

fn ids<const N: usize>(list: &[usize]) -> [u16; N] {
    core::array::from_fn(|slot| list.get(slot).map_or(NO_TENSOR, |&id| id as u16))
}

/// The sections that grow while records are written.
struct Sections {
    params: Vec<u8>,
    strings: Vec<u8>,
}

impl Default for Sections {
    fn default() -> Self {
        // Offset 0 holds the empty name.
        Self {
            params: Vec::new(),
            strings: vec![0, 0],
        }
    }
}

impl Sections {
    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let end = name.floor_char_boundary(MAX_NAME_LEN);
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(&(end as u16).to_le_bytes());
        self.strings.extend_from_slice(&name.as_bytes()[..end]);
        at
    }

    fn names(&mut self, names: &[String]) -> [u32; MAX_ENTRY_IO] {
        core::array::from_fn(|slot| names.get(slot).map_or(0, |name| self.name(name)))
    }

    fn params(&mut self, bytes: &[u8]) -> (u32, u32) {
        let at = self.params.len();
        self.params.extend_from_slice(bytes);
        self.params.resize(self.params.len().next_multiple_of(4), 0);
        (at as u32, bytes.len() as u32)
    }

    fn tensor(&mut self, tensor: &Tensor, offset: usize, plan: &Plan) -> Result<TensorRecord> {
        if tensor.dims.len() > MAX_RANK {
            let reason = format!(
                "{} dimensions; the format has {MAX_RANK}",
                tensor.dims.len()
            );
            return Err(ConvertError::Limit {
                node: tensor.name.clone(),
                reason,
            });
        }
        let storage = if offset < plan.state_len {
            Storage::State
        } else {
            Storage::Arena
        };
        Ok(TensorRecord {
            dtype: tensor.quant.dtype as u8,
            storage: storage as u8,
            rank: tensor.dims.len() as u8,
            rows_rule: tensor.rows_rule,
            dims: core::array::from_fn(|axis| tensor.dims.get(axis).map_or(1, |&d| d as u32)),
            offset: offset as u32,
            scale: tensor.quant.scale,
            zero_point: tensor.quant.zero_point,
            name: self.name(&tensor.name),
        })
    }

    fn op(&mut self, op: &Operator) -> OpRecord {
        let (params, params_len) = self.params(&op.params);
        OpRecord {
            kind: op.kind as u16,
            inputs: ids(&op.inputs),
            outputs: ids(&op.outputs),
            scratch: op.scratch.map_or(NO_TENSOR, |id| id as u16),
            encoding: op.encoding as u16,
            name: self.name(&op.name),
            params,
            params_len,
        }
    }

    fn metadata(&mut self, metadata: &Metadata) -> Vec<MetaRecord> {
        let mut records = Vec::new();
        for (key, names) in [
            (MetaKey::Labels, &metadata.labels),
            (MetaKey::Symbols, &metadata.symbols),
            (MetaKey::Tokens, &metadata.tokens),
        ] {
            if !names.is_empty() {
                let offsets: Vec<u32> = names.iter().map(|name| self.name(name)).collect();
                records.push(self.meta(key, offsets.len(), offsets.as_bytes()));
            }
        }
        if let Some(decode) = metadata.decode {
            let separator = self.name(&metadata.separator);
            let decode = DecodeMeta {
                separator,
                ..decode
            };
            records.push(self.meta(MetaKey::Decode, 1, decode.as_bytes()));
        }
        if let Some(audio) = metadata.audio {
            records.push(self.meta(MetaKey::Audio, 1, audio.as_bytes()));
        }
        if let Some((spotter, thresholds)) = &metadata.spotter {
            let mut payload = spotter.as_bytes().to_vec();
            payload.extend_from_slice(thresholds.as_bytes());
            payload.resize(payload.len().next_multiple_of(4), 0);
            records.push(self.meta(MetaKey::Spotter, thresholds.len(), &payload));
        }
        records
    }

    fn meta(&mut self, key: MetaKey, count: usize, payload: &[u8]) -> MetaRecord {
        let (offset, len) = self.params(payload);
        MetaRecord {
            key: key as u16,
            count: count as u16,
            offset,
            len,
        }
    }
}
