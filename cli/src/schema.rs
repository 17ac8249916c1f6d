//! As much of JSON Schema as tracking plans use: types, what is required, choices, patterns, bounds, and what is in
//! objects and lists. A crate for the whole of JSON Schema would bring seventy others.

use regex_lite::Regex;
use serde_json::{Map, Value};

/// Deeper than this a schema is not read.
const MAX_DEPTH: usize = 32;

/// These say something to people, not to us.
const REMARKS: &[&str] = &[
    "$schema",
    "$id",
    "id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "example",
    "labels",
    "deprecated",
    "readOnly",
    "writeOnly",
    "key",
    "definitions",
    "$defs",
];

/// A time with a zone, as RFC 3339 writes it.
const DATE_TIME: &str =
    r"^\d{4}-(0[1-9]|1[0-2])-([0-2]\d|3[01])[Tt ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]\d\d:\d\d)$";

/// What a value must be.
#[derive(Default)]
pub(crate) struct Schema {
    kinds: Vec<String>,
    required: Vec<String>,
    properties: Vec<(String, Schema)>,
    /// Whether members that `properties` does not name are wrong.
    closed: bool,
    items: Option<Box<Schema>>,
    choices: Option<Vec<Value>>,
    pattern: Option<Regex>,
    /// What the pattern is called in a sentence.
    pattern_name: String,
    /// Bounds of a number, of the characters of a string, of the items of a list.
    number: Bounds,
    length: Bounds,
    count: Bounds,
}

#[derive(Default)]
struct Bounds {
    least: Option<f64>,
    most: Option<f64>,
    above: Option<f64>,
    below: Option<f64>,
}

/// What in a value is not as the schema wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The member it is about: `properties.products[0].price`.
    pub(crate) member: String,
    /// What should be otherwise.
    pub(crate) sentence: String,
}

impl Schema {
    /// Reads a schema. What it demands and we do not check is told to `unchecked`, by its keyword.
    pub(crate) fn read(schema: &Value, unchecked: &mut dyn FnMut(&str)) -> Result<Schema, String> {
        Schema::read_at(schema, unchecked, MAX_DEPTH)
    }

    fn read_at(schema: &Value, unchecked: &mut dyn FnMut(&str), depth: usize) -> Result<Schema, String> {
        let mut read = Schema::default();
        let members = match schema {
            Value::Bool(true) => return Ok(read),
            Value::Object(members) => members,
            _ => return Err("a schema must be an object".to_owned()),
        };
        let Some(depth) = depth.checked_sub(1) else {
            return Err(format!("the schema is deeper than {MAX_DEPTH} levels"));
        };
        for (keyword, value) in members {
            match keyword.as_str() {
                "type" => read.kinds = texts(keyword, value)?,
                "required" if value.is_array() => read.required = texts(keyword, value)?,
                "required" => {} // a flag of older plans, about the property itself
                "properties" => {
                    let Value::Object(properties) = value else { return Err(format!("{keyword} must be an object")) };
                    for (name, schema) in properties {
                        let schema =
                            Schema::read_at(schema, unchecked, depth).map_err(|why| format!("{name}: {why}"))?;
                        read.properties.push((name.clone(), schema));
                    }
                }
                "additionalProperties" if value.is_boolean() => read.closed = value == &Value::Bool(false),
                "items" if !value.is_array() => {
                    read.items = Some(Box::new(Schema::read_at(value, unchecked, depth)?));
                }
                "enum" => {
                    let Value::Array(choices) = value else { return Err(format!("{keyword} must be a list")) };
                    read.choices = Some(choices.clone());
                }
                "const" => read.choices = Some(vec![value.clone()]),
                "pattern" => read.set_pattern(text(keyword, value)?)?,
                "format" if value == "date-time" => {
                    read.set_pattern(DATE_TIME)?;
                    "a date and time with a zone, like 2026-01-02T03:04:05.678Z".clone_into(&mut read.pattern_name);
                }
                "minimum" => read.number.least = Some(number(keyword, value)?),
                "maximum" => read.number.most = Some(number(keyword, value)?),
                "exclusiveMinimum" if value.is_number() => read.number.above = Some(number(keyword, value)?),
                "exclusiveMaximum" if value.is_number() => read.number.below = Some(number(keyword, value)?),
                "minLength" => read.length.least = Some(number(keyword, value)?),
                "maxLength" => read.length.most = Some(number(keyword, value)?),
                "minItems" => read.count.least = Some(number(keyword, value)?),
                "maxItems" => read.count.most = Some(number(keyword, value)?),
                remark if REMARKS.contains(&remark) => {}
                other => unchecked(other),
            }
        }
        Ok(read)
    }

