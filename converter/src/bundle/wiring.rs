//! What lowering and decoding need from a bundle: the values that pass between its models, and the metadata of decoding.

use super::float::Bundle;
use crate::emit::Metadata;
use crate::error::ConvertError;
use crate::graph::{Graph, ValueId};
use crate::lower::Link;
use attn_runtime::audio::{FRAME_LEN, MEL_BANDS, SAMPLE_RATE};
use attn_runtime::format::{AudioMeta, DecodeMeta, NONE};

impl Bundle<'_> {
    /// Values that pass between the models.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`] for unknown names.
    pub fn links(&self) -> Result<Vec<Link>, ConvertError> {
        let mut links = Vec::new();
        for state in &self.states {
            let from = state.from.iter().map(|from| {
                let value = self.output(from.part, &from.value);
                let value = value.ok_or_else(|| self.missing("output", from.part, &from.value))?;
                Ok((from.part, value))
            });
            let to = self.input(state.to.part, &state.to.value);
            let to = to.ok_or_else(|| self.missing("input", state.to.part, &state.to.value))?;
            links.push(Link {
                name: state.name.clone(),
                from: from.collect::<Result<_, ConvertError>>()?,
                to: (state.to.part, to),
            });
        }
        Ok(links)
    }

    /// Metadata for decoding, added to `given`. `graphs` have the outputs that remain for the caller.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`] for names that are unknown, or wired elsewhere.
    pub fn metadata(
        &self,
        graphs: &[Graph],
        links: &[Link],
        given: &Metadata,
    ) -> Result<Metadata, ConvertError> {
        let (manifest, decode) = (self.manifest, &self.manifest.decode);
        let (tokens, symbols) = (manifest.tokens()?, manifest.symbols()?);
        let wired = |name: &str| manifest.wrong(format!("[decode] `{name}` is wired in [state]"));
        let input_of = |part: usize, name: &str| {
            let id = self
                .input(part, name)
                .ok_or_else(|| self.missing("input", part, name))?;
            let given = |input: &&ValueId| !links.iter().any(|link| link.to == (part, **input));
            let mut given = graphs[part].inputs.iter().filter(given);
            let place = given.position(|&input| input == id);
            place.map(|at| at as u32).ok_or_else(|| wired(name))
        };
        let output_of = |part: usize, name: &str| {
            let id = self
                .output(part, name)
                .ok_or_else(|| self.missing("output", part, name))?;
            let place = graphs[part].outputs.iter().position(|&output| output == id);
            place.map(|at| at as u32).ok_or_else(|| wired(name))
        };
        let logits = self.output(self.step, &decode.logits);
        let logits = logits.ok_or_else(|| self.missing("output", self.step, &decode.logits))?;
        let count = graphs[self.step].values[logits.0].channels();
        if !tokens.is_empty() && tokens.len() != count {
            return Err(manifest.wrong(format!(
                "{} tokens in the vocabulary, {count} logits",
                tokens.len()
            )));
        }
        let input = match (self.encode, &decode.input) {
            (Some(encode), Some(input)) => input_of(encode, input)?,
            (None, None) => NONE,
            _ => {
                return Err(
                    manifest.wrong("[decode] must name both `encode` and its `input`, or neither")
                );
            }
        };
        let optional = |token: &Option<_>| match token {
            Some(token) => manifest.number(token, &symbols),
            None => Ok(NONE),
        };
        let weights = match &decode.weights {
            Some(weights) => output_of(self.step, weights)?,
            None => NONE,
        };
        Ok(Metadata {
            decode: Some(DecodeMeta {
                encode: self.encode.map_or(NONE, |encode| encode as u32),
                step: self.step as u32,
                input,
                token: input_of(self.step, &decode.token)?,
                logits: output_of(self.step, &decode.logits)?,
                scores: NONE,
                weights,
                tokens: count as u32,
                start: manifest.number(&decode.start, &tokens)?,
                end: manifest.number(&decode.end, &tokens)?,
                max_tokens: decode.max_tokens,
                hypothesis_len: 0,
                end_symbol: optional(&decode.end_symbol)?,
                separator: 0,
                pad: self.pad()?,
            }),
            separator: manifest
                .vocabulary
                .as_ref()
                .map(|v| v.separator.clone())
                .unwrap_or_default(),
            symbols,
            tokens,
            audio: manifest.audio.as_ref().map(|audio| AudioMeta {
                sample_rate: SAMPLE_RATE,
                frame_len: FRAME_LEN as u32,
                hop: audio.hop,
                mel_bands: MEL_BANDS as u32,
            }),
            labels: given.labels.clone(),
            spotter: None,
        })
    }

    /// True for the model whose input is the audio front end's features.
    pub fn hears(&self, part: usize) -> bool {
        self.manifest.audio.is_some() && self.encode == Some(part)
    }

    /// Number of tokens that the step rates.
    pub fn logits(&self) -> Option<usize> {
        let logits = self.output(self.step, &self.manifest.decode.logits)?;
        Some(self.graphs[self.step].values[logits.0].channels())
    }
}
