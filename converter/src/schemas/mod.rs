//! What ONNX's own schemas say about its operators: attributes with their types and defaults, inputs and outputs that may be left out, in
//! each version. [`table`] is generated from the Python package `onnx`.

mod table;

pub use table::{NEWEST, SCHEMAS};

/// An operator in one version.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    inputs: &'static str,
    outputs: &'static str,
    attributes: &'static str,
}

/// An attribute of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// Its type, such as `int` or `floats`.
    pub kind: &'static str,
    /// Its value where it is left out.
    pub default: Option<&'static str>,
}

impl Schema {
    /// The schema of an operator of ONNX in an opset; older opsets than the table's have those of its first rows.
    pub fn of(op: &str, opset: i64) -> Option<Self> {
        let rows = SCHEMAS.iter().filter(|row| row.0 == op);
        let (first, others) = (rows.clone().next(), rows.skip(1));
        let row = others.filter(|row| row.1 <= opset).last().or(first)?;
        Some(Self {
            inputs: row.2,
            outputs: row.3,
            attributes: row.4,
        })
    }

    /// All versions of an operator.
    pub fn all(op: &str) -> impl Iterator<Item = Self> + '_ {
        let versions = SCHEMAS.iter().filter(move |row| row.0 == op);
        versions.filter_map(|row| Self::of(row.0, row.1))
    }

    /// Its attributes.
    pub fn attributes(self) -> impl Iterator<Item = Attribute> {
        self.attributes.split_whitespace().map(|text| {
            let (name, rest) = text.split_once(':').unwrap_or((text, ""));
            let (kind, default) = match rest.split_once('=') {
                Some((kind, default)) => (kind, Some(default)),
                None => (rest, None),
            };
            Attribute {
                name,
                kind,
                default,
            }
        })
    }

    /// The input at this place, if it may be left out.
    pub fn optional_input(self, at: usize) -> Option<&'static str> {
        self.inputs.split_whitespace().nth(at)?.strip_suffix('?')
    }

    /// The output at this place, if it may be left out.
    pub fn optional_output(self, at: usize) -> Option<&'static str> {
        self.outputs.split_whitespace().nth(at)?.strip_suffix('?')
    }

    /// True for one more input than it has.
    pub fn lacks_input(self, at: usize) -> bool {
        !self.inputs.contains('*') && at >= self.inputs.split_whitespace().count()
    }

    /// Everything that may be given or left out, by name.
    pub fn options(self) -> impl Iterator<Item = &'static str> {
        let places = self
            .inputs
            .split_whitespace()
            .chain(self.outputs.split_whitespace());
        let optional = places.filter_map(|name| name.strip_suffix('?'));
        optional.chain(self.attributes().map(|attribute| attribute.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_its_own_defaults() {
        let axis = |opset| {
            Schema::of("Softmax", opset)
                .unwrap()
                .attributes()
                .next()
                .unwrap()
                .default
        };
        assert_eq!(
            [axis(6), axis(12), axis(13), axis(NEWEST)],
            [Some("1"), Some("1"), Some("-1"), Some("-1")]
        );
        let clip = |opset, at| Schema::of("Clip", opset).unwrap().optional_input(at);
        assert_eq!(
            (clip(10, 1), clip(11, 1), clip(11, 2)),
            (None, Some("min"), Some("max"))
        );
        assert!(Schema::of("Conv", 17).unwrap().lacks_input(3));
        assert!(!Schema::of("Concat", 17).unwrap().lacks_input(300));
        assert!(Schema::of("Convolution", 17).is_none());
    }
}