    fn set_pattern(&mut self, pattern: &str) -> Result<(), String> {
        self.pattern =
            Some(Regex::new(pattern).map_err(|error| format!("the pattern {pattern} is not read: {error}"))?);
        self.pattern_name = format!("text that matches {pattern}");
        Ok(())
    }

    /// Calls `found` with what is wrong with `value`, which is called `path`; the whole has no name.
    pub(crate) fn check(&self, value: &Value, path: &str, found: &mut dyn FnMut(Violation)) {
        let mut wrong = |sentence: String| found(Violation { member: path.to_owned(), sentence });
        if !self.kinds.is_empty() && !self.kinds.iter().any(|kind| is(value, kind)) {
            let kinds: Vec<_> = self.kinds.iter().map(|kind| with_article(kind)).collect();
            wrong(format!("{path} must be {}, not {}", kinds.join(" or "), with_article(kind(value))));
            return; // the rest would say the same again
        }
        if let Some(choices) = self.choices.as_ref().filter(|choices| !choices.contains(value)) {
            let choices: Vec<_> = choices.iter().map(Value::to_string).collect();
            wrong(format!("{path} must be {}", choices.join(" or ")));
        }
        match value {
            Value::String(text) => {
                if self.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(text)) {
                    wrong(format!("{path} must be {}", self.pattern_name));
                }
                self.length
                    .check(text.chars().count() as f64, |bound| wrong(format!("{path} must have {bound} characters")));
            }
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or_default();
                self.number.check(number, |bound| wrong(format!("{path} must be {bound}")));
            }
            Value::Array(items) => {
                self.count.check(items.len() as f64, |bound| wrong(format!("{path} must have {bound} items")));
                if let Some(schema) = &self.items {
                    for (index, item) in items.iter().enumerate() {
                        schema.check(item, &format!("{path}[{index}]"), found);
                    }
                }
            }
            Value::Object(members) => self.check_members(members, path, found),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn check_members(&self, members: &Map<String, Value>, path: &str, found: &mut dyn FnMut(Violation)) {
        let named = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        for name in self.required.iter().filter(|name| !members.contains_key(*name)) {
            let member = named(name);
            found(Violation { sentence: format!("{member} is missing"), member });
        }
        for (name, schema) in &self.properties {
            if let Some(value) = members.get(name) {
                schema.check(value, &named(name), found);
            }
        }
        if self.closed {
            for name in members.keys().filter(|name| !self.properties.iter().any(|(known, _)| known == *name)) {
                let member = named(name);
                found(Violation { sentence: format!("{member} is not planned"), member });
            }
        }
    }
}

impl Bounds {
    fn check(&self, number: f64, wrong: impl FnMut(String)) {
        let bounds = [
            (self.least, "at least", number < self.least.unwrap_or(number)),
            (self.most, "at most", number > self.most.unwrap_or(number)),
            (self.above, "more than", self.above.is_some_and(|bound| number <= bound)),
            (self.below, "less than", self.below.is_some_and(|bound| number >= bound)),
        ];
        let broken = bounds.into_iter().filter(|(.., broken)| *broken);
        broken.filter_map(|(bound, words, _)| Some(format!("{words} {}", bound?))).for_each(wrong);
    }
}

