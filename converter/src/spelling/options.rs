//! Attributes, and inputs and results that may be left out: each that a node has is computed, changes nothing, or is refused by name.
//! What is left out gets its default of the opset, so nothing behind this module needs to know which opset has which.

use super::is_onnx;
use super::writer::{Writer, attribute, float, given, int, name_of, text};
use crate::error::{ConvertError, Result};
use crate::import::computed;
use crate::schemas::{Attribute, Schema};
use std::collections::HashMap;
use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;

/// Operators, names of attributes, inputs and results: they change no result of a trained float model.
const NEUTRAL: &[(&[&str], &str)] = &[
    // Hints of old versions, and what only matters in training.
    (&[], "consumed_inputs"),
    (&["BatchNormalization"], "is_test momentum training_mode"),
    (&["Dropout"], "is_test ratio seed training_mode"),
    // In which precision another program would compute.
    (&["Attention"], "softmax_precision"),
    (
        &[
            "GroupNormalization",
            "LayerNormalization",
            "RMSNormalization",
        ],
        "stash_type",
    ),
    // Only of casts to 8 bits, which are refused.
    (&["Cast", "CastLike"], "round_mode saturate"),
    // Only of the places of maxima, which are refused.
    (&["MaxPool"], "storage_order"),
    // Only of a region of interest, which is refused.
    (&["Resize"], "extrapolation_value roi"),
    // The order of what is asked for without an order.
    (&["TopK"], "sorted"),
];

/// Operators on constants alone: what the float reference computes of them.
const OF_CONSTANTS: &[(&[&str], &str)] = &[
    (
        &["Constant"],
        "value value_float value_floats value_int value_ints",
    ),
    (&["ConstantOfShape"], "value"),
    (&["Shape"], "end start"),
    (&["EyeLike"], "dtype k"),
    (&["Trilu"], "k upper"),
    (&["Compress", "Scatter"], "axis"),
    (
        &["BlackmanWindow", "HammingWindow", "HannWindow"],
        "output_datatype periodic",
    ),
];

type Limit = (
    &'static [&'static str],
    &'static str,
    &'static [&'static str],
    &'static str,
);

/// Operators, an attribute, the values that are computed, and what to do about others. Without values, the name is refused.
const LIMITS: &[Limit] = &[
    (
        &["Conv", "ConvTranspose", "MaxPool", "AveragePool"],
        "auto_pad",
        &["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"],
        "write the padding as pads",
    ),
    (
        &["LpPool"],
        "auto_pad",
        &["NOTSET", "VALID"],
        "write the padding as pads",
    ),
    (
        &["Pad"],
        "mode",
        &["constant", "reflect", "edge", "wrap"],
        "pad with one of these",
    ),
    (
        &["Gelu"],
        "approximate",
        &["none", "tanh"],
        "export the exact form or that with tanh",
    ),
    (
        &["DepthToSpace"],
        "mode",
        &["DCR", "CRD"],
        "reshape and transpose instead",
    ),
    (
        &["BatchNormalization"],
        "spatial",
        &["1"],
        "export with opset 9 or later",
    ),
    (
        &["Resize"],
        "antialias",
        &["0"],
        "resize without antialias, or filter in front of the model",
    ),
    (
        &["Resize"],
        "keep_aspect_ratio_policy",
        &["stretch", "not_larger", "not_smaller"],
        "give the size of every axis, or scales",
    ),
    (
        &["Resize"],
        "nearest_mode",
        &["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"],
        "use one of these",
    ),
    (
        &["Attention"],
        "qk_matmul_output_mode",
        &["0", "1", "2", "3"],
        "leave that result out",
    ),
    (
        &["ScatterND"],
        "reduction",
        &["none"],
        "write the elements once, and add or compare tensors afterwards",
    ),
    (
        &["GridSample"],
        "mode",
        &["bilinear", "linear"],
        "sample between pixels, which is the default",
    ),
    (
        &["GridSample"],
        "padding_mode",
        &["zeros", "border"],
        "clamp the grid to -1 and 1",
    ),
    (
        &["Constant"],
        "sparse_value",
        &[],
        "store the constant as a dense one",
    ),
    (
        &["MaxPool"],
        "Indices",
        &[],
        "only the maxima are there: undo a pooling by resizing",
    ),
    (
        &["Dropout"],
        "mask",
        &[],
        "export the model after model.eval()",
    ),
    (
        &["BatchNormalization"],
        "mean saved_mean saved_var var running_mean running_var",
        &[],
        "export the model after model.eval()",
    ),
];

/// What later nodes must not read.
#[derive(Default)]
pub struct Options {
    /// By name of the result: the node, its operator, the result's name in ONNX and what to do.
    uncomputed: HashMap<String, [String; 4]>,
}

