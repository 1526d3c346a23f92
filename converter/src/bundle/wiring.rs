//! What lowering and decoding need from a bundle: the values that pass between its models, and the metadata of decoding.

use super::float::{Bundle, Decoding};
use crate::emit::Metadata;
use crate::error::Result;
use crate::graph::{Graph, ValueId};
use crate::lower::Link;
use attn_runtime::audio::{FRAME_LEN, MEL_BANDS, SAMPLE_RATE};
use attn_runtime::format::{AudioMeta, DecodeMeta, NONE};

impl Bundle<'_> {
    /// Values that pass between the models.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`](crate::error::ConvertError::Manifest) for unknown names.
    pub fn links(&self) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        for state in &self.states {
            let from = state.from.iter().map(|from| {
                let moved = self.moved.get(&from.value).copied();
                let value = moved.or_else(|| self.output(from.part, &from.value));
                let value = value.ok_or_else(|| self.missing("output", from.part, &from.value))?;
                Ok((from.part, value))
            });
            let to = self.input(state.to.part, &state.to.value);
            let to = to.ok_or_else(|| self.missing("input", state.to.part, &state.to.value))?;
            links.push(Link {
                name: state.name.clone(),
                from: from.collect::<Result<_>>()?,
                to: (state.to.part, to),
            });
        }
        Ok(links)
    }

    /// The graphs with the outputs that are left for the caller: what passes from one model to another is no result.
    pub fn graphs_for_caller(&self) -> Vec<Graph> {
        let mut graphs = self.graphs.clone();
        for from in self.states.iter().flat_map(|state| &state.from) {
            graphs[from.part].drop_output(&from.value);
        }
        graphs
    }

    /// What an application has to know, and what `given` says besides. `graphs` have the outputs that are left for the caller.
    ///
    /// # Errors
    /// [`ConvertError::Manifest`](crate::error::ConvertError::Manifest) for names that are unknown, or wired elsewhere.
    pub fn metadata(&self, graphs: &[Graph], links: &[Link], given: &Metadata) -> Result<Metadata> {
        let manifest = self.manifest;
        let (tokens, symbols) = (manifest.tokens()?, manifest.symbols()?);
        let decode = self.decoding.as_ref().map(|decoding| {
            let names = (&tokens[..], &symbols[..]);
            self.decode_meta(decoding, graphs, links, names)
        });
        let audio = manifest.audio.as_ref().map(|audio| AudioMeta {
            sample_rate: SAMPLE_RATE,
            frame_len: FRAME_LEN as u32,
            hop: audio.hop,
            mel_bands: MEL_BANDS as u32,
        });
        let separator = manifest.vocabulary.as_ref().map(|v| v.separator.clone());
        Ok(Metadata {
            decode: decode.transpose()?,
            separator: separator.unwrap_or_default(),
            symbols,
            tokens,
            audio: audio.or(given.audio),
            ..given.clone()
        })
    }

    fn decode_meta(
        &self,
        decoding: &Decoding,
        graphs: &[Graph],
        links: &[Link],
        (tokens, symbols): (&[String], &[String]),
    ) -> Result<DecodeMeta> {
        let (manifest, decode, step) = (self.manifest, decoding.keys, decoding.step);
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
        let count = self.classes();
        if !tokens.is_empty() && tokens.len() != count {
            let have = tokens.len();
            return Err(manifest.wrong(format!("{have} tokens in the vocabulary, {count} logits")));
        }
        let input = match (decoding.encode, &decode.input) {
            (Some(encode), Some(input)) => input_of(encode, input)?,
            (None, None) => NONE,
            _ => {
                let reason = "[decode] must name both `encode` and its `input`, or neither";
                return Err(manifest.wrong(reason));
            }
        };
        let optional = |token: &Option<_>| match token {
            Some(token) => manifest.number(token, symbols),
            None => Ok(NONE),
        };
        let weights = decode.weights.as_ref();
        let weights = weights
            .map(|weights| output_of(step, weights))
            .transpose()?;
        Ok(DecodeMeta {
            encode: decoding.encode.map_or(NONE, |encode| encode as u32),
            step: step as u32,
            input,
            token: input_of(step, &decode.token)?,
            logits: output_of(step, &decode.logits)?,
            scores: NONE,
            weights: weights.unwrap_or(NONE),
            tokens: count as u32,
            start: manifest.number(&decode.start, tokens)?,
            end: manifest.number(&decode.end, tokens)?,
            max_tokens: decode.max_tokens,
            hypothesis_len: 0,
            end_symbol: optional(&decode.end_symbol)?,
            separator: 0,
            pad: self.pad()?,
        })
    }

    /// True for the model whose input is the audio front end's features.
    pub fn hears(&self, part: usize, given: &Metadata) -> bool {
        let audio = self.manifest.audio.is_some() || given.audio.is_some();
        audio && self.first() == Some(part)
    }

    /// The output whose highest element is the answer, as (part, value): the step's logits, or the first of a model alone.
    pub fn logits(&self) -> Option<(usize, ValueId)> {
        match &self.decoding {
            Some(decoding) => {
                let logits = self.output(decoding.step, &decoding.keys.logits)?;
                Some((decoding.step, logits))
            }
            None => {
                let kept = |name: &String| {
                    let mut from = self.states.iter().flat_map(|state| &state.from);
                    from.any(|from| from.value == *name)
                };
                let at = self.outputs[0].iter().position(|name| !kept(name))?;
                Some((0, *self.graphs[0].outputs.get(at)?))
            }
        }
    }

    /// How many classes or tokens are rated.
    pub fn classes(&self) -> usize {
        let channels = |(part, id): (usize, ValueId)| self.graphs[part].values[id.0].channels();
        self.logits().map_or(0, channels)
    }
}
