#!/usr/bin/env python3
"""Writes converter/src/schemas/table.rs: the operators of ONNX with their inputs, outputs, attributes and defaults in every version.

    python converter/schemas/make.py        # needs the package onnx; the newest knows most versions
"""

import pathlib

from onnx import defs, helper

OUT = pathlib.Path(__file__).resolve().parents[1] / "src" / "schemas" / "table.rs"
OLDEST = 7  # what opset 7 has is the first row of an operator
HEAD = '''//! The operators of ONNX in each version that changes their inputs, outputs, attributes or defaults. Written by `schemas/make.py`: not to be
//! edited.

/// The newest opset in the table.
pub const NEWEST: i64 = {newest};

/// Operator, first opset, inputs, outputs, attributes. `?` marks what may be left out, `*` any number. Attributes have a type and perhaps a
/// default. Rows of an operator are in the order of their versions.
#[rustfmt::skip]
pub const SCHEMAS: &[(&str, i64, &str, &str, &str)] = &[
'''
MARKS = {"Single": "", "Optional": "?", "Variadic": "*"}


def places(formal):
    return " ".join(part.name + MARKS[part.option.name] for part in formal)


def text(default):
    if isinstance(default, list):
        return ",".join(map(text, default))
    return default.decode() if isinstance(default, bytes) else f"{default:.9g}" if isinstance(default, float) else str(default)


def attribute(found):
    default = helper.get_attribute_value(found.default_value) if found.default_value.name else None
    return f"{found.name}:{found.type.name.lower()}" + ("" if default is None else f"={text(default)}")


def rows():
    versions = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            versions.setdefault(schema.name, []).append(schema)
    for name, schemas in sorted(versions.items()):
        schemas.sort(key=lambda schema: schema.since_version)
        first = [schema for schema in schemas if schema.since_version <= OLDEST][-1:]
        before = None
        for schema in first + [schema for schema in schemas if schema.since_version > OLDEST]:
            attributes = " ".join(attribute(found) for _, found in sorted(schema.attributes.items()))
            row = places(schema.inputs), places(schema.outputs), attributes
            if row != before:
                yield (name, schema.since_version, *row)
            before = row


def main():
    quoted = lambda part: str(part) if isinstance(part, int) else '"' + part.replace('"', '\\"') + '"'
    lines = [f"    ({', '.join(map(quoted, row))}),\n" for row in rows()]
    OUT.write_text(HEAD.format(newest=defs.onnx_opset_version()) + "".join(lines) + "];\n")


if __name__ == "__main__":
    main()