impl Options {
    /// Refuses what a node has and attn does not compute; `live` if it depends on an input of the model.
    ///
    /// # Errors
    /// [`ConvertError::UnsupportedAttribute`].
    pub fn check(&mut self, node: &pb::NodeProto, live: bool, writer: &Writer) -> Result<()> {
        node.input
            .iter()
            .try_for_each(|name| self.check_use(name))?;
        if live && node.op_type != "Shape" && computed(&node.op_type).is_none() {
            // Import says that there is no such operator.
            return Ok(());
        }
        let schema = is_onnx(&node.domain)
            .then(|| Schema::of(&node.op_type, writer.opset))
            .flatten();
        for attribute in &node.attribute {
            let error = |reason: String| Err(error(node, "attribute", &attribute.name, reason));
            if is_neutral(&node.op_type, &attribute.name) {
                continue;
            }
            if let Some(schema) = schema {
                let Some(known) = schema
                    .attributes()
                    .find(|known| known.name == attribute.name)
                else {
                    return error(format!(
                        "is none of this operator in opset {}: export the model again, or remove it",
                        writer.opset
                    ));
                };
                if !is_of_type(attribute, known.kind) {
                    return error(format!(
                        "must be of type {}: export the model again",
                        known.kind
                    ));
                }
            }
            if let Some(reason) = limit(&node.op_type, &attribute.name, Some(attribute)) {
                return error(reason);
            }
            let limited = limits(&node.op_type, &attribute.name).is_some();
            if !limited && !is_computed(&node.op_type, &attribute.name, live) {
                return error(
                    "is not computed: leave it out, or write the node in other operators".into(),
                );
            }
        }
        schema.map_or(Ok(()), |schema| self.check_places(node, live, schema))
    }

    /// Inputs and results that may be left out.
    fn check_places(&mut self, node: &pb::NodeProto, live: bool, schema: Schema) -> Result<()> {
        for at in 0..node.input.len() {
            if given(&node.input, at).is_none() {
                continue;
            }
            if schema.lacks_input(at) {
                let reason = "is one too many: export the model again".into();
                return Err(error(node, "input", &format!("number {at}"), reason));
            }
            let Some(name) = schema.optional_input(at) else {
                continue;
            };
            let known = is_neutral(&node.op_type, name) || is_computed(&node.op_type, name, live);
            if live && !known {
                let reason = "is not computed: leave it out, or write the node in other operators";
                return Err(error(node, "input", name, reason.into()));
            }
        }
        for (at, output) in node
            .output
            .iter()
            .enumerate()
            .filter(|(_, output)| !output.is_empty())
        {
            let name = schema.optional_output(at);
            if let Some(name) = name.filter(|name| live && !is_computed(&node.op_type, name, live))
            {
                let reason =
                    limit(&node.op_type, name, None).unwrap_or_else(|| "is not computed".into());
                let node = [name_of(node), &node.op_type, name, &reason].map(String::from);
                self.uncomputed.insert(output.clone(), node);
            }
        }
        Ok(())
    }

    /// Refuses a result that its node does not compute.
    ///
    /// # Errors
    /// [`ConvertError::UnsupportedAttribute`].
    pub fn check_use(&self, value: &str) -> Result<()> {
        match self.uncomputed.get(value).cloned() {
            None => Ok(()),
            Some([node, op, name, reason]) => Err(ConvertError::UnsupportedAttribute {
                node,
                op,
                what: "result",
                name,
                reason,
            }),
        }
    }
}

fn error(node: &pb::NodeProto, what: &'static str, name: &str, reason: String) -> ConvertError {
    ConvertError::UnsupportedAttribute {
        node: name_of(node).into(),
        op: node.op_type.clone(),
        what,
        name: name.into(),
        reason,
    }
}

/// What is said about the values of a name.
fn limits(op: &str, name: &str) -> Option<&'static Limit> {
    let mut rows = LIMITS.iter();
    rows.find(|(ops, names, ..)| ops.contains(&op) && words(names, name))
}

/// Why an attribute with this value, or something else of this name, is refused.
fn limit(op: &str, name: &str, attribute: Option<&pb::AttributeProto>) -> Option<String> {
    let (_, _, values, remedy) = limits(op, name)?;
    if values.is_empty() {
        return Some(format!("is not computed: {remedy}"));
    }
    let value = match attribute? {
        text if !text.s.is_empty() => String::from_utf8_lossy(&text.s).into_owned(),
        number => number.i.to_string(),
    };
    let known = values.contains(&value.as_str());
    (!known).then(|| format!("is {value}, computed are {}: {remedy}", values.join(", ")))
}

/// For the page of operators: names of an operator of which not all values are computed, and those that are.
pub fn limited(op: &str) -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    let rows = LIMITS.iter().filter(move |row| row.0.contains(&op));
    rows.flat_map(|(_, names, values, _)| names.split_whitespace().map(|name| (name, *values)))
}

fn words(list: &str, name: &str) -> bool {
    list.split_whitespace().any(|word| word == name)
}

fn is_neutral(op: &str, name: &str) -> bool {
    let mut rows = NEUTRAL.iter();
    rows.any(|(ops, names)| (ops.is_empty() || ops.contains(&op)) && words(names, name))
}

