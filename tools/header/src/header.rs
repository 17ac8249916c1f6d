//! Writes segment.h: `segment.h.in`, with each line `@NAME` replaced by what `src/` says of that name.

use std::collections::BTreeSet;

use crate::model::{Constant, Enum, Function, Model, Named, Struct, Type, list};

/// No line of the header is longer.
const WIDTH: usize = 100;
/// The column of a comment at the end of a line.
const ASIDE: usize = 40;

/// The header. Each item of `src/` must be named in the template once, except constants that are values of a field:
/// they stand below it.
pub fn write(template: &str, model: &Model, version: &str) -> String {
    let mut out = String::new();
    let mut placed = BTreeSet::new();
    for line in template.lines() {
        match line.strip_prefix('@').filter(|name| !name.ends_with('@')) {
            Some(name) => {
                assert!(placed.insert(name), "{name} is named twice in the template");
                place(&mut out, name, model);
            }
            None => {
                out.push_str(&line.replace("@VERSION@", version).replace("@NUMBER@", &number(version).to_string()));
                out.push('\n');
            }
        }
    }
    let out = out.replace("@STRUCTS@\n", &forward(model));
    let missing: Vec<_> = names(model).filter(|name| !placed.contains(name)).collect();
    assert!(missing.is_empty(), "not in the template: {missing:?}");
    let long: Vec<_> = out.lines().filter(|line| line.chars().count() > WIDTH).collect();
    assert!(long.is_empty(), "longer than {WIDTH} columns: {long:#?}");
    out
}

fn names(model: &Model) -> impl Iterator<Item = &str> {
    let constants = model.constants.iter().filter(|constant| constant.field.is_none()).map(|c| &c.named);
    let enums = model.enums.iter().map(|e| &e.named);
    let structs = model.structs.iter().map(|s| &s.named).chain(&model.opaque);
    let functions = model.functions.iter().map(|f| &f.named);
    constants.chain(enums).chain(structs).chain(functions).map(|named| named.name.as_str())
}

/// The names of all structs, so that they can stand in any order.
fn forward(model: &Model) -> String {
    let kind = |it: &Struct| if it.is_union { "union" } else { "struct" };
    let line = |it: &Struct| format!("typedef {0} {1} {1};\n", kind(it), it.named.name);
    model.structs.iter().map(line).collect()
}

/// 1.2.3 as 1002003.
fn number(version: &str) -> u32 {
    version.split('.').fold(0, |sum, part| sum * 1_000 + part.parse::<u32>().expect("a number"))
}

fn place(out: &mut String, name: &str, model: &Model) {
    let has = |named: &Named| named.name == name;
    if let Some(it) = model.functions.iter().find(|it| has(&it.named)) {
        function(out, it);
    } else if let Some(it) = model.structs.iter().find(|it| has(&it.named)) {
        structure(out, it, &model.constants);
    } else if let Some(it) = model.enums.iter().find(|it| has(&it.named)) {
        enumeration(out, it);
    } else if let Some(it) = model.opaque.iter().find(|it| has(it)) {
        comment(out, "", &it.docs);
        out.push_str(&format!("typedef struct {name} {name};\n"));
    } else if let Some(it) = model.constants.iter().find(|it| has(&it.named)) {
        constant(out, it);
    } else {
        panic!("{name} is in the template, but not in src/");
    }
}

fn comment(out: &mut String, indent: &str, docs: &[String]) {
    for line in docs {
        out.push_str(format!("{indent}// {line}").trim_end());
        out.push('\n');
    }
}

/// A short comment goes at the end of the line, a longer one above it.
fn line(out: &mut String, indent: &str, code: &str, docs: &[String]) {
    let code = format!("{indent}{code}");
    if let [only] = docs {
        let beside = format!("{code:<ASIDE$}// {only}");
        if code.len() < ASIDE && beside.chars().count() <= WIDTH {
            out.push_str(&beside);
            out.push('\n');
            return;
        }
    }
    above(out, if code.starts_with('#') { "    " } else { indent }, docs);
    out.push_str(&code);
    out.push('\n');
}

/// A comment between others.
fn above(out: &mut String, indent: &str, docs: &[String]) {
    if !out.ends_with("{\n") {
        out.push('\n');
    }
    comment(out, indent, docs);
}

fn constant(out: &mut String, it: &Constant) {
    line(out, "", &format!("#define {} {}", it.named.name, it.value), &it.named.docs);
}

fn structure(out: &mut String, it: &Struct, constants: &[Constant]) {
    comment(out, "", &it.named.docs);
    let kind = if it.is_union { "union" } else { "struct" };
    let name = &it.named.name;
    out.push_str(&format!("{kind} {name} {{\n"));
    for (field, type_) in &it.fields {
        match type_ {
            Type::Function { parameters, returns } => {
                above(out, "    ", &field.docs);
                call(out, "    ", &returns.declare(&format!("(*{})", field.name)), parameters);
            }
            _ => line(out, "    ", &format!("{};", type_.declare(&field.name)), &field.docs),
        }
        let place = format!("{name}.{}", field.name);
        constants.iter().filter(|it| it.field.as_ref() == Some(&place)).for_each(|it| constant(out, it));
    }
    out.push_str("};\n");
}

fn enumeration(out: &mut String, it: &Enum) {
    comment(out, "", &it.named.docs);
    out.push_str(&format!("SEGMENT_ENUM({}) {{\n", it.named.name));
    for (value, number) in &it.values {
        line(out, "    ", &format!("{} = {number},", value.name), &value.docs);
    }
    out.push_str("};\n");
}

fn function(out: &mut String, it: &Function) {
    comment(out, "", &it.named.docs);
    let head = format!("SEGMENT_API {}", it.returns.declare(&it.named.name));
    call(out, "", &head, &it.parameters);
}

/// A head and its parameters, on as few lines as hold them.
fn call(out: &mut String, indent: &str, head: &str, parameters: &[(String, Type)]) {
    let start = format!("{indent}{head}(");
    let mut current = start.clone();
    let parameters = list(parameters);
    for (at, parameter) in parameters.iter().enumerate() {
        let end = if at + 1 < parameters.len() { "," } else { ");" };
        let space = if current.ends_with('(') { "" } else { " " };
        if current.chars().count() + space.len() + parameter.len() + end.len() > WIDTH && space == " " {
            out.push_str(&current);
            out.push('\n');
            current = " ".repeat(start.chars().count()) + parameter + end;
        } else {
            current = current + space + parameter + end;
        }
    }
    out.push_str(&current);
    out.push('\n');
}
