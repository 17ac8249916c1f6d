//! Writes segment.abi.json: what a binding in another language can check its own declarations against.

use std::fmt::Write;

use crate::model::{Model, Struct, Type};

/// The targets whose layouts are written down, and how many bytes a pointer and a `size_t` have there.
const TARGETS: [(&str, usize); 7] = [
    ("x86_64-unknown-linux-gnu", 8),
    ("aarch64-unknown-linux-gnu", 8),
    ("i686-unknown-linux-gnu", 4),
    ("armv7-unknown-linux-gnueabihf", 4),
    ("x86_64-pc-windows-msvc", 8),
    ("i686-pc-windows-msvc", 4),
    ("aarch64-apple-darwin", 8),
];

/// The manifest of this version. `abi` is the number in the name that programs load the library by.
pub fn write(model: &Model, version: &str) -> String {
    let constants = model.constants.iter().map(|it| format!("\"{}\": {}", it.named.name, it.value));
    let enums = model.enums.iter().map(|it| {
        let values = it.values.iter().map(|(value, number)| format!("\"{}\": {number}", value.name));
        format!("\"{}\": {{\"type\": \"int32_t\", \"values\": {}}}", it.named.name, object(3, values))
    });
    let opaque = model.opaque.iter().map(|it| format!("\"{}\"", it.name));
    let structs = model.structs.iter().map(|it| format!("\"{}\": {}", it.named.name, structure(it)));
    let functions = model.functions.iter().map(|it| {
        let returns = it.returns.declare("");
        let parameters: Vec<_> = it.parameters.iter().map(|(name, kind)| parameter(name, kind)).collect();
        let parameters = parameters.join(", ");
        format!("\"{}\": {{\"returns\": \"{}\", \"parameters\": [{parameters}]}}", it.named.name, returns.trim_end())
    });
    let parts = [
        format!("\"version\": \"{version}\""),
        format!("\"abi\": \"{}\"", abi(version)),
        format!("\"constants\": {}", object(2, constants)),
        format!("\"enums\": {}", object(2, enums)),
        format!("\"opaque\": [{}]", opaque.collect::<Vec<_>>().join(", ")),
        format!("\"structs\": {}", object(2, structs)),
        format!("\"functions\": {}", object(2, functions)),
    ];
    object(1, parts.into_iter()) + "\n"
}

/// Before 1.0 a minor version may break the ABI.
fn abi(version: &str) -> &str {
    let parts = if version.starts_with("0.") { 2 } else { 1 };
    version.match_indices('.').nth(parts - 1).map_or(version, |(at, _)| &version[..at])
}

fn object(depth: usize, members: impl Iterator<Item = String>) -> String {
    let indent = "  ".repeat(depth);
    let members: Vec<_> = members.map(|member| format!("{indent}{member}")).collect();
    format!("{{\n{}\n{}}}", members.join(",\n"), "  ".repeat(depth - 1))
}

fn parameter(name: &str, kind: &Type) -> String {
    format!("{{\"name\": \"{name}\", \"type\": \"{}\"}}", kind.declare("").trim_end())
}

fn structure(it: &Struct) -> String {
    let fields = it.fields.iter().map(|(field, kind)| format!("      {}", parameter(&field.name, kind)));
    let fields = fields.collect::<Vec<_>>().join(",\n");
    let mut text = format!("{{\n      \"kind\": \"{}\",\n", if it.is_union { "union" } else { "struct" });
    let _ = write!(text, "      \"fields\": [\n  {}\n      ],\n      \"layouts\": ", fields.replace('\n', "\n  "));
    let layouts = TARGETS.iter().map(|(target, pointer)| {
        let (size, offsets) = layout(it, *pointer);
        format!("\"{target}\": {{\"size\": {size}, \"offsets\": {offsets:?}}}")
    });
    text + &object(4, layouts) + "\n    }"
}

/// Our structs have no holes, so each field begins where the one before it ends.
fn layout(it: &Struct, pointer: usize) -> (usize, Vec<usize>) {
    let sizes = it.fields.iter().map(|(_, kind)| size(kind, pointer));
    if it.is_union {
        return (sizes.max().unwrap_or(0), vec![0; it.fields.len()]);
    }
    let mut end = 0;
    let offsets = sizes.map(|size| {
        end += size;
        end - size
    });
    let offsets = offsets.collect();
    (end, offsets)
}

fn size(kind: &Type, pointer: usize) -> usize {
    match kind {
        Type::Pointer { .. } | Type::Function { .. } => pointer,
        Type::Name(name) => match name.as_str() {
            "size_t" => pointer,
            "uint8_t" | "bool" | "char" => 1,
            "int32_t" | "uint32_t" | "segment_status" => 4,
            // segment_value is a union of these.
            "int64_t" | "uint64_t" | "double" | "segment_value" => 8,
            name => panic!("the size of {name} is unknown"),
        },
    }
}
