//! Einsum of three tensors and more, as products of two, from the left.

use super::writer::{Writer, string_of, text};
use crate::error::Result;
use tract_onnx::pb;

/// Writes an Einsum.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`] for attributes that are not understood.
pub fn write(node: pb::NodeProto, writer: &mut Writer) -> Result<()> {
    let equation = string_of(&node, "equation", "").replace(' ', "");
    let parts = equation.split_once("->");
    let Some((inputs, out)) = parts.filter(|_| node.input.len() > 2 && !equation.contains('.'))
    else {
        writer.keep(node);
        return Ok(());
    };
    let letters: Vec<&str> = inputs.split(',').collect();
    if letters.len() != node.input.len() {
        return Err(writer.form(
            &node,
            format!("{equation} for {} tensors", node.input.len()),
        ));
    }
    writer.replace(&node);
    let (mut product, mut own) = (node.input[0].clone(), letters[0].to_owned());
    for at in 1..letters.len() {
        // What the result or a later factor has stays.
        let later = letters[at + 1..].concat() + out;
        let kept = match at + 1 == letters.len() {
            true => out.to_owned(),
            false => {
                let new = letters[at].chars().filter(|&letter| !own.contains(letter));
                let all: Vec<char> = own.chars().chain(new).collect();
                all.into_iter().filter(|&l| later.contains(l)).collect()
            }
        };
        let equation = format!("{own},{}->{kept}", letters[at]);
        let factors = [&product, &node.input[at]];
        product = writer.add("Einsum", &factors, vec![text("equation", &equation)]);
        own = kept;
    }
    writer.call(&product, &node.output[0]);
    Ok(())
}