fn is(value: &Value, wanted: &str) -> bool {
    match (wanted, value) {
        ("any", _) => true,
        ("number", Value::Number(_)) => true,
        ("integer", Value::Number(number)) => number.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => kind(value) == wanted,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn with_article(kind: &str) -> String {
    match kind {
        "null" | "any" => kind.to_owned(),
        "array" | "integer" | "object" => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

fn text<'a>(keyword: &str, value: &'a Value) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("{keyword} must be a string"))
}

/// One text or a list of them.
fn texts(keyword: &str, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(items) => items.iter().map(|item| text(keyword, item).map(str::to_owned)).collect(),
        one => Ok(vec![text(keyword, one)?.to_owned()]),
    }
}

fn number(keyword: &str, value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("{keyword} must be a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(schema: Value, value: Value) -> Vec<String> {
        let schema = Schema::read(&schema, &mut |keyword| panic!("{keyword}")).expect("a schema");
        let mut found = Vec::new();
        schema.check(&value, "", &mut |violation| found.push(violation.sentence));
        found
    }

    #[test]
    fn what_is_missing_mistyped_or_unplanned_is_found() {
        let schema = json!({"type": "object", "properties": {"properties": {
            "type": "object",
            "required": ["id", "gone"],
            "additionalProperties": false,
            "properties": {
                "id": {"type": ["string", "null"]}, "n": {"type": "integer"}, "x": {"type": "number"}, "any": {},
                "list": {"type": "array", "items": {"type": "object", "required": ["sku"]}},
            },
        }}});
        let value = json!({"properties": {"id": 5, "n": 1.5, "x": 1, "any": [], "list": [{"sku": 1}, {}], "new": 1}});
        assert_eq!(
            found(schema, value),
            [
                "properties.gone is missing",
                "properties.id must be a string or null, not a number",
                "properties.list[1].sku is missing",
                "properties.n must be an integer, not a number",
                "properties.new is not planned",
            ]
        );
    }

    #[test]
    fn a_number_without_a_fraction_is_an_integer() {
        assert!(found(json!({"type": "integer"}), json!(2.0)).is_empty());
        assert!(found(json!({"type": ["integer", "null"]}), Value::Null).is_empty());
    }

    #[test]
    fn choices_patterns_and_bounds_are_checked() {
        let schema = json!({"properties": {
            "plan": {"enum": ["free", "pro"]}, "sku": {"pattern": "^[A-Z]+-\\d+$"}, "at": {"format": "date-time"},
            "n": {"minimum": 1, "exclusiveMaximum": 3}, "text": {"minLength": 2}, "list": {"maxItems": 1},
        }});
        let good =
            json!({"plan": "pro", "sku": "A-1", "at": "2026-01-02T03:04:05Z", "n": 1, "text": "éé", "list": [1]});
        assert_eq!(found(schema.clone(), good), Vec::<String>::new());
        let bad = json!({"plan": "x", "sku": "a", "at": "2026-01-02", "n": 3, "text": "é", "list": [1, 2]});
        let found = found(schema, bad);
        assert_eq!(found.len(), 6, "{found:?}");
        assert!(found.contains(&r#"plan must be "free" or "pro""#.to_owned()));
        assert!(found.contains(&"n must be less than 3".to_owned()));
        assert!(found.contains(&"text must have at least 2 characters".to_owned()));
    }

    #[test]
    fn what_is_not_checked_is_named() {
        let mut unchecked = Vec::new();
        let schema = json!({"title": "T", "oneOf": [], "properties": {"a": {"$ref": "#/x"}}});
        Schema::read(&schema, &mut |keyword| unchecked.push(keyword.to_owned())).expect("a schema");
        unchecked.sort();
        assert_eq!(unchecked, ["$ref", "oneOf"]);
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for schema in [json!(5), json!({"type": 5}), json!({"pattern": "("}), json!({"properties": {"a": {"enum": 1}}})]
        {
            assert!(Schema::read(&schema, &mut |_| {}).is_err(), "{schema}");
        }
    }
}