/// True for what the code of an operator computes, or, unless it is `live`, what is computed of constants.
fn is_computed(op: &str, name: &str, live: bool) -> bool {
    let mut known = computed(op).into_iter().flatten();
    let mut constant = OF_CONSTANTS.iter();
    known.any(|known| known == name)
        || (!live || op == "Shape")
            && constant.any(|(ops, names)| ops.contains(&op) && words(names, name))
}

/// True if the value of an attribute has the type that ONNX gives it; old files do not say their types.
fn is_of_type(attribute: &pb::AttributeProto, kind: &str) -> bool {
    let found = AttributeType::try_from(attribute.r#type).unwrap_or_default();
    let name = found.as_str_name().to_lowercase();
    found == AttributeType::Undefined || name == kind
}

/// A node with the defaults of its opset for numbers and texts that it leaves out.
pub fn complete(mut node: pb::NodeProto, writer: &Writer) -> pb::NodeProto {
    let schema = is_onnx(&node.domain)
        .then(|| Schema::of(&node.op_type, writer.opset))
        .flatten();
    let missing: Vec<_> = schema
        .into_iter()
        .flat_map(Schema::attributes)
        .filter_map(|known| {
            let given = attribute(&node, known.name).is_some();
            (!given).then(|| default_of(known)).flatten()
        })
        .collect();
    node.attribute.extend(missing);
    node
}

fn default_of(known: Attribute) -> Option<pb::AttributeProto> {
    let value = known.default?;
    match known.kind {
        "int" => Some(int(known.name, value.parse().ok()?)),
        "float" => Some(float(known.name, value.parse().ok()?)),
        "string" => Some(text(known.name, value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::known;
    use std::collections::BTreeSet;

    /// Names of what is done about the options of an operator.
    fn listed(op: &str) -> Vec<&'static str> {
        let neutral = NEUTRAL
            .iter()
            .filter(|row| row.0.contains(&op))
            .map(|row| row.1);
        let limits = LIMITS
            .iter()
            .filter(|row| row.0.contains(&op))
            .map(|row| row.1);
        let words = neutral.chain(limits).flat_map(str::split_whitespace);
        words.chain(computed(op).into_iter().flatten()).collect()
    }

    #[test]
    fn every_option_of_a_known_operator_is_computed_neutral_or_refused() {
        for op in known() {
            assert!(
                Schema::all(op).next().is_some(),
                "ONNX has no operator {op}"
            );
            let listed = listed(op);
            for name in Schema::all(op).flat_map(Schema::options) {
                assert!(
                    listed.contains(&name),
                    "{op}: nothing is said about `{name}`"
                );
            }
        }
    }

    #[test]
    fn nothing_is_listed_that_onnx_does_not_have() {
        let options = |op: &str| {
            Schema::all(op)
                .flat_map(Schema::options)
                .collect::<BTreeSet<_>>()
        };
        let tables = NEUTRAL
            .iter()
            .chain(OF_CONSTANTS)
            .map(|(ops, names)| (*ops, *names));
        let tables = tables.chain(LIMITS.iter().map(|row| (row.0, row.1)));
        for (ops, names) in tables.filter(|(ops, _)| !ops.is_empty()) {
            for name in names.split_whitespace() {
                // Names that only versions before the table's first had.
                let old = ["is_test"].contains(&name);
                assert!(
                    old || ops.iter().any(|op| options(op).contains(name)),
                    "{ops:?}: {name}"
                );
            }
        }
        for op in known() {
            let every = |name: &str| known().iter().any(|op| options(op).contains(name));
            assert!(computed(op).into_iter().flatten().all(every), "{op}");
        }
    }

    /// A name that no code mentions cannot be computed.
    #[test]
    fn what_is_computed_is_read_somewhere() {
        let mut code = String::new();
        let mut folders = vec![std::path::PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src"
        ))];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
            {
                let tables = ["operators.rs", "options.rs", "refused.rs", "table.rs"];
                match path.file_name().and_then(|name| name.to_str()) {
                    Some(name) if tables.contains(&name) => {}
                    _ if path.is_dir() => folders.push(path),
                    _ => code += &std::fs::read_to_string(path).unwrap(),
                }
            }
        }
        for op in known() {
            let attributes: BTreeSet<_> = Schema::all(op)
                .flat_map(Schema::attributes)
                .map(|a| a.name)
                .collect();
            let read =
                |name: &str| code.contains(&format!("\"{name}\"")) || BY_SHAPE.contains(&name);
            for name in computed(op)
                .into_iter()
                .flatten()
                .filter(|name| attributes.contains(name))
            {
                assert!(read(name), "{op}: no code reads `{name}`");
            }
        }
    }

    /// Attributes that only say a shape, which the float reference gives.
    const BY_SHAPE: &[&str] = &[
        "allowzero",
        "ceil_mode",
        "hidden_size",
        "keepdims",
        "num_outputs",
        "split",
    ];
}
