//! Inputs whose element type the caller asks for, so that firmware written for that type still fits when the model is converted again.

use super::Precision;
use super::choices::{Choices, adjustable};
use crate::bundle::float::Bundle;
use crate::error::{ConvertError, Result, Setting};
use crate::graph::{Graph, ValueId};
use crate::lower::Link;
use attn_runtime::Model;
use attn_runtime::format::DType;
use std::collections::BTreeSet;
use std::str::FromStr;

/// Types that can be asked for.
const TYPES: [DType; 3] = [DType::I8, DType::I16, DType::F16];

/// The element type that an input shall have; written `int16`, or `x=int16` for one input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputType {
    /// The input's name; `None` for every input of real numbers.
    pub input: Option<String>,
    /// Its type: int8, int16 or float16.
    pub dtype: DType,
}

impl FromStr for InputType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (input, name) = match text.rsplit_once('=') {
            Some((input, name)) => (Some(input.to_owned()), name),
            None => (None, text),
        };
        let dtype = TYPES.into_iter().find(|dtype| dtype.name() == name);
        match dtype {
            Some(dtype) if input.as_deref() != Some("") => Ok(Self { input, dtype }),
            _ => Err(format!(
                "`{text}` is neither {} nor INPUT=TYPE with one of these",
                TYPES.map(DType::name).join(", ")
            )),
        }
    }
}

/// An input of a part, and its type.
#[derive(Clone, Debug)]
pub(crate) struct Pinned {
    pub part: usize,
    value: ValueId,
    name: String,
    dtype: DType,
}

fn refused<T>(reason: String) -> Result<T> {
    let setting = Setting::InputType;
    Err(ConvertError::Setting { setting, reason })
}

/// Finds the inputs that are asked for, and sees that a file of this precision can have them.
pub(crate) fn find(
    bundle: &Bundle,
    links: &[Link],
    asked: &[InputType],
    precision: Precision,
) -> Result<Vec<Pinned>> {
    let mut found = Vec::new();
    for InputType { input, dtype } in asked {
        let fits = (*dtype == DType::F16) == (precision == Precision::Fp16);
        if !fits && precision == Precision::Fp16 {
            return refused(format!(
                "a file in half precision has no {} inputs: ask for float16, or convert to integers",
                dtype.name()
            ));
        } else if !fits {
            return refused(
                "a file of integers has no float16 inputs: ask for int8 or int16, or convert to half precision".into(),
            );
        }
        let before = found.len();
        for (part, graph) in bundle.graphs.iter().enumerate() {
            for (name, value) in bundle.named_inputs(part) {
                if input.as_ref().is_some_and(|input| input != name) {
                    continue;
                }
                let given = links.iter().any(|link| link.to == (part, value));
                let why = match graph.tokens.contains(&value) {
                    true => "holds numbers of tokens, which are int32",
                    false => "is given by the model itself, not by a caller",
                };
                let real = !given && !graph.tokens.contains(&value);
                if !real && input.is_some() {
                    return refused(format!("input `{name}` {why}"));
                }
                let name = name.to_owned();
                found.extend(real.then_some(Pinned {
                    part,
                    value,
                    name,
                    dtype: *dtype,
                }));
            }
        }
        if found.len() == before {
            let parts = 0..bundle.graphs.len();
            let names: Vec<&str> = parts
                .flat_map(|part| bundle.named_inputs(part).map(|(name, _)| name))
                .collect();
            let names = names.join(", ");
            return refused(match input {
                Some(input) => format!("the model has no input `{input}`; it has {names}"),
                None => format!("the model has no input of real numbers; it has {names}"),
            });
        }
    }
    Ok(found)
}

impl Pinned {
    /// Has the input held in its type, with what must have the same width; `needed` are the values that 8 bits cannot hold.
    pub fn hold(
        &self,
        graph: &Graph,
        needed: &BTreeSet<ValueId>,
        choice: &mut Choices,
    ) -> Result<()> {
        let groups = adjustable(graph, choice.audio).into_iter();
        let mut group = groups.map(|group| group.values);
        let group = group.find(|group| group.contains(&self.value));
        let group = group.unwrap_or_else(|| [self.value].into());
        let name = &self.name;
        match self.dtype {
            DType::I8 if !group.is_disjoint(needed) => refused(format!(
                "input `{name}` goes into a softmax, whose steps are too large in int8: ask for int16"
            )),
            DType::I8 => {
                choice.wide.retain(|value| !group.contains(value));
                choice.narrow.extend(group);
                Ok(())
            }
            DType::I16 if choice.audio => refused(format!(
                "input `{name}` takes features of the audio front end, which are int8"
            )),
            DType::I16 if !group.is_disjoint(&choice.narrow) => refused(format!(
                "input `{name}` has the width of another input that shall be int8: ask for one type"
            )),
            DType::I16 => {
                choice.wide.extend(group);
                Ok(())
            }
            DType::F16 | DType::I32 => Ok(()),
        }
    }
}

/// Sees that a finished file has the types that were asked for.
pub(crate) fn check(model: Model, pinned: &[Pinned]) -> Result<()> {
    for (part, entry) in model.entries().iter().enumerate() {
        for (id, name) in entry.inputs().zip(model.input_names(entry)) {
            let here = |pinned: &&Pinned| pinned.part == part && pinned.name == name;
            let asked = pinned.iter().find(here).map(|pinned| pinned.dtype);
            let found = model.tensor(id).map(|tensor| tensor.dtype());
            if let (Some(asked), Some(found)) = (asked, found)
                && asked != found
            {
                return refused(format!(
                    "input `{name}` has to be {} in this model, not {}",
                    found.name(),
                    asked.name()
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_with_and_without_a_name() {
        let read = |text: &str| text.parse::<InputType>();
        let one = |input: Option<&str>, dtype| {
            let input = input.map(str::to_owned);
            Ok(InputType { input, dtype })
        };
        assert_eq!(read("int16"), one(None, DType::I16));
        assert_eq!(read("a=b=int8"), one(Some("a=b"), DType::I8));
        assert_eq!(read("x=float16"), one(Some("x"), DType::F16));
        for wrong in ["", "int32", "x=", "=int8", "x=int12"] {
            assert!(read(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
